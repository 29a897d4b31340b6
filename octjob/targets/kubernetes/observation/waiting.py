"""What a run that is queued by Kueue waits for, in words, and its place among those that wait with it.

Kueue before 0.19, and later ones without their gate UnadmittedWorkloadsObservability, give nearly all reasons as
`Pending` or `Inadmissible`; then the message is what tells them apart (kueue pkg/scheduler/flavorassigner).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from octjob.targets.kubernetes.observation.conditions import condition, true

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document

# Reason, pattern of the message that means the same where the reason is a general one.
_PATTERNS = (
    ("WaitingForQuota", re.compile(r"insufficient unused quota")),
    ("ExceedsMaxQuota", re.compile(r"> maximum capacity")),
    ("NotCovered", re.compile(r"resource (?P<resource>\S+) unavailable in ClusterQueue")),
    ("NoMatchingFlavor", re.compile(r"doesn't match node affinity|untolerated taint")),
    ("Suspended", re.compile(r"is inactive|is stopped")),
    ("Misconfigured", re.compile(r"doesn't exist|not found|doesn't match ClusterQueue selector")),
    ("WaitingForPreemptedWorkloads", re.compile(r"[Pp]ending the preemption")),
)
# kueue pkg/scheduler/preemption, preemptionMessage.
_PREEMPTED = re.compile(r"\(UID: (?P<uid>[^,]+), JobUID: (?P<job>[^)]+)\) due to (?P<due>[^;]+)")
_GENERAL = ("Pending", "Inadmissible", "Waiting")
_MORE = re.compile(
    r"insufficient unused quota for (?P<resource>\S+) in flavor (?P<flavor>\S+), (?P<more>\S+) more"
)
_MAXIMUM = re.compile(
    r"insufficient quota for (?P<resource>\S+) in flavor (?P<flavor>\S+),.*? current podset request"
    r" \((?P<asked>[^)]*)\) > maximum capacity \((?P<most>[^)]*)\)"
)


@dataclass(frozen=True)
class Place:
    """Where a run stands in its queue: from 1, of so many that wait."""

    position: int
    length: int


@dataclass(frozen=True)
class Wait:
    """Why a run is not admitted. stuck: waiting does not mend it; hint: what does."""

    reason: str
    stuck: bool = False
    hint: str = ""


def places(workloads: Iterable[Document]) -> dict[str, Place]:
    """The place of each waiting Workload, by uid: per LocalQueue, higher priority first, then the older."""
    queues: dict[str, list[Document]] = {}
    for one in workloads:
        if is_waiting(one):
            queues.setdefault(one["spec"].get("queueName", ""), []).append(one)
    found = {}
    for waiting in queues.values():
        waiting.sort(key=_order)
        for position, one in enumerate(waiting, 1):
            found[one["metadata"]["uid"]] = Place(position, len(waiting))
    return found


def preemptor(workload: Document | None, workloads: Iterable[Document], names: Mapping[str, str]) -> str:
    """Who took a preempted Workload's place, in words; empty where Kueue does not say or it was not preempted.

    workloads: of the namespace. names: of runs, by the uid of their JobSets.
    """
    evicted = true(workload, "Evicted")
    said = _PREEMPTED.search(evicted.get("message", "")) if evicted else None
    if said is None or evicted is None or evicted.get("reason") != "Preempted":
        return ""
    who = f"a workload of another namespace (UID {said['uid']})"
    if said["job"] in names:
        who = f"run {names[said['job']]}"
    else:
        for one in workloads:
            if one["metadata"]["uid"] == said["uid"]:
                owner = next(iter(one["metadata"].get("ownerReferences") or ()), one["metadata"])
                who = f"{owner.get('kind', 'Workload')} {owner['name']}"
    by_priority = said["due"] == "prioritization in the ClusterQueue"
    return f"{who} of higher priority" if by_priority else f"{who}, by {said['due']}"


def is_waiting(workload: Document) -> bool:
    """Whether it holds no quota, but would take it."""
    if not workload["spec"].get("active", True) or true(workload, "Finished"):
        return False
    return true(workload, "QuotaReserved") is None


def waits_for(workload: Document) -> Wait:
    """What a Workload that is not admitted waits for."""
    queue = workload["spec"].get("queueName", "")
    if true(workload, "QuotaReserved"):
        return _checks(workload)
    found = condition(workload, "QuotaReserved")
    if found is None:
        return Wait("not looked at by Kueue yet: it waits behind others")
    reason, message = found.get("reason", ""), found.get("message", "")
    if reason in _GENERAL:
        reason = next((name for name, pattern in _PATTERNS if pattern.search(message)), reason)
    return _in_words(reason, message, queue)


def _in_words(reason: str, message: str, queue: str) -> Wait:
    if reason == "WaitingForQuota" and (more := _MORE.search(message)):
        return Wait(f"waits for quota: {more['more']} more {more['resource']} of flavor {more['flavor']}")
    if reason == "ExceedsMaxQuota":
        most = _MAXIMUM.search(message)
        text = (
            f"asks for {most['asked']} {most['resource']}; queue {queue} never has more than {most['most']}"
            if most
            else message
        )
        return Wait(f"more than queue {queue} can ever give: {text}", True, _ANOTHER_QUEUE)
    if reason == "NotCovered":
        return Wait(
            f"queue {queue} gives no quota for a resource that the pods ask for: {message}",
            True,
            _ANOTHER_QUEUE,
        )
    if reason == "NoMatchingFlavor":
        return Wait(
            f"queue {queue} has no flavor for these nodes: {message}",
            True,
            "Choose another compute.accelerator or queue, or have a ResourceFlavor added to the ClusterQueue.",
        )
    if reason == "Suspended":
        return Wait(f"queue {queue} is stopped: {message}", True, f"{_DESCRIBE} {queue}` says why.")
    if reason == "Misconfigured":
        return Wait(f"queue {queue} cannot take it: {message}", True, f"{_DESCRIBE} {queue}` must be active.")
    if reason == "WaitingForPreemptedWorkloads":
        return Wait(f"waits until preempted runs have left: {message}")
    words = _OTHERS.get(reason)
    return Wait(f"{words}: {message}" if words and message else words or message or reason)


_ANOTHER_QUEUE = "Choose another compute.queue, or have the ClusterQueue's quota changed."
_DESCRIBE = "`kubectl describe localqueue"
_OTHERS = {
    "WaitingForQuota": "waits for quota",
    "TopologyPlacementFailed": "no free slice of this topology",
    "WaitingForPodsReady": "waits until runs admitted before have their pods ready",
    "PendingEvaluation": "not looked at by Kueue yet",
}


def _checks(workload: Document) -> Wait:
    """Quota is reserved, admission is not complete."""
    checks = workload.get("status", {}).get("admissionChecks") or []
    left = [one for one in checks if one.get("state") != "Ready"]
    names = ", ".join(f"{one['name']} ({one.get('message') or one.get('state')})" for one in left)
    rejected = any(one.get("state") == "Rejected" for one in left)
    return Wait(f"has quota, waits for admission checks: {names or 'none left'}", rejected)


def _order(workload: Document) -> tuple[int, str, str]:
    metadata = workload["metadata"]
    return -int(workload["spec"].get("priority") or 0), metadata["creationTimestamp"], metadata["uid"]
