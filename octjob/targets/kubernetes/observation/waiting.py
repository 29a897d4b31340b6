"""What a run that is queued by Kueue waits for, in words, and its place among those that wait with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.observation.conditions import condition, true
from octjob.targets.kubernetes.observation.provisioning import asked, open_checks

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document


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
    evicted = true(workload, kueue.EVICTED)
    said = kueue.PREEMPTED_BY.search(evicted.get("message", "")) if evicted else None
    if said is None or evicted is None or evicted.get("reason") != kueue.PREEMPTED:
        return ""
    who = f"a workload of another namespace (UID {said['uid']})"
    if said["job"] in names:
        who = f"run {names[said['job']]}"
    else:
        for one in workloads:
            if one["metadata"]["uid"] == said["uid"]:
                owner = next(iter(one["metadata"].get("ownerReferences") or ()), one["metadata"])
                who = f"{owner.get('kind', 'Workload')} {owner['name']}"
    by_priority = said["due"] == kueue.BY_PRIORITY
    return f"{who} of higher priority" if by_priority else f"{who}, by {said['due']}"


def is_waiting(workload: Document) -> bool:
    """Whether it holds no quota, but would take it."""
    if not workload["spec"].get("active", True) or true(workload, kueue.FINISHED):
        return False
    return true(workload, kueue.QUOTA_RESERVED) is None


def waits_for(workload: Document, asking: Collection[str] = (), now: float = 0.0) -> Wait:
    """What a Workload that is not admitted waits for.

    asking: the admission checks that ask for nodes, as far as they are known. now: seconds since the epoch.
    """
    queue = workload["spec"].get("queueName", "")
    if true(workload, kueue.QUOTA_RESERVED):
        nodes = asked(workload, asking, now)
        return Wait(nodes) if nodes else _checks(workload)
    found = condition(workload, kueue.QUOTA_RESERVED)
    if found is None:
        return Wait("not looked at by Kueue yet: it waits behind others")
    return _in_words(_reason(found), found.get("message", ""), queue)


def lacks_slice(workload: Document) -> bool:
    """Whether it has quota in sight, but no node pool that holds all of it."""
    found = condition(workload, kueue.QUOTA_RESERVED)
    return found is not None and _reason(found) == kueue.TOPOLOGY_PLACEMENT_FAILED


def _reason(found: Mapping[str, str]) -> str:
    """Why quota is not reserved; told by the message where Kueue gives a general reason."""
    reason, message = found.get("reason", ""), found.get("message", "")
    if reason in kueue.GENERAL_REASONS:
        return next((name for name, pattern in kueue.REASON_BY_MESSAGE if pattern.search(message)), reason)
    return reason


def _in_words(reason: str, message: str, queue: str) -> Wait:
    if reason == kueue.WAITING_FOR_QUOTA and (more := kueue.MORE_NEEDED.search(message)):
        return Wait(f"waits for quota: {more['more']} more {more['resource']} of flavor {more['flavor']}")
    if reason == kueue.EXCEEDS_MAX_QUOTA:
        most = kueue.NEVER_ENOUGH.search(message)
        text = (
            f"asks for {most['asked']} {most['resource']}; queue {queue} never has more than {most['most']}"
            if most
            else message
        )
        return Wait(f"more than queue {queue} can ever give: {text}", True, _ANOTHER_QUEUE)
    if reason == kueue.NOT_COVERED:
        return Wait(
            f"queue {queue} gives no quota for a resource that the pods ask for: {message}",
            True,
            _ANOTHER_QUEUE,
        )
    if reason == kueue.NO_MATCHING_FLAVOR:
        return Wait(
            f"queue {queue} has no flavor for these nodes: {message}",
            True,
            "Choose another compute.accelerator or queue, or have a ResourceFlavor added to the ClusterQueue.",
        )
    if reason == kueue.SUSPENDED:
        return Wait(f"queue {queue} is stopped: {message}", True, f"{_DESCRIBE} {queue}` says why.")
    if reason == kueue.MISCONFIGURED:
        return Wait(f"queue {queue} cannot take it: {message}", True, f"{_DESCRIBE} {queue}` must be active.")
    if reason == kueue.WAITING_FOR_PREEMPTED:
        return Wait(f"waits until preempted runs have left: {message}")
    words = _OTHERS.get(reason)
    return Wait(f"{words}: {message}" if words and message else words or message or reason)


_ANOTHER_QUEUE = "Choose another compute.queue, or have the ClusterQueue's quota changed."
_DESCRIBE = "`kubectl describe localqueue"
_OTHERS = {
    kueue.WAITING_FOR_QUOTA: "waits for quota",
    kueue.TOPOLOGY_PLACEMENT_FAILED: "no free slice of this topology",
    kueue.WAITING_FOR_PODS_READY: "waits until runs admitted before have their pods ready",
    kueue.PENDING_EVALUATION: "not looked at by Kueue yet",
}


def _checks(workload: Document) -> Wait:
    """Quota is reserved, admission is not complete."""
    left = open_checks(workload)
    names = ", ".join(f"{one['name']} ({one.get('message') or one.get('state')})" for one in left)
    rejected = any(one.get("state") == kueue.CHECK_REJECTED for one in left)
    return Wait(f"has quota, waits for admission checks: {names or 'none left'}", rejected)


def _order(workload: Document) -> tuple[int, str, str]:
    metadata = workload["metadata"]
    return -int(workload["spec"].get("priority") or 0), metadata["creationTimestamp"], metadata["uid"]
