"""Who holds the chips that queued runs wait for, and until when. Pure, but for `look`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.observation.conditions import true
from octjob.targets.kubernetes.observation.waiting import is_waiting
from octjob.targets.kubernetes.resources import CLUSTER_QUEUES, LOCAL_QUEUES, WORKLOADS
from octjob.targets.kubernetes.select import Selection, annotation
from octjob.targets.kubernetes.submission.admission import quantity, readable
from octjob.targets.kubernetes.workloads import by_jobset, list_workloads

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document

# The second is how Kueue's v1beta1 spells it.
_PAST_S = ("accumulatedPastExecutionTimeSeconds", "accumulatedPastExexcutionTimeSeconds")


@dataclass(frozen=True)
class Holder:
    """A Workload that holds chips. name: of the job that it stands for; sweep, run: where that is octjob's.

    since, ends_at: RFC 3339, of its admission and of its time limit; ends_at None where it shows no limit. held_s,
    ends_in_s: the same in seconds from now; less than 0 where it is being ended.
    """

    namespace: str
    kind: str
    name: str
    sweep: str
    run: str
    cluster_queue: str
    priority: int
    chips: int
    since: str
    held_s: float
    ends_at: str | None
    ends_in_s: float | None


@dataclass(frozen=True)
class Queue:
    """A LocalQueue in which runs wait, and who holds what they wait for.

    resources: the chips' names. waiting: ids of the runs. holders: those whose limit ends first come first; of the
    ClusterQueue, and of its cohort where it borrows. note: what was not seen, and why.
    """

    queue: str
    cluster_queue: str
    cohort: str
    resources: tuple[str, ...]
    waiting: tuple[str, ...]
    holders: tuple[Holder, ...]
    note: str


def look(cluster: Cluster, selection: Selection, now: datetime) -> list[Queue]:
    """The queues in which runs of a selection wait; none where none waits.

    Raises `ClusterError`; a right that is missing is a note.
    """
    own = by_jobset(list_workloads(cluster))
    waiting: dict[str, dict[str, Document]] = {}
    for jobset in selection.jobsets:
        workload = own.get(jobset["metadata"]["uid"])
        if workload is not None and is_waiting(workload):
            queue = workload["spec"].get("queueName", "")
            waiting.setdefault(queue, {})[annotation(jobset, "run")] = workload
    if not waiting:
        return []
    notes = []
    workloads = readable(lambda: cluster.list(WORKLOADS, all_namespaces=True))
    if workloads is None:
        workloads = list_workloads(cluster)
        notes.append(f"only namespace {cluster.namespace} was seen: no right to list Workloads of others")
    return [_queue(cluster, name, runs, workloads, notes, now) for name, runs in sorted(waiting.items())]


def _queue(
    cluster: Cluster,
    name: str,
    runs: Mapping[str, Document],
    workloads: Sequence[Document],
    notes: Sequence[str],
    now: datetime,
) -> Queue:
    resources = sorted(set().union(*(chip_names(one) for one in runs.values())))
    local = readable(lambda: cluster.get(LOCAL_QUEUES, name))
    if local is None:
        note = "; ".join([*notes, f"LocalQueue {name} may not be read or is not there"])
        return Queue(name, "", "", tuple(resources), tuple(runs), (), note)
    home = local["spec"]["clusterQueue"]
    cohort, members, unseen = _cohort(cluster, home)
    found = holders(workloads, members, resources, now)
    return Queue(
        name, home, cohort, tuple(resources), tuple(runs), tuple(found), "; ".join([*notes, *unseen])
    )


def _cohort(cluster: Cluster, home: str) -> tuple[str, set[str], list[str]]:
    """The cohort of a ClusterQueue, names of the ClusterQueues that lend to each other in it, and what is unknown."""
    queues = readable(lambda: cluster.list(CLUSTER_QUEUES))
    if queues is not None:
        cohorts = {one["metadata"]["name"]: _cohort_of(one) for one in queues}
        cohort = cohorts.get(home, "")
        return cohort, {home, *(name for name, its in cohorts.items() if cohort and its == cohort)}, []
    own = readable(lambda: cluster.get(CLUSTER_QUEUES, home))
    if own is None:
        return "", {home}, [f"whether {home} borrows is unknown: no right to read ClusterQueues"]
    if cohort := _cohort_of(own):
        return (
            cohort,
            {home},
            [f"only ClusterQueue {home} of cohort {cohort} was seen: no right to list others"],
        )
    return "", {home}, []


def _cohort_of(queue: Document) -> str:
    cohort: str = queue["spec"].get("cohortName") or queue["spec"].get("cohort") or ""
    return cohort


def chip_names(workload: Document) -> set[str]:
    """The extended resources that a Workload's pods ask for, such as `google.com/tpu`."""
    names: set[str] = set()
    for pods in workload["spec"].get("podSets", []):
        for container in pods["template"]["spec"].get("containers", []):
            resources = container.get("resources", {})
            names |= {*resources.get("requests", {}), *resources.get("limits", {})}
    return {name for name in names if "/" in name}


def holders(
    workloads: Iterable[Document], queues: Collection[str], resources: Collection[str], now: datetime
) -> list[Holder]:
    """Those that hold any of the resources in these ClusterQueues, the first to reach its limit first."""
    found = []
    for one in workloads:
        admission = one.get("status", {}).get("admission") or {}
        chips = _held(admission, resources)
        if admission.get("clusterQueue") not in queues or not chips or true(one, kueue.FINISHED):
            continue
        found.append(_holder(one, chips, now))
    never = float("inf")
    found.sort(key=lambda one: (never if one.ends_in_s is None else one.ends_in_s, one.since, one.name))
    return found


def _held(admission: Mapping[str, Any], resources: Collection[str]) -> int:
    used = [
        quantity(amount)
        for pods in admission.get("podSetAssignments", [])
        for name, amount in pods.get("resourceUsage", {}).items()
        if name in resources
    ]
    return int(sum(used))


def _holder(workload: Document, chips: int, now: datetime) -> Holder:
    metadata, spec = workload["metadata"], workload["spec"]
    owner = next(iter(metadata.get("ownerReferences") or ()), {"kind": "Workload", "name": metadata["name"]})
    templates = [pods.get("template", {}) for pods in spec.get("podSets", [])]
    notes: dict[str, str] = {}
    for template in templates:
        notes |= (template.get("metadata") or {}).get("annotations") or {}
    reserved = true(workload, kueue.ADMITTED) or true(workload, kueue.QUOTA_RESERVED)
    since = _moment(reserved["lastTransitionTime"] if reserved else metadata["creationTimestamp"])
    limits = [float(one["spec"]["activeDeadlineSeconds"]) for one in templates if _has_deadline(one)]
    if (most := spec.get("maximumExecutionTimeSeconds")) is not None:
        status = workload.get("status", {})
        # Kueue counts what it ran before it was evicted.
        limits.append(float(most) - max(float(status.get(key) or 0) for key in _PAST_S))
    ends = since + timedelta(seconds=min(limits)) if limits else None
    return Holder(
        namespace=metadata.get("namespace", ""),
        kind=owner["kind"],
        name=owner["name"],
        sweep=notes.get("octjob.dev/sweep", ""),
        run=notes.get("octjob.dev/run", ""),
        cluster_queue=workload["status"]["admission"]["clusterQueue"],
        priority=int(spec.get("priority") or 0),
        chips=chips,
        since=_stamp(since),
        held_s=(now - since).total_seconds(),
        ends_at=None if ends is None else _stamp(ends),
        ends_in_s=None if ends is None else (ends - now).total_seconds(),
    )


def _has_deadline(template: Document) -> bool:
    return (template.get("spec") or {}).get("activeDeadlineSeconds") is not None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
