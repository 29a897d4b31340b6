"""The state of one run, from what the cluster and the store say of it. Pure: documents in, a `RunStatus` out.

A result in the store is the fact that a run is finished, whatever the cluster says. Otherwise the cluster knows best:
a heartbeat may be that of an attempt that has ended. The absence of a condition means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from octjob.records.state import RunState
from octjob.records.status import STALLED_AFTER_S, RunStatus
from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.documents import policy
from octjob.targets.kubernetes.observation import pods as podlist
from octjob.targets.kubernetes.observation.conditions import condition, seconds, true
from octjob.targets.kubernetes.observation.waiting import Place, Wait, waits_for
from octjob.targets.kubernetes.phase import Handle, Phase, phase

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document

# JobSet makes its Jobs within a second of its creation, Kueue the Workload.
SETTLED_AFTER_S = 15.0
# A controller that has a large sweep to work through comes to each run in its turn; one that has written nothing at
# all for so long, though there was something to do, is away.
SILENT_AFTER_S = 60.0
_SUPERSEDED = "superseded: a later submission no longer has it"
_RESTART_CAUSES = {
    jobset_api.restart_reason(policy.DISRUPTED): "its machine was taken or drained (not counted)",
    jobset_api.restart_reason(policy.RESTART_ME): "it saved and asked to be started again (not counted)",
    jobset_api.restart_reason(policy.INTERRUPTED): "it was interrupted (not counted)",
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
    Job's own, so there is one. jobset_sign, kueue_sign: when JobSet's and Kueue's controllers last wrote to a status
    here. preemptor: who took its place, in words.
    """

    jobset: Document | None = None
    workload: Document | None = None
    pods: Sequence[Document] = ()
    place: Place | None = None
    events: Sequence[str] = ()
    has_job: bool = False
    jobset_sign: float | None = None
    kueue_sign: float | None = None
    preemptor: str = ""

    @property
    def without_jobs(self) -> bool:
        """Whether nothing shows that JobSet ever made its Job.

        JobSet counts no Job whose pods are being stopped, or could not be created.
        """
        assert self.jobset is not None
        restarts = self.jobset.get("status", {}).get("restarts", 0)
        return not (_has_jobs(self.jobset) or restarts or self.pods or self.has_job)


def run_state(known: RunStatus, seen: Seen, now: float, run: Handle) -> RunStatus:
    """The state of a run: what `phase` decides, and what pods and events add.

    known: by the store. now: seconds since the epoch. run: its name in further commands.
    """
    found = phase(seen.jobset, seen.workload, has_result=known.has_result)
    one = _state(known, seen, found, now, run)
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
    one = _with_facts(known, seen.jobset, seen.pods)
    if found.state == "Ending":
        return _put(one, "Ending", reason="is being deleted", hint=found.next_step(run))
    if found.state == "Failed":
        return _failed(one, seen, run)
    if found.ended:
        return _put(one, found.state, message=f"it {found.reason}", hint=found.next_step(run))
    if found.state in ("Paused", "PutOut"):
        return _inactive(one, found, seen.pods, run)
    if found.state == "Held":
        return _put(one, "Held", stuck=True, reason=f"it {found.reason}", hint=found.next_step(run))
    if seen.without_jobs and _age(seen.jobset, now) > SETTLED_AFTER_S:
        return _without_jobs(one, seen, now, run)
    if found.state == "Queued":
        return _suspended(one, seen, now)
    return _admitted(one, seen, now, run)


def wants_events(seen: Seen, now: float) -> bool:
    """Whether only events can say what is wrong: there are no Jobs, or no pods, and time has passed."""
    jobset = seen.jobset
    if jobset is None or true(jobset, jobset_api.FAILED) or true(jobset, jobset_api.COMPLETED):
        return False
    if seen.without_jobs:
        return _age(jobset, now) > SETTLED_AFTER_S
    if seen.pods or jobset["spec"].get("suspend"):
        return False
    admitted = true(seen.workload, kueue.ADMITTED)
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
        queue=jobset["metadata"].get("labels", {}).get(kueue.QUEUE_LABEL, ""),
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


def _without_jobset(known: RunStatus, found: Phase, run: Handle) -> RunStatus:
    if known.state == "Failed":
        own = f"{known.hint.rstrip('.')}. Then: " if known.hint else ""
        return replace(known, hint=own + found.next_step(run))
    if known.state == "Pending":
        return replace(known, reason="not submitted, or cancelled before it began", hint=found.next_step(run))
    return _put(known, "Interrupted", reason="cancelled, or not submitted again", hint=found.next_step(run))


def _inactive(one: RunStatus, found: Phase, pods: Sequence[Document], run: Handle) -> RunStatus:
    """Paused by hand, or put out by Kueue for good."""
    left = sum(pod.get("status", {}).get("phase") in ("Pending", "Running") for pod in pods)
    saving = f", {left} pods are still ending" if left else ""
    stuck = found.state == "PutOut"
    return _put(one, found.state, stuck=stuck, reason=f"{found.reason}{saving}", hint=found.next_step(run))


def _without_jobs(one: RunStatus, seen: Seen, now: float, run: Handle) -> RunStatus:
    """JobSet has created no Job in all that time. Its controller says why by an event only (from 0.11 on)."""
    assert seen.jobset is not None
    text = seen.events[-1] if seen.events else ""
    if text and not any(word in text for word in _PASSING):
        hint = f"{run.command('cancel')}, mend the sweep and submit it again."
        return _put(one, "Invalid", message=f"its Job is refused: {text}", hint=hint)
    age = _age(seen.jobset, now)
    if text:
        return _put(one, "Starting", reason=f"JobSet has made no Job in {age:.0f} s: {text}")
    silent_s = _silent_s(seen.jobset, seen.jobset_sign, now)
    if silent_s <= SILENT_AFTER_S:
        if phase(seen.jobset, seen.workload).state == "Queued":
            return _suspended(one, seen, now)
        return _put(one, "Starting", reason="JobSet has not come to it yet")
    return _put(
        one,
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
        if _age(seen.jobset, now) <= SETTLED_AFTER_S:
            reason = "just submitted"
        elif silent_s > SILENT_AFTER_S:
            reason = f"Kueue has made no Workload of it and has done nothing for {silent_s:.0f} s"
            hint = "`kubectl -n kueue-system get pods` shows its controller; once it works the run is queued."
        return _put(one, "Interrupted" if begun else "Queued", reason=reason, hint=hint)
    evicted = true(seen.workload, kueue.EVICTED)
    if true(seen.workload, kueue.ADMITTED) and not evicted:
        return _put(one, "Starting", reason="admitted, its pods are being created")
    # An evicted run holds its quota until its pods have left.
    wait = Wait("") if evicted and true(seen.workload, kueue.QUOTA_RESERVED) else waits_for(seen.workload)
    place = seen.place
    reason = "; ".join(
        text for text in (_evicted(evicted, seen.preemptor) if evicted else "", wait.reason) if text
    )
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


def _evicted(found: Mapping[str, str], preemptor: str) -> str:
    reason, message = found.get("reason", ""), found.get("message", "")
    words = {
        kueue.PREEMPTED: f"preempted by {preemptor or 'a run of higher priority'}",
        kueue.PODS_READY_TIMEOUT: "put back, its pods were not ready in time",
        kueue.CLUSTER_QUEUE_STOPPED: "put back, its queue was stopped",
        kueue.LOCAL_QUEUE_STOPPED: "put back, its queue was stopped",
        kueue.NODE_FAILURES: "put back, a node failed",
        kueue.DEACTIVATED: "was paused",
    }
    return words.get(reason) or f"put back ({reason}): {message}"


def _admitted(one: RunStatus, seen: Seen, now: float, run: Handle) -> RunStatus:
    assert seen.jobset is not None
    expected = _num_pods(seen.jobset)
    current = [pod for pod in seen.pods if podlist.restart(pod) == one.restarts and _alive(pod)]
    ready = [pod for pod in current if podlist.is_ready(pod)]
    if len(ready) >= expected:
        return _running(one, current, now)
    failed = podlist.first_failure(seen.pods)
    if _is_restarting(seen.jobset, one.restarts):
        return _restarting(one, seen, failed, run)
    if failed is not None:
        # The Job or the JobSet has not acted on it yet.
        reason = f"{failed.text}; its other pods are being stopped"
        return _put(one, "Running", reason=reason, hint=failed.hint)
    obstacle = podlist.obstacle(current, run.flags)
    if obstacle is not None:
        return _put(one, "Starting", reason=obstacle.reason, hint=obstacle.hint)
    if not current:
        why = [text for text in seen.events if "follower pod" not in text]
        return _put(
            one, "Starting", reason=f"no pods yet: {why[-1]}" if why else "its pods are being created"
        )
    missing = podlist.missing(
        [pod for pod in seen.pods if podlist.restart(pod) == one.restarts], expected, now, run.flags
    )
    return _put(
        one,
        "Starting",
        reason=f"{len(ready)} of {expected} pods ready; {missing.reason}",
        hint=missing.hint,
    )


def _is_restarting(jobset: Document, restarts: int) -> bool:
    """JobSet says so from 0.12 on; before, a restart is told from a resumed run by nothing."""
    found = condition(jobset, jobset_api.RESTARTING)
    return found["status"] == "True" if found else restarts > 0


def _restarting(one: RunStatus, seen: Seen, failed: podlist.End | None, run: Handle) -> RunStatus:
    """Between an attempt that failed and the pods of the next."""
    found = condition(seen.jobset, jobset_api.RESTARTING)
    cause = _RESTART_CAUSES.get(found["reason"], "") if found else ""
    if not cause and failed is not None:
        cause = failed.text
    if not cause and one.state == "Failed":
        cause = one.message
    if not cause:
        uncounted = one.restarts and not one.restarts_counted
        cause = "a disruption (not counted)" if uncounted else "an attempt failed"
    current = [pod for pod in seen.pods if podlist.restart(pod) == one.restarts and _alive(pod)]
    obstacle = podlist.obstacle(current, run.flags)
    waits = f"; now {obstacle.reason}" if obstacle else ""
    reason = f"restart {one.restarts}: {cause}{waits}"
    hint = obstacle.hint if obstacle else failed.hint if failed else ""
    return _put(one, "Restarting", reason=reason, hint=hint)


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


def _failed(one: RunStatus, seen: Seen, run: Handle) -> RunStatus:
    """Why: the container that failed first, else the run's own last words, else JobSet's."""
    found = true(seen.jobset, jobset_api.FAILED) or {}
    end = podlist.first_failure(seen.pods)
    after = (
        f"after {one.restarts} restarts: " if found.get("reason") == jobset_api.REACHED_MAX_RESTARTS else ""
    )
    if end is not None:
        own = one.hint if one.state == "Failed" else ""
        return _put(
            one,
            "Failed",
            message=f"{after}{end.text}",
            hint=_mended(end.hint or own, run),
            exit_code=end.exit_code,
        )
    if one.state == "Failed":
        code = one.exit_code
        means = f"exit {code} ({podlist.MEANING.get(code, 'unknown')}): " if code is not None else ""
        return _put(
            one,
            "Failed",
            message=f"{after}{means}{one.message}",
            hint=_mended(one.hint, run),
            exit_code=code,
        )
    text = found.get("message", "JobSet says no more")
    return _put(one, "Failed", message=f"{after}{text}", hint=_mended("", run))


def _mended(own: str, run: Handle) -> str:
    """The hint of a failed run. own: what the run itself said would mend it."""
    again = f"{run.command('retry')} runs it again"
    if own:
        return f"{own.rstrip('.')}. Then {again}."
    return f"{run.command('logs')} shows what its attempts said; once mended, {again}."


def _has_jobs(jobset: Document) -> bool:
    """JobSet counts Jobs, also suspended ones; before the first there is no status at all."""
    counts = jobset.get("status", {}).get("replicatedJobsStatus") or []
    return any(one.get(kind, 0) for one in counts for kind in jobset_api.JOB_COUNTS)


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
