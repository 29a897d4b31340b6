"""What a cluster already has of a plan: which runs are there, unchanged, changed, ended or on their way out."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from octjob import env
from octjob.errors import SpecError
from octjob.spec.run import Run
from octjob.targets.kubernetes.documents.fields import differing_fields
from octjob.targets.kubernetes.documents.manifest import SPEC_HASH, Manifest, jobset_containers, render_jobset
from octjob.targets.kubernetes.documents.names import label_value
from octjob.targets.kubernetes.documents.settings import Settings
from octjob.targets.kubernetes.phase import Handle, Phase, phase
from octjob.targets.kubernetes.refusal import ClusterError
from octjob.targets.kubernetes.resources import JOBSETS
from octjob.targets.kubernetes.select import annotation
from octjob.targets.kubernetes.submission.admission import readable
from octjob.targets.kubernetes.workloads import by_jobset, list_workloads

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document

_NUM_NAMED = 3
_POD_PATH = re.compile(r"^spec\.replicatedJobs\[0\]\.template\.spec\.(template\.spec\.)?")


@dataclass
class Existing:
    """The runs of a plan by what the cluster has of them.

    todo: nothing. there: a JobSet of these settings; unstarted: those of them that may have no Job yet. ended: the
    same, but it ended. kept: a JobSet of other settings. superseded: JobSets of runs that the sweep no longer has and
    that have not ended.
    """

    todo: list[Run] = field(default_factory=list)
    there: list[Run] = field(default_factory=list)
    unstarted: list[Run] = field(default_factory=list)
    ended: list[Run] = field(default_factory=list)
    kept: list[Run] = field(default_factory=list)
    superseded: list[Document] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def sort_out(
    cluster: Cluster,
    sweep: str,
    runs: Sequence[Run],
    jobsets: Mapping[str, Manifest],
    settings: Settings,
    *,
    update: bool,
    file: str = "",
) -> Existing:
    """Compare unfinished `runs` of a sweep with the cluster's JobSets, by one list call, and a second where Kueue
    holds some of them.

    jobsets: their renderings by run id. update: keep what differs instead of refusing. file: the sweep's, for hints.

    Raises:
        SpecError: a JobSet is there with other settings.
        ClusterError: one is still being deleted.
    """
    live = {each["metadata"]["name"]: each for each in cluster.list(JOBSETS, sweep_selector(sweep))}
    workloads = _workloads(cluster, live.values())
    found = Existing(superseded=superseded(live.values(), jobsets))
    leaving: list[Run] = []
    changes: dict[str, _Change] = {}
    for run in runs:
        wanted = jobsets[run.run_id]
        there = live.get(wanted["metadata"]["name"])
        stands = phase(there, workloads.get(there["metadata"]["uid"]) if there else None)
        if there is None:
            found.todo.append(run)
        elif stands.state == "Ending":
            leaving.append(run)
        elif not _same(there, wanted, run, settings):
            changes[run.run_id] = _Change(tuple(describe_changes(there, wanted)), stands)
            found.kept.append(run)
        elif stands.ended:
            found.ended.append(run)
        else:
            found.there.append(run)
            if not there.get("status", {}).get("restarts"):
                found.unstarted.append(run)
    if leaving:
        raise _still_leaving(leaving, cluster.flags, file)
    if changes and not update:
        raise _changed(sweep, changes, cluster.flags, file)
    if changes:
        found.warnings.append(
            f"{_named(changes)} on the cluster with other settings and left so;"
            f" {_replacing(sweep, changes, cluster.flags, file)}, gives them these"
        )
    return found


def superseded(live: Iterable[Document], jobsets: Mapping[str, Manifest]) -> list[Document]:
    """JobSets of this sweep, with results in the same place, that go on or wait though it has no such run any more.

    jobsets: those of all of its runs, by run id.
    """
    outputs = {annotation(one, "output") for one in jobsets.values()}
    found = [
        one
        for one in live
        if annotation(one, "run") not in jobsets
        and annotation(one, "output") in outputs
        and phase(one).allows("cancel")
        and phase(one).state != "Ending"
    ]
    return sorted(found, key=lambda one: annotation(one, "run"))


@dataclass(frozen=True)
class _Change:
    """A JobSet of other settings: what differs, and where its run stands."""

    differences: tuple[str, ...]
    phase: Phase


def _workloads(cluster: Cluster, jobsets: Iterable[Document]) -> dict[str, Document]:
    """Kueue's Workloads by JobSet, where one may tell more than its JobSet does."""
    if not any(phase(one).state == "Queued" for one in jobsets):
        return {}
    return by_jobset(readable(lambda: list_workloads(cluster)) or [])


def sweep_selector(sweep: str) -> str:
    """The label selector of everything that belongs to a sweep."""
    return f"app.kubernetes.io/name=octjob,octjob.dev/sweep={label_value(sweep)}"


def describe_changes(live: Document, wanted: Manifest) -> list[str]:
    """What differs, as `containers[0].image: a -> b`."""
    ours, theirs = _without_echoes(wanted), _without_echoes(live)
    return [_POD_PATH.sub("", text) for text in differing_fields(theirs, ours)]


def _without_echoes(document: Mapping[str, Any]) -> dict[str, Any]:
    """A JobSet without what only repeats the rest of it: the hash, and the image told to the container."""
    rest = copy.deepcopy(dict(document))
    rest["metadata"].get("annotations", {}).pop(SPEC_HASH, None)
    for container in jobset_containers(rest):
        container["env"] = [one for one in container.get("env", ()) if one["name"] != env.IMAGE]
    return rest


def _same(live: Document, wanted: Manifest, run: Run, settings: Settings) -> bool:
    """Whether a JobSet was made with these settings, by octjob, kubectl or Helm.

    A hash that differs only by naming the namespace that the object is in says nothing else.
    """
    have = live["metadata"].get("annotations", {}).get(SPEC_HASH)
    if have == wanted["metadata"]["annotations"][SPEC_HASH]:
        return True
    compute = settings.compute
    for namespace in ("", live["metadata"]["namespace"]):
        named = settings.with_values(settings.image, compute.queue or "", compute.priority or "", namespace)
        if have == render_jobset(run, named)["metadata"]["annotations"][SPEC_HASH]:
            return True
    return False


def _still_leaving(runs: Sequence[Run], flags: str, file: str) -> ClusterError:
    names = [run.run_id for run in runs]
    kind = "run" if len(runs) == 1 else "runs"
    handle = Handle(runs[0].sweep, names[0], flags, file)
    return ClusterError(
        f"{kind} {_listed(names)}: still being deleted; nothing was created",
        Phase("Ending").next_step(handle),
    )


def _replacing(sweep: str, changes: Mapping[str, _Change], flags: str, file: str) -> str:
    """The commands that give changed runs their new settings: what has ended is not there to be cancelled."""
    if all(one.phase.ended for one in changes.values()):
        return f"`octjob retry {file}{flags}`" if file else "`octjob retry` with the sweep file"
    alive = [run for run, one in changes.items() if not one.phase.ended]
    target = f"{sweep}/{alive[0]}" if len(alive) == 1 else sweep
    return f"`octjob cancel {target}{flags}`, then {_submit(flags, file)}"


def _submit(flags: str, file: str) -> str:
    return f"`octjob submit -f {file}{flags}`" if file else "submit"


def _changed(sweep: str, changes: Mapping[str, _Change], flags: str, file: str) -> SpecError:
    first, change = next(iter(changes.items()))
    differences = change.differences
    what = "; ".join(differences[:_NUM_NAMED]) or "a setting that the sweep no longer has"
    more = f" and {len(differences) - _NUM_NAMED} more" if len(differences) > _NUM_NAMED else ""
    return SpecError(
        f"{sweep}: {_named(changes)} on the cluster with other settings: {first}: {what}{more}",
        f"A JobSet cannot be changed: {_replacing(sweep, changes, flags, file)}, replaces it and loses no saved work;"
        " or add --update to leave such runs as they are.",
    )


def _named(runs: Mapping[str, object]) -> str:
    return f"{len(runs)} run{' is' if len(runs) == 1 else 's are'}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NUM_NAMED]) + (
        f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
    )
