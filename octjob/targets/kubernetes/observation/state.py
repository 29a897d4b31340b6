"""The state of one run, from what the cluster and the store say of it. Pure: documents in, a `RunStatus` out.

A result in the store is the fact that a run is finished, whatever the cluster says. Otherwise the cluster knows best:
a heartbeat may be that of an attempt that has ended. The absence of a condition means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from octjob.records.status import STALLED_AFTER_S, RunState, RunStatus
from octjob.targets.kubernetes.documents.manifest import QUEUE_LABEL
from octjob.targets.kubernetes.observation import pods as podlist
from octjob.targets.kubernetes.observation.conditions import condition, seconds, true
from octjob.targets.kubernetes.observation.waiting import Place, Wait, waits_for

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document

# JobSet makes its Jobs within a second of its creation, Kueue the Workload.
SETTLED_AFTER_S = 15.0
_TIME_LIMIT = "MaximumExecutionTimeExceeded"
_RESTART_CAUSES = {
    "FailurePolicy_disrupted": "its machine was taken or drained (not counted)",
    "FailurePolicy_restart_me": "it saved and asked to be started again (not counted)",
    "FailurePolicy_interrupted": "it was interrupted (not counted)",
}
# What says nothing against the Job itself; a starting API server knows nobody's rights for a moment.
_PASSING = (
    "failed calling webhook",
    "connection refused",
    "deadline exceeded",
    "timeout",
    "cannot create resource",
)


@dataclass(frozen=True)
class Seen:
    """What the cluster shows of one run; `jobset` None: nothing.

    pods: of the JobSet, of any attempt. place: in its queue, while it waits. events: texts of why Jobs or pods
    could not be created, latest last; only there where `wants_events` asked for them. has_job: some of them are the
    Job's own, so there is one.
    """

    jobset: Document | None = None
    workload: Document | None = None
    pods: Sequence[Document] = ()
    place: Place | None = None
    events: Sequence[str] = ()
    has_job: bool = False

    @property
    def without_jobs(self) -> bool:
        """Whether nothing shows that JobSet ever made its Job.

        JobSet counts no Job whose pods are being stopped, or could not be created.
        """
        assert self.jobset is not None
        restarts = self.jobset.get("status", {}).get("restarts", 0)
        return not (_has_jobs(self.jobset) or restarts or self.pods or self.has_job)


def run_state(known: RunStatus, seen: Seen, now: float) -> RunStatus:
    """The state of a run. known: by the store. now: seconds since the epoch."""
    if known.has_result:
        return replace(known, nodes=podlist.nodes(seen.pods))
    if seen.jobset is None:
        return _without_jobset(known)
    one = _with_facts(known, seen.jobset, seen.pods)
    if "deletionTimestamp" in seen.jobset["metadata"]:
        return _ended_early(one, "is being deleted", "Pending")
    if true(seen.jobset, "Failed") or seen.jobset.get("status", {}).get("terminalState") == "Failed":
        return _failed(one, seen)
    if true(seen.jobset, "Completed"):
        return _put(
            one, "Failed", message="all pods ended with 0, but there is no result.json", hint=_LOGS_HINT
        )
    if seen.workload is not None and not seen.workload["spec"].get("active", True):
        return _inactive(one, seen.workload, seen.pods)
    if seen.without_jobs and _age(seen.jobset, now) > SETTLED_AFTER_S:
        return _without_jobs(one, seen, now)
    if seen.jobset["spec"].get("suspend") or (seen.workload and not true(seen.workload, "Admitted")):
        return _suspended(one, seen, now)
    return _admitted(one, seen, now)


def wants_events(seen: Seen, now: float) -> bool:
    """Whether only events can say what is wrong: there are no Jobs, or no pods, and time has passed."""
    jobset = seen.jobset
    if jobset is None or true(jobset, "Failed") or true(jobset, "Completed"):
        return False
    if seen.without_jobs:
        return _age(jobset, now) > SETTLED_AFTER_S
    if seen.pods or jobset["spec"].get("suspend"):
        return False
    admitted = true(seen.workload, "Admitted")
    since = seconds(admitted["lastTransitionTime"]) if admitted else now - _age(jobset, now)
    return now - since > SETTLED_AFTER_S


def _with_facts(known: RunStatus, jobset: Document, pods: Sequence[Document]) -> RunStatus:
    status = jobset.get("status", {})
    return replace(
        known,
        restarts=status.get("restarts", 0),
        restarts_counted=status.get("restartsCountTowardsMax", 0),
        max_restarts=jobset["spec"].get("failurePolicy", {}).get("maxRestarts", 0),
        nodes=podlist.nodes(pods),
        queue=jobset["metadata"].get("labels", {}).get(QUEUE_LABEL, ""),
    )


def _put(one: RunStatus, state: RunState, **changes: object) -> RunStatus:
    """The run in a state of the cluster's, without what the heartbeat said of another."""
    cleared: dict[str, object] = {
        "stalled": False,
        "eta_s": None,
        "message": "",
        "hint": "",
        "exit_code": None,
    }
    return replace(one, state=state, **{**cleared, **changes})  # type: ignore[arg-type]


def _without_jobset(known: RunStatus) -> RunStatus:
    if known.state == "Failed":
        return known
    if known.state == "Pending":
        return replace(known, reason="not submitted, or cancelled before it began")
    return _ended_early(known, "cancelled, or not submitted again", "Interrupted")


def _ended_early(one: RunStatus, reason: str, before_start: RunState) -> RunStatus:
    state: RunState = before_start if one.state == "Pending" else "Interrupted"
    return _put(one, state, reason=f"{reason}; `octjob submit` continues it")


def _inactive(one: RunStatus, workload: Document, pods: Sequence[Document]) -> RunStatus:
    """Paused by hand, or put out by Kueue for good."""
    evicted = condition(workload, "Evicted")
    reason = evicted.get("reason", "") if evicted else ""
    message = evicted.get("message", "") if evicted else ""
    if _TIME_LIMIT in reason or "maximum execution time" in message:
        return _put(
            one,
            "Failed",
            message="it ran longer than compute.max_runtime_hours allows",
            hint="Raise max_runtime_hours and submit again: it continues where it was.",
        )
    left = sum(pod.get("status", {}).get("phase") in ("Pending", "Running") for pod in pods)
    if evicted and reason not in ("", "Deactivated") and reason.startswith("Deactivated"):
        return _put(one, "Paused", stuck=True, reason=f"put out by Kueue: {message}", hint=_RESUME_HINT)
    saving = f", {left} pods are still ending" if left else ""
    return _put(one, "Paused", reason=f"paused{saving}; `octjob resume` lets it go on")


def _without_jobs(one: RunStatus, seen: Seen, now: float) -> RunStatus:
    """JobSet has created no Job in all that time. Its controller says why by an event only (from 0.11 on)."""
    assert seen.jobset is not None
    text = seen.events[-1] if seen.events else ""
    if text and not any(word in text for word in _PASSING):
        return _put(one, "Invalid", message=f"its Job is refused: {text}", hint=_INVALID_HINT)
    why = text or "its controller is down, or before version 0.11 and silent about a refused Job"
    age = _age(seen.jobset, now)
    return _put(one, "Starting", reason=f"JobSet has made no Job in {age:.0f} s: {why}")


def _suspended(one: RunStatus, seen: Seen, now: float) -> RunStatus:
    """Not admitted: for the first time, or put back."""
    if not one.queue:
        return _put(one, "Paused", stuck=True, reason="its JobSet is suspended, and no queue will resume it")
    begun = one.state != "Pending" or one.restarts > 0
    if seen.workload is None:
        assert seen.jobset is not None
        late = _age(seen.jobset, now) > SETTLED_AFTER_S
        reason = "Kueue has made no Workload of it: is its controller running?" if late else "just submitted"
        return _put(one, "Interrupted" if begun else "Queued", reason=reason)
    evicted = true(seen.workload, "Evicted")
    if true(seen.workload, "Admitted") and not evicted:
        return _put(one, "Starting", reason="admitted, its pods are being created")
    # An evicted run holds its quota until its pods have left.
    wait = Wait("") if evicted and true(seen.workload, "QuotaReserved") else waits_for(seen.workload)
    place = seen.place
    reason = "; ".join(text for text in (_evicted(evicted) if evicted else "", wait.reason) if text)
    if any(pod.get("status", {}).get("phase") == "Running" for pod in seen.pods):
        reason = f"{reason}; its pods are saving"
    return _put(
        one,
        "Interrupted" if begun or evicted else "Queued",
        reason=reason,
        stuck=wait.stuck,
        hint=wait.hint,
        position=place.position if place else None,
        queue_length=place.length if place else None,
    )


def _evicted(found: Mapping[str, str]) -> str:
    reason, message = found.get("reason", ""), found.get("message", "")
    words = {
        "Preempted": "preempted by a run of higher priority",
        "PodsReadyTimeout": "put back, its pods were not ready in time",
        "ClusterQueueStopped": "put back, its queue was stopped",
        "LocalQueueStopped": "put back, its queue was stopped",
        "NodeFailures": "put back, a node failed",
        "Deactivated": "was paused",
    }
    return words.get(reason) or f"put back ({reason}): {message}"


def _admitted(one: RunStatus, seen: Seen, now: float) -> RunStatus:
    assert seen.jobset is not None
    expected = _num_pods(seen.jobset)
    current = [pod for pod in seen.pods if podlist.restart(pod) == one.restarts and _alive(pod)]
    ready = [pod for pod in current if podlist.is_ready(pod)]
    if len(ready) >= expected:
        return _running(one, current, now)
    failed = podlist.first_failure(seen.pods)
    if _is_restarting(seen.jobset, one.restarts):
        return _restarting(one, seen, failed)
    if failed is not None:
        # The Job or the JobSet has not acted on it yet.
        return _put(one, "Running", reason=f"{failed.text}; its other pods are being stopped")
    obstacle = podlist.obstacle(current)
    if obstacle is not None:
        return _put(one, "Starting", reason=obstacle.reason, hint=obstacle.hint)
    if not current:
        why = [text for text in seen.events if "follower pod" not in text]
        return _put(
            one, "Starting", reason=f"no pods yet: {why[-1]}" if why else "its pods are being created"
        )
    return _put(one, "Starting", reason=f"{len(ready)} of {expected} pods ready")


def _is_restarting(jobset: Document, restarts: int) -> bool:
    """JobSet says so from 0.12 on; before, a restart is told from a resumed run by nothing."""
    found = condition(jobset, "RestartingJobSet")
    return found["status"] == "True" if found else restarts > 0


def _restarting(one: RunStatus, seen: Seen, failed: podlist.End | None) -> RunStatus:
    """Between an attempt that failed and the pods of the next."""
    found = condition(seen.jobset, "RestartingJobSet")
    cause = _RESTART_CAUSES.get(found["reason"], "") if found else ""
    if not cause and failed is not None:
        cause = failed.text
    if not cause and one.state == "Failed":
        cause = one.message
    if not cause:
        uncounted = one.restarts and not one.restarts_counted
        cause = "a disruption (not counted)" if uncounted else "an attempt failed"
    current = [pod for pod in seen.pods if podlist.restart(pod) == one.restarts and _alive(pod)]
    obstacle = podlist.obstacle(current)
    waits = f"; now {obstacle.reason}" if obstacle else ""
    reason = f"restart {one.restarts}: {cause}{waits}"
    return _put(one, "Restarting", reason=reason, hint=obstacle.hint if obstacle else "")


def _running(one: RunStatus, pods: Sequence[Document], now: float) -> RunStatus:
    """All pods are ready. The heartbeat may still be that of the attempt before."""
    current = one.state == "Running" and one.restart in (None, one.restarts)
    started = podlist.started_at(pods)
    silent_s = min(
        (age for age in (one.heartbeat_age_s, now - started if started else None) if age is not None),
        default=0.0,
    )
    stalled = silent_s > STALLED_AFTER_S
    if current:
        return replace(one, stalled=stalled)
    text = "no heartbeat yet" if one.state == "Pending" else "no heartbeat of this attempt yet"
    return _put(one, "Running", stage="starting", stalled=stalled, reason=text)


def _failed(one: RunStatus, seen: Seen) -> RunStatus:
    """Why: the container that failed first, else the run's own last words, else JobSet's."""
    found = true(seen.jobset, "Failed") or {}
    end = podlist.first_failure(seen.pods)
    after = f"after {one.restarts} restarts: " if found.get("reason") == "ReachedMaxRestarts" else ""
    if end is not None:
        own = one.hint if one.state == "Failed" else ""
        return _put(
            one,
            "Failed",
            message=f"{after}{end.text}",
            hint=end.hint or own or _LOGS_HINT,
            exit_code=end.exit_code,
        )
    if one.state == "Failed":
        code = one.exit_code
        means = f"exit {code} ({podlist.MEANING.get(code, 'unknown')}): " if code is not None else ""
        return _put(
            one,
            "Failed",
            message=f"{after}{means}{one.message}",
            hint=one.hint,
            exit_code=code,
        )
    return _put(
        one, "Failed", message=f"{after}{found.get('message', 'JobSet says no more')}", hint=_LOGS_HINT
    )


_LOGS_HINT = "`octjob logs` shows what the attempts said."
_RESUME_HINT = "`octjob resume` lets it go on."
_INVALID_HINT = "`octjob cancel` it, mend the sweep and submit again."


def _has_jobs(jobset: Document) -> bool:
    """JobSet counts Jobs, also suspended ones; before the first there is no status at all."""
    counts = jobset.get("status", {}).get("replicatedJobsStatus") or []
    kinds = ("ready", "succeeded", "failed", "active", "suspended")
    return any(one.get(kind, 0) for one in counts for kind in kinds)


def _num_pods(jobset: Document) -> int:
    total = 0
    for one in jobset["spec"]["replicatedJobs"]:
        spec = one["template"]["spec"]
        total += one.get("replicas", 1) * min(spec.get("parallelism", 1), spec.get("completions") or 10**9)
    return total


def _alive(pod: Document) -> bool:
    return "deletionTimestamp" not in pod["metadata"]


def _age(jobset: Document, now: float) -> float:
    return max(0.0, now - seconds(jobset["metadata"]["creationTimestamp"]))
