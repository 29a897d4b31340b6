"""Who keeps the hosts of a run in one node pool, its slice: Kueue where the queue's flavors know pools, else JobSet.

JobSet binds a run to the pool that its first pod was given, whole or not; Kueue with a Topology admits it only to a
pool that holds all of it. JobSet's exclusive placement is not added to that: under a flavor with a Topology Kueue has
chosen the nodes by then, so there is one who decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from octjob.targets.kubernetes import gke
from octjob.targets.kubernetes.documents.settings import Settings
from octjob.targets.kubernetes.refusal import ClusterError, NotServed
from octjob.targets.kubernetes.resources import CLUSTER_QUEUES, LOCAL_QUEUES, RESOURCE_FLAVORS, TOPOLOGIES
from octjob.targets.kubernetes.submission.admission import readable, suiting_flavors

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document


@dataclass(frozen=True)
class Placement:
    """required: Kueue is asked for one node pool; otherwise JobSet's exclusive placement."""

    required: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offer:
    """Names of the flavors that suit a run: whose Topology has node pools, whose Topology has none, without one."""

    pooled: tuple[str, ...] = ()
    unpooled: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()


def choose_placement(cluster: Cluster, settings: Settings, pod: Mapping[str, Any]) -> Placement:
    """By `compute.topology` and what the queue's flavors offer to runs of pods like `pod`.

    Raises `ClusterError` where it must be Kueue and no flavor offers it. A queue that is not there is left to
    `check_admission`.
    """
    compute, level = settings.compute, gke.level_of(settings.slice)
    required = settings.asks_kueue
    topology = "required" if required else compute.topology
    if not compute.queue:
        return Placement(required)
    offers = readable(lambda: _read_offer(cluster, compute.queue or "", pod, level))
    if offers is None:
        return Placement(required, _unread(topology))
    if offers == Offer():
        return Placement(required)
    if required and not offers.pooled:
        there = ", ".join((*offers.unpooled, *offers.plain))
        raise _never_admitted(settings, there, level)
    found = decide(offers, topology, settings.slice.pool is not None)
    return found if found.required or settings.slice.hosts > 1 else Placement(False)


def _never_admitted(settings: Settings, there: str, level: str) -> ClusterError:
    key = "topology: required" if settings.slice.pool is None else f"part_of: {settings.compute.part_of}"
    chart = " the chart octjob does with kueue.cluster.topology=true."
    return ClusterError(
        f"compute.{key}, but no flavor of queue {settings.compute.queue} that suits the runs has a Topology"
        f" with the level {level} (there: {there}), so no run would ever be admitted",
        f"Set compute.topology: auto, or have such a Topology made:{chart}"
        if settings.slice.pool is None
        else "Remove compute.part_of, or have such a Topology made: docs/kubernetes.md shows one.",
    )


def decide(offers: Offer, topology: str, parts: bool = False) -> Placement:
    """The placement of runs of several hosts for a value of `compute.topology`, where it is possible.

    parts: whether a run is to have a part of a node pool.
    """
    if offers.pooled and topology != "exclusive":
        passed = ", ".join((*offers.unpooled, *offers.plain))
        what = "part of a node pool" if parts else "node pool"
        note = f"runs ask Kueue for one {what}; flavors without a Topology of those are passed over: {passed}"
        return Placement(True, (note,) if passed else ())
    if offers.plain or not (offers.pooled or offers.unpooled):
        return Placement(False)
    names = ", ".join((*offers.pooled, *offers.unpooled))
    advice = (
        "set compute.topology: auto"
        if offers.pooled
        else f"a Topology with the level {gke.NODE_POOL_LABEL} mends it"
    )
    note = f"flavors {names} have a Topology, so Kueue may spread a run's hosts over several node pools; {advice}"
    return Placement(False, (note,))


def offer(
    suiting: Sequence[Document], topologies: Sequence[Document], level: str = gke.NODE_POOL_LABEL
) -> Offer:
    """What flavors offer. topologies: all of the cluster's. level: the label that tells slices apart."""
    pools = {
        each["metadata"]["name"]
        for each in topologies
        if any(one["nodeLabel"] == level for one in each["spec"]["levels"])
    }
    named = {each["metadata"]["name"]: each["spec"].get("topologyName") for each in suiting}
    return Offer(
        tuple(name for name, topology in named.items() if topology in pools),
        tuple(name for name, topology in named.items() if topology and topology not in pools),
        tuple(name for name, topology in named.items() if not topology),
    )


def _read_offer(cluster: Cluster, queue: str, pod: Mapping[str, Any], level: str) -> Offer:
    """Empty where Kueue, the queue, its ClusterQueue or a suiting flavor is not there; raises `Forbidden`."""
    try:
        local = cluster.get(LOCAL_QUEUES, queue)
    except NotServed:
        return Offer()
    home = cluster.get(CLUSTER_QUEUES, local["spec"]["clusterQueue"]) if local else None
    if home is None:
        return Offer()
    suiting = suiting_flavors(home, cluster.list(RESOURCE_FLAVORS), pod)
    aware = any(each["spec"].get("topologyName") for each in suiting)
    return offer(suiting, cluster.list(TOPOLOGIES) if aware else [], level)


def _unread(topology: str) -> tuple[str, ...]:
    what = f"compute.topology: {topology}: whether the queue's flavors have a Topology may not be read"
    return {
        "exclusive": (),
        "required": (f"{what}: where none has, no run is ever admitted",),
        "auto": (
            f"{what}, so JobSet's exclusive placement is used; where they have one, set it to required",
        ),
    }[topology]
