"""Cancel, pause and resume runs. What is in the store stays, so a run that comes back continues where it was."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from octjob.errors import SpecError
from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.documents.manifest import FEATURES, GRACE_PERIOD_S
from octjob.targets.kubernetes.phase import Handle, Phase, phase
from octjob.targets.kubernetes.refusal import ClusterError, Refused
from octjob.targets.kubernetes.resources import JOBSETS, WORKLOADS
from octjob.targets.kubernetes.select import Selection, annotation
from octjob.targets.kubernetes.workloads import by_jobset, is_active

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document

NUM_THREADS = 16
# Pods may use all of their grace period to save; then nodes and controllers need a little time each.
GONE_WITHIN_S = GRACE_PERIOD_S + 180.0
_LOOK_EVERY_S = 1.0
_CONFLICT = 409

# How many JobSets are still there.
OnRemaining = Callable[[int], None]
# Ids of the runs with a result; None where the store does not say.
Finished = Callable[[], Collection[str] | None]


@dataclass(frozen=True)
class Outcome:
    """What was done to a run (`cancelled`, `paused`, `resumed`, `retried`), or `unchanged`, why, and what to type."""

    run: str
    jobset: str
    action: str
    reason: str = ""
    hint: str = ""


def cancel(
    cluster: Cluster,
    jobsets: Sequence[Document],
    *,
    finished: Finished = lambda: None,
    wait: bool = True,
    listener: OnRemaining = lambda left: None,
) -> list[Outcome]:
    """Delete the JobSets of runs that have not ended; their pods get SIGTERM and time to save.

    finished: asked where a run had ended already. wait: until pods and JobSets are gone.

    Raises `ClusterError`: refused, or with `wait` not gone in time.
    """
    doomed = [one for one in jobsets if phase(one).allows("cancel")]
    deleted = delete_all(cluster, doomed)
    if wait:
        for _ in going(cluster, deleted, listener):
            pass
    done = {uid_of(one) for one in deleted}
    return [_cancelled(cluster, one, uid_of(one) in done, finished) for one in jobsets]


def _cancelled(cluster: Cluster, jobset: Document, deleted: bool, finished: Finished) -> Outcome:
    if deleted:
        return outcome(jobset, "cancelled")
    if phase(jobset).allows("cancel"):
        return outcome(jobset, "unchanged", "was submitted anew meanwhile")
    return outcome(jobset, "unchanged", *_over(cluster, jobset, None, finished))


def _over(
    cluster: Cluster,
    jobset: Document,
    workload: Document | None,
    finished: Finished,
    selection: Selection | None = None,
) -> tuple[str, str]:
    """Why nothing can be done to a run any more, and what leads on, as far as it is known."""
    found = phase(jobset, workload)
    if found.ended:
        known = finished()
        if known is None:
            return "has ended already", ""
        found = phase(jobset, workload, has_result=annotation(jobset, "run") in known)
    return found.reason, found.next_step(handle(cluster, jobset, selection))


def set_active(
    cluster: Cluster, selection: Selection, active: bool, *, finished: Finished = lambda: None
) -> list[Outcome]:
    """Pause runs (`active` False) or let them go on, by `spec.active` of their Kueue Workloads; one list call.

    A paused run is evicted: its pods get SIGTERM and time to save, its quota is free for others. Nothing is changed
    unless all can be.

    finished: asked where a run had ended already.

    Raises:
        SpecError: a single run that has ended or is not queued by Kueue; a sweep of which no run is.
        ClusterError: Kueue is not installed, has no Workload for a run, or refuses.
    """
    verb = "resumed" if active else "paused"
    alive = [one for one in selection.jobsets if _movable(phase(one))]
    unqueued = [one for one in alive if not one["metadata"].get("labels", {}).get(kueue.QUEUE_LABEL)]
    if unqueued:
        key = "compute.probe.queue" if FEATURES in unqueued[0]["metadata"]["annotations"] else "compute.queue"
        raise SpecError(
            f"run {annotation(unqueued[0], 'run')}: not queued by Kueue, so it cannot be {verb}",
            f"Set {key}, {handle(cluster, unqueued[0]).command('cancel')} and submit again: the run continues"
            " where it was.",
        )
    workloads = by_jobset(cluster.list(WORKLOADS)) if alive else {}
    phases = {uid_of(one): phase(one, workloads.get(uid_of(one))) for one in selection.jobsets}
    alive = [one for one in alive if _movable(phases[uid_of(one)])]
    if not selection.entire and not alive:
        only = selection.jobsets[0]
        reason, hint = _over(cluster, only, workloads.get(uid_of(only)), finished, selection)
        raise SpecError(f"run {annotation(only, 'run')}: {reason}, so it cannot be {verb}", hint)
    for one in alive:
        if uid_of(one) not in workloads:
            raise ClusterError(
                f"run {annotation(one, 'run')}: Kueue has no Workload for JobSet {one['metadata']['name']} (yet)",
                f"`kubectl -n {cluster.namespace} get workloads` lists them; try again in a few seconds.",
            )
    wrong = [one for one in alive if is_active(workloads[uid_of(one)]) != active]
    names = [workloads[uid_of(one)]["metadata"]["name"] for one in wrong]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        list(pool.map(lambda name: cluster.merge(WORKLOADS, name, {"spec": {"active": active}}), names))
    changed = {uid_of(one) for one in wrong}
    return [_activated(one, phases[uid_of(one)], uid_of(one) in changed, verb) for one in selection.jobsets]


def _movable(found: Phase) -> bool:
    """Whether it is in Kueue's hands, so that it may be paused or resumed; a held one would have to be."""
    return found.state == "Held" or found.allows("pause") or found.allows("resume")


def _activated(jobset: Document, found: Phase, changed: bool, verb: str) -> Outcome:
    if changed:
        return outcome(jobset, verb)
    if _movable(found):
        return outcome(jobset, "unchanged", "is paused already" if verb == "paused" else "is not paused")
    return outcome(jobset, "unchanged", found.reason)


def outcome(jobset: Document, action: str, reason: str = "", hint: str = "") -> Outcome:
    """What was done to the run of a JobSet."""
    return Outcome(annotation(jobset, "run"), jobset["metadata"]["name"], action, reason, hint)


def handle(cluster: Cluster, jobset: Document, selection: Selection | None = None) -> Handle:
    """How the user names a JobSet's run. selection: what was given, which may know the sweep's file."""
    file = shlex.quote(str(selection.file)) if selection is not None and selection.file else ""
    return Handle(annotation(jobset, "sweep"), annotation(jobset, "run"), cluster.flags, file)


def uid_of(document: Document) -> str:
    """An object's uid, which no later object of the same name has."""
    uid: str = document["metadata"]["uid"]
    return uid


def delete_all(cluster: Cluster, jobsets: Sequence[Document]) -> list[Document]:
    """Begin to delete exactly these JobSets; left out of what returns: those that others have replaced meanwhile."""
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        deleted = list(pool.map(lambda one: _delete(cluster, one), jobsets))
    return [one for one, ours in zip(jobsets, deleted, strict=True) if ours]


def _delete(cluster: Cluster, jobset: Document) -> bool:
    """Whether this JobSet is gone or going; it may have gone before."""
    try:
        cluster.delete(JOBSETS, jobset["metadata"]["name"], uid=uid_of(jobset))
    except Refused as error:
        if error.status == _CONFLICT:
            return False
        raise
    return True


def going(
    cluster: Cluster,
    jobsets: Collection[Document],
    listener: OnRemaining = lambda left: None,
    timeout_s: float = GONE_WITHIN_S,
) -> Iterable[list[Document]]:
    """Yield JobSets that are being deleted as they and their pods are gone; one list call per look.

    Raises `ClusterError` if that takes longer than `timeout_s`.
    """
    left = list(jobsets)
    deadline = time.monotonic() + timeout_s
    while left:
        there = {uid_of(one) for one in cluster.list(JOBSETS, selector_of(left))}
        gone = [one for one in left if uid_of(one) not in there]
        left = [one for one in left if uid_of(one) in there]
        if gone:
            yield gone
        listener(len(left))
        if left and time.monotonic() > deadline:
            name = left[0]["metadata"]["name"]
            raise ClusterError(
                f"{len(left)} JobSets are still being deleted after {timeout_s:.0f} s, e.g. {name}",
                f"`kubectl -n {cluster.namespace} get pods -l {jobset_api.NAME_KEY}={name}` shows what is"
                " left of it; the same command continues.",
            )
        if left:
            time.sleep(_LOOK_EVERY_S)


def selector_of(jobsets: Collection[Document]) -> str:
    """A label selector that matches at least these JobSets of one sweep."""
    keys = ("app.kubernetes.io/name", "octjob.dev/sweep", "octjob.dev/run")
    labels = [one["metadata"].get("labels", {}) for one in jobsets]
    values = {key: {each.get(key) for each in labels} for key in keys}
    return ",".join(
        f"{key}={found.pop()}" for key, found in values.items() if len(found) == 1 and None not in found
    )
