"""The state of one run, from what the cluster and the store say of it. Pure: documents in, a `RunStatus` out.

A result in the store is the fact that a run is finished, whatever the cluster says. Otherwise the cluster knows best:
a heartbeat may be that of an attempt that has ended. The absence of a condition means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from octjob.records.status import RunStatus
from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.gke import GPU, TPU
from octjob.targets.kubernetes.observation import pods as podlist
from octjob.targets.kubernetes.observation.admitted import admitted
from octjob.targets.kubernetes.observation.conditions import seconds, true
from octjob.targets.kubernetes.observation.provisioning import flavor_of, put_back
from octjob.targets.kubernetes.observation.seen import SETTLED_AFTER_S, Seen, age_s
from octjob.targets.kubernetes.observation.waiting import Wait, waits_for
from octjob.targets.kubernetes.phase import Handle, Phase, phase

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document

# A controller that has a large sweep to work through comes to each run in its turn; one that has written nothing at
# all for so long, though there was something to do, is away.
SILENT_AFTER_S = 60.0
_SUPERSEDED = "superseded: a later submission no longer has it"
# What says nothing against the Job itself; a starting API server knows nobody's rights for a moment.
_PASSING = (
    "failed calling webhook",
    "connection refused",
    "deadline exceeded",
    "timeout",
    "cannot create resource",
)


def run_state(known: RunStatus, seen: Seen, now: float, run: Handle) -> RunStatus:
    """The state of a run: what `phase` decides, and what pods and events add.

    known: by the store. now: seconds since the epoch. run: its name in further commands.
    """
    found = phase(seen.jobset, seen.workload, has_result=known.has_result)
    one = _state(known, seen, found, now, run)
    if one.state in ("Queued", "Starting", "Restarting", "Interrupted"):
        texts = (one.reason, *map(str, seen.broken), seen.absent)
        one = replace(one, reason="; ".join(text for text in texts if text))
    if one.superseded and found.allows("cancel") and found.state != "Ending":
        reason = "; ".join(text for text in (_SUPERSEDED, one.reason) if text)
        return replace(one, reason=reason, hint=f"{run.command('cancel')} gives its place to the others.")
    return one


def _state(known: RunStatus, seen: Seen, found: Phase, now: float, run: Handle) -> RunStatus:
    name = seen.jobset["metadata"]["name"] if seen.jobset else ""
    known = replace(known, jobset=name)
    if found.state == "Succeeded":
        return replace(known, nodes=podlist.nodes(seen.pods))
    if seen.jobset is None:
        return _without_jobset(known, found, run)
    one = _with_facts(known, seen.jobset, seen.pods, seen.workload)
    if found.state == "Ending":
        return one.put("Ending", reason="is being deleted", hint=found.next_step(run))
    if found.state == "Failed":
        return _failed(one, seen, run)
    if found.ended:
        return one.put(found.state, message=f"it {found.reason}", hint=found.next_step(run))
    if found.state in ("Paused", "PutOut"):
        return _inactive(one, found, seen.pods, run)
    if found.state == "Held":
        return one.put("Held", stuck=True, reason=f"it {found.reason}", hint=found.next_step(run))
    if seen.without_jobs and age_s(seen.jobset, now) > SETTLED_AFTER_S:
        return _without_jobs(one, seen, now, run)
    if found.state == "Queued":
        return _suspended(one, seen, now)
    return admitted(one, seen, now, run)


def _with_facts(
    known: RunStatus, jobset: Document, pods: Sequence[Document], workload: Document | None
) -> RunStatus:
    status = jobset.get("status", {})
    return replace(
        known,
        restarts=status.get("restarts", 0),
        restarts_counted=status.get("restartsCountTowardsMax", 0),
        max_restarts=jobset["spec"].get("failurePolicy", {}).get("maxRestarts", 0),
        nodes=podlist.nodes(pods),
        queue=jobset["metadata"].get("labels", {}).get(kueue.QUEUE_LABEL, ""),
        flavor=flavor_of(workload, (TPU, GPU)),
    )


def _without_jobset(known: RunStatus, found: Phase, run: Handle) -> RunStatus:
    if known.state == "Failed":
        own = f"{known.hint.rstrip('.')}. Then: " if known.hint else ""
        return replace(known, hint=own + found.next_step(run))
    if known.state == "Pending":
        return replace(known, reason="not submitted, or cancelled before it began", hint=found.next_step(run))
    return known.put("Interrupted", reason="cancelled, or not submitted again", hint=found.next_step(run))


def _inactive(one: RunStatus, found: Phase, pods: Sequence[Document], run: Handle) -> RunStatus:
    """Paused by hand, or put out by Kueue for good."""
    left = sum(pod.get("status", {}).get("phase") in ("Pending", "Running") for pod in pods)
    saving = f", {left} pods are still ending" if left else ""
    stuck = found.state == "PutOut"
    return one.put(found.state, stuck=stuck, reason=f"{found.reason}{saving}", hint=found.next_step(run))


def _without_jobs(one: RunStatus, seen: Seen, now: float, run: Handle) -> RunStatus:
    """JobSet has created no Job in all that time. Its controller says why by an event only (from 0.11 on)."""
    assert seen.jobset is not None
    text = seen.events[-1] if seen.events else ""
    if text and not any(word in text for word in _PASSING):
        hint = f"{run.command('cancel')}, mend the sweep and submit it again."
        return one.put("Invalid", message=f"its Job is refused: {text}", hint=hint)
    age = age_s(seen.jobset, now)
    if text:
        return one.put("Starting", reason=f"JobSet has made no Job in {age:.0f} s: {text}")
    silent_s = _silent_s(seen.jobset, seen.jobset_sign, now)
    if silent_s <= SILENT_AFTER_S:
        if phase(seen.jobset, seen.workload).state == "Queued":
            return _suspended(one, seen, now)
        return one.put("Starting", reason="JobSet has not come to it yet")
    return one.put(
        "Starting",
        reason=f"JobSet has made no Job in {age:.0f} s and its controller has done nothing for {silent_s:.0f} s:"
        " it is down, or before version 0.11 and silent about a refused Job",
        hint="`kubectl -n jobset-system get pods` shows it; once it works the run starts by itself.",
    )


def _silent_s(jobset: Document, sign: float | None, now: float) -> float:
    """For how long a controller has shown no sign of life though this JobSet was there for it."""
    return now - max(seconds(jobset["metadata"]["creationTimestamp"]), sign or 0.0)


def _suspended(one: RunStatus, seen: Seen, now: float) -> RunStatus:
    """Not admitted: for the first time, or put back."""
    begun = one.state != "Pending" or one.restarts > 0
    if seen.workload is None:
        assert seen.jobset is not None
        silent_s = _silent_s(seen.jobset, seen.kueue_sign, now)
        reason, hint = "Kueue has not come to it yet", ""
        if age_s(seen.jobset, now) <= SETTLED_AFTER_S:
            reason = "just submitted"
        elif silent_s > SILENT_AFTER_S:
            reason = f"Kueue has made no Workload of it and has done nothing for {silent_s:.0f} s"
            hint = "`kubectl -n kueue-system get pods` shows its controller; once it works the run is queued."
        return one.put("Interrupted" if begun else "Queued", reason=reason, hint=hint)
    evicted = true(seen.workload, kueue.EVICTED)
    if true(seen.workload, kueue.ADMITTED) and not evicted:
        return one.put("Starting", reason="admitted, its pods are being created")
    # An evicted run holds its quota until its pods have left.
    wait = (
        Wait("")
        if evicted and true(seen.workload, kueue.QUOTA_RESERVED)
        else waits_for(seen.workload, seen.asking, now)
    )
    place = seen.place
    why = _evicted(evicted, seen, now) if evicted else ""
    reason = "; ".join(text for text in (why, wait.reason) if text)
    if any(pod.get("status", {}).get("phase") == "Running" for pod in seen.pods):
        reason = f"{reason}; its pods are saving"
    return one.put(
        "Interrupted" if begun or evicted else "Queued",
        reason=reason,
        stuck=wait.stuck,
        hint=wait.hint,
        position=place.position if place else None,
        queue_length=place.length if place else None,
    )


def _evicted(found: Mapping[str, str], seen: Seen, now: float) -> str:
    reason, message = found.get("reason", ""), found.get("message", "")
    if reason == kueue.ADMISSION_CHECK and seen.workload is not None:
        return put_back(seen.workload, message, now)
    words = {
        kueue.PREEMPTED: f"preempted by {seen.preemptor or 'a run of higher priority'}",
        kueue.PODS_READY_TIMEOUT: "put back, its pods were not ready in time",
        kueue.CLUSTER_QUEUE_STOPPED: "put back, its queue was stopped",
        kueue.LOCAL_QUEUE_STOPPED: "put back, its queue was stopped",
        kueue.NODE_FAILURES: "put back, a node failed",
        kueue.DEACTIVATED: "was paused",
    }
    return words.get(reason) or f"put back ({reason}): {message}"


def _failed(one: RunStatus, seen: Seen, run: Handle) -> RunStatus:
    """Why: the container that failed first, else the run's own last words, else JobSet's."""
    found = true(seen.jobset, jobset_api.FAILED) or {}
    end = podlist.first_failure(seen.pods)
    after = (
        f"after {one.restarts} restarts: " if found.get("reason") == jobset_api.REACHED_MAX_RESTARTS else ""
    )
    if end is not None:
        own = one.hint if one.state == "Failed" else ""
        return one.put(
            "Failed",
            message=f"{after}{end.text}",
            hint=_mended(end.hint or own, run),
            exit_code=end.exit_code,
        )
    if one.state == "Failed":
        code = one.exit_code
        means = f"exit {code} ({podlist.MEANING.get(code, 'unknown')}): " if code is not None else ""
        return one.put(
            "Failed",
            message=f"{after}{means}{one.message}",
            hint=_mended(one.hint, run),
            exit_code=code,
        )
    text = found.get("message", "JobSet says no more")
    return one.put("Failed", message=f"{after}{text}", hint=_mended("", run))


def _mended(own: str, run: Handle) -> str:
    """The hint of a failed run. own: what the run itself said would mend it."""
    again = f"{run.command('retry')} runs it again"
    if own:
        return f"{own.rstrip('.')}. Then {again}."
    return f"{run.command('logs')} shows what its attempts said; once mended, {again}."
