"""From what a user types for a sweep or a run to its JobSets on a cluster.

TARGET is a sweep's name (`phase3`), a sweep file (`sweeps/phase3.yaml`), a run (`multi_domain.logistic`, a run id or
a unique prefix of one) or `SWEEP/RUN`. Names are compared in full, by annotation: labels may be shortened.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from octjob.errors import AccessError, SpecError
from octjob.records.find import matching_runs
from octjob.records.schema import RunEntry
from octjob.spec.file import is_sweep_file
from octjob.targets.kubernetes.documents.manifest import ENCODES
from octjob.targets.kubernetes.documents.names import label_value
from octjob.targets.kubernetes.resources import JOBSETS

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document

OURS = "app.kubernetes.io/name=octjob"
_NAME = r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?"
_TARGET = re.compile(rf"(?:(?P<in_sweep>{_NAME})/)?(?P<run>{_NAME}\.[a-z0-9_.-]+)|(?P<sweep>{_NAME})")
_NUM_NEAREST = 3


class NoSuchTarget(AccessError):
    """Nothing on the cluster goes by this name."""


@dataclass(frozen=True)
class Target:
    """What a text means. sweep empty: a run of any sweep; run empty: the whole sweep."""

    text: str
    sweep: str = ""
    run: str = ""
    output: str = ""
    file: Path | None = None

    @property
    def selector(self) -> str:
        """The label selector that finds it, and perhaps more."""
        parts = [OURS]
        if self.sweep:
            parts.append(f"octjob.dev/sweep={label_value(self.sweep)}")
        if self.run:
            # All before the first dot is a whole checkpoint name; the rest may be a prefix.
            parts.append(f"octjob.dev/checkpoint={label_value(self.run.partition('.')[0])}")
        return ",".join(parts)


@dataclass(frozen=True)
class Selection:
    """A sweep and those of its JobSets that were meant.

    output: URI of the sweep's results. jobsets: in the order of their run ids; empty only for a sweep file whose
    sweep has none on the cluster. entire: the whole sweep was meant. file: the sweep file that was given.
    """

    sweep: str
    output: str
    jobsets: list[Document] = field(default_factory=list)
    entire: bool = True
    file: Path | None = None


def is_store(text: str) -> bool:
    """Whether `text` is a URI or a directory, which means the object store only."""
    if is_sweep_file(text):
        return False
    return not _TARGET.fullmatch(text) or (Path(text) / "sweep.json").is_file()


def select(cluster: Cluster, target: Target) -> Selection:
    """The JobSets that a target means, by one list call.

    Raises:
        NoSuchTarget: nothing of that name in the cluster's namespace; names the nearest.
        SpecError: ambiguous.
    """
    jobsets = cluster.list(JOBSETS, target.selector)
    try:
        return choose(target, jobsets)
    except NoSuchTarget:
        everything = cluster.list(JOBSETS, OURS) if target.selector != OURS else jobsets
        raise not_found(target, everything, cluster.namespace, cluster.context) from None


def parse_target(text: str) -> Target:
    """What `text` means before any cluster is asked.

    Raises `SpecError` for an invalid sweep file and for what cannot be a name.
    """
    if is_sweep_file(text):
        from octjob.spec.expand import locate_sweep

        sweep, output = locate_sweep(Path(text))
        return Target(text, sweep.name, output=output, file=Path(text))
    match = _TARGET.fullmatch(text)
    if match is None:
        raise SpecError(
            f"{text}: neither a sweep file, a sweep, a run nor SWEEP/RUN",
            "e.g. sweeps/phase3.yaml, phase3, multi_domain.logistic or phase3/multi_domain.logistic.",
        )
    return Target(text, match["in_sweep"] or match["sweep"] or "", match["run"] or "")


def choose(target: Target, jobsets: Iterable[Document]) -> Selection:
    """Those of the JobSets that a target means.

    Raises:
        NoSuchTarget: none of them. Never for a sweep file.
        SpecError: runs of several sweeps, or sweeps of one name with results in several places.
    """
    named = [one for one in jobsets if annotation(one, "run") and annotation(one, "sweep")]
    if target.sweep:
        named = [one for one in named if annotation(one, "sweep") == target.sweep]
    if target.output:
        named = [one for one in named if annotation(one, "output") == target.output]
    if target.run:
        named = matching_runs(target.run, named, entry_of)
    if not named:
        if target.file is not None:
            return Selection(target.sweep, target.output, [], file=target.file)
        raise NoSuchTarget(target.text)
    _require_one(target, named)
    named.sort(key=lambda one: annotation(one, "run"))
    first = named[0]
    return Selection(
        annotation(first, "sweep"), annotation(first, "output"), named, not target.run, target.file
    )


def entry_of(jobset: Document) -> RunEntry:
    """The names of a JobSet's run."""
    return RunEntry(
        run_id=annotation(jobset, "run"),
        checkpoint=annotation(jobset, "checkpoint"),
        config=annotation(jobset, "config"),
    )


def annotation(document: Document, key: str) -> str:
    """The value of `octjob.dev/<key>`, in full; empty where there is none."""
    value: str = document["metadata"].get("annotations", {}).get(f"octjob.dev/{key}", "")
    return value


def is_encoding(jobset: Document) -> bool:
    """Whether it makes features for runs, and is none itself."""
    return ENCODES in jobset["metadata"].get("labels", {})


def not_found(target: Target, everything: Sequence[Document], namespace: str, context: str) -> NoSuchTarget:
    """The error that names what is there and reads alike."""
    of_sweep = [one for one in everything if target.run and annotation(one, "sweep") == target.sweep]
    names = {annotation(one, "run" if target.run else "sweep") for one in of_sweep or everything} - {""}
    wanted = target.run or target.sweep
    near = difflib.get_close_matches(wanted, sorted(names), n=_NUM_NEAREST, cutoff=0.5)
    flags = f" --context {context}" if context else ""
    kind = "run" if target.run else "sweep"
    where = f" of sweep {target.sweep}" if target.run and target.sweep else ""
    message = f"no JobSet of {kind} {wanted}{where} in namespace {namespace}"
    if target.output and wanted in names:
        others = sorted(
            {annotation(one, "output") for one in everything if annotation(one, "sweep") == wanted}
        )
        message += (
            f" writes to {target.output}; of that name there is one with results in {', '.join(others)}"
        )
    elif near:
        message += f"; there is {', '.join(near)}"
    hint = f"`kubectl{flags} -n {namespace} get jobsets -l {OURS}` lists what is there."
    if target.output and not target.run:
        hint += f" `octjob status {target.output}` reads the store alone."
    return NoSuchTarget(message, hint)


def _require_one(target: Target, jobsets: Sequence[Document]) -> None:
    """Raise `SpecError` unless all are of one sweep, one output and, for a run, one run."""
    sweeps = sorted({annotation(one, "sweep") for one in jobsets})
    if len(sweeps) > 1:
        raise SpecError(
            f"{target.text}: a run of sweeps {', '.join(sweeps)}",
            f"Say which: {' or '.join(f'{sweep}/{target.run}' for sweep in sweeps)}.",
        )
    runs = sorted({annotation(one, "run") for one in jobsets})
    if target.run and len(runs) > 1:
        shown = ", ".join(runs[:5]) + (", ..." if len(runs) > 5 else "")
        raise SpecError(f"{target.text}: {len(runs)} runs begin so: {shown}", "Give more of the run's id.")
    outputs = sorted({annotation(one, "output") for one in jobsets})
    if len(outputs) > 1:
        raise SpecError(
            f"{target.text}: several sweeps of this name, with results in {', '.join(outputs)}",
            "Give the sweep file of the one that you mean, or with --context or -n that URI.",
        )
