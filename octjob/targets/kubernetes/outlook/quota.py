"""How much of a Kueue queue's quota of chips is taken, as far as the user may read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from octjob.targets.kubernetes.gke import GPU, TPU
from octjob.targets.kubernetes.refusal import NotServed
from octjob.targets.kubernetes.resources import CLUSTER_QUEUES, LOCAL_QUEUES
from octjob.targets.kubernetes.submission.admission import quantity, readable

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document


@dataclass(frozen=True)
class Quota:
    """Chips of a queue, and runs waiting for them. resource: what the chips are, `google.com/tpu` or GPUs.

    chips, chips_used, pending: of the ClusterQueue, so of all its LocalQueues; None where it may not be read.
    borrowed: those of `chips_used` that are not its own but its cohort's.
    here: chips used through the LocalQueue alone. pending_here: Workloads that wait in it. note: what is unknown, and
    why.
    """

    queue: str
    cluster_queue: str = ""
    chips: int | None = None
    chips_used: int | None = None
    pending: int | None = None
    borrowed: int = 0
    here: int | None = None
    pending_here: int | None = None
    note: str = ""
    resource: str = TPU

    @property
    def _chips(self) -> str:
        return "GPUs" if self.resource == GPU else "chips"

    def __str__(self) -> str:
        if self.chips is None:
            known = (
                f", {self.here} {self._chips} in use, {self.pending_here} waiting"
                if self.here is not None
                else ""
            )
            return f"LocalQueue {self.queue}{known}; {self.note}"
        used = f"{(self.chips_used or 0) - self.borrowed} of {self.chips} {self._chips} in use"
        if self.borrowed:
            used += f" and {self.borrowed} borrowed from its cohort"
        return f"LocalQueue {self.queue} -> ClusterQueue {self.cluster_queue}: {used}, {self.pending} waiting"


def read_quota(cluster: Cluster, queue: str, resource: str = TPU) -> Quota:
    """The quota behind a LocalQueue of the cluster's namespace; what may not be read is said in `note`."""
    try:
        local = readable(lambda: [cluster.get(LOCAL_QUEUES, queue)])
    except NotServed:
        note = "the cluster has no Kueue: install it, or leave out compute.queue"
        return Quota(queue, note=note, resource=resource)
    if local is None:
        return Quota(queue, note="no right to read it", resource=resource)
    if local[0] is None:
        note = f"not there in namespace {cluster.namespace}, so runs would wait for ever"
        return Quota(queue, note=note, resource=resource)
    return quota_of(local[0], _cluster_queue(cluster, local[0]), resource)


def _cluster_queue(cluster: Cluster, local: Document) -> Document | None:
    return readable(lambda: cluster.get(CLUSTER_QUEUES, local["spec"]["clusterQueue"]))


def quota_of(local: Document, cluster_queue: Document | None, resource: str = TPU) -> Quota:
    """The same from the two documents; cluster_queue None: it may not be read, or is not there."""
    name, home = local["metadata"]["name"], local["spec"]["clusterQueue"]
    status = local.get("status", {})
    here = _sum(status.get("flavorsReservation", []), "total", resource)
    pending_here = status.get("pendingWorkloads", 0)
    if cluster_queue is None:
        note = f"how many there are is unknown: ClusterQueue {home} may not be read or is not there"
        return Quota(name, home, here=here, pending_here=pending_here, note=note, resource=resource)
    flavors = [
        flavor for group in cluster_queue["spec"].get("resourceGroups", []) for flavor in group["flavors"]
    ]
    chips = _sum(flavors, "nominalQuota", resource)
    status = cluster_queue.get("status", {})
    flavors = status.get("flavorsReservation", [])
    return Quota(
        name,
        home,
        chips,
        _sum(flavors, "total", resource),
        status.get("pendingWorkloads", 0),
        borrowed=_sum(flavors, "borrowed", resource),
        here=here,
        pending_here=pending_here,
        resource=resource,
    )


def _sum(flavors: Iterable[Document], key: str, name: str) -> int:
    values = [
        quantity(resource.get(key, 0))
        for flavor in flavors
        for resource in flavor.get("resources", [])
        if resource["name"] == name
    ]
    return int(sum(values))
