"""Where a run stands that has been let through: by its pods, those of this attempt and of the one before. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from octjob.records.status import STALLED_AFTER_S, RunStatus
from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes.documents import policy
from octjob.targets.kubernetes.observation import pods as podlist
from octjob.targets.kubernetes.observation.conditions import condition
from octjob.targets.kubernetes.observation.seen import Seen
from octjob.targets.kubernetes.phase import Handle

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document

_RESTART_CAUSES = {
    jobset_api.restart_reason(policy.DISRUPTED): "its machine was taken or drained (not counted)",
    jobset_api.restart_reason(policy.RESTART_ME): "it saved and asked to be started again (not counted)",
    jobset_api.restart_reason(policy.INTERRUPTED): "it was interrupted (not counted)",
}


def admitted(one: RunStatus, seen: Seen, now: float, run: Handle) -> RunStatus:
    """Starting, Running or Restarting, and why. now: seconds since the epoch. run: its name in further commands."""
    assert seen.jobset is not None
    expected = jobset_api.num_pods(seen.jobset)
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
        return one.put("Running", reason=reason, hint=failed.hint)
    obstacle = podlist.obstacle(current, run.flags)
    if obstacle is not None:
        return one.put("Starting", reason=obstacle.reason, hint=obstacle.hint)
    if not current:
        why = [text for text in seen.events if "follower pod" not in text]
        return one.put("Starting", reason=f"no pods yet: {why[-1]}" if why else "its pods are being created")
    missing = podlist.missing(
        [pod for pod in seen.pods if podlist.restart(pod) == one.restarts], expected, now, run.flags
    )
    return one.put(
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
    return one.put("Restarting", reason=reason, hint=hint)


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
    return one.put("Running", stage="starting", stalled=stalled, reason=text)


def _alive(pod: Document) -> bool:
    return "deletionTimestamp" not in pod["metadata"]
