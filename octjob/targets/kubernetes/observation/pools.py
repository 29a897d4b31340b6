"""Which node pools cannot hold a run because nodes of theirs are missing: a slice is usable whole or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from octjob.targets.kubernetes.gke import NODE_POOL_LABEL
from octjob.targets.kubernetes.observation.conditions import true
from octjob.targets.kubernetes.submission.admission import tolerated

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document


@dataclass(frozen=True)
class Pool:
    """A node pool of a slice of `hosts` nodes. names: of those that are there. ready: how many of them take pods."""

    name: str
    hosts: int
    names: tuple[str, ...]
    ready: int

    def __str__(self) -> str:
        if len(self.names) < self.hosts:
            return f"{len(self.names)} of {self.hosts} nodes of pool {self.name} are there"
        return f"{self.ready} of {self.hosts} nodes of pool {self.name} are ready"


def broken_pools(nodes: Iterable[Document], selector: Mapping[str, str], hosts: int) -> list[Pool]:
    """Pools of a slice of `hosts` nodes that lack one. selector: labels of the nodes that a run may use.

    Only of pools with a node left: a pool without any is not to be seen.
    """
    pools: dict[str, list[Document]] = defaultdict(list)
    for node in nodes:
        labels = node["metadata"].get("labels", {})
        if selector.items() <= labels.items() and NODE_POOL_LABEL in labels:
            pools[labels[NODE_POOL_LABEL]].append(node)
    found = [
        Pool(
            name,
            hosts,
            tuple(node["metadata"]["name"] for node in of_pool),
            sum(_takes_pods(node) for node in of_pool),
        )
        for name, of_pool in sorted(pools.items())
    ]
    return [one for one in found if one.ready < hosts]


def absent(nodes: Iterable[Document], pod: Mapping[str, Any], *, suspended: bool) -> str:
    """What is said where no node is there that a run's pods may use; empty where one is.

    pod: their spec. suspended: Kueue has not let the run through, for want of nodes that it counts.
    """
    if any(_may_use(pod, node) for node in nodes):
        return ""
    if suspended:
        return "no such node is there, and Kueue with a Topology asks no autoscaler for one"
    return "no such node is there now: the cluster's autoscaler is expected to make some"


def _may_use(pod: Mapping[str, Any], node: Document) -> bool:
    """By labels and taints, but for those that say how a node is just now."""
    selector, labels = pod.get("nodeSelector") or {}, node["metadata"].get("labels", {})
    return selector.items() <= labels.items() and all(
        tolerated(taint, pod.get("tolerations") or [])
        for taint in node.get("spec", {}).get("taints") or []
        if not taint["key"].startswith("node.kubernetes.io/")
    )


def of_run(pools: Sequence[Pool], pods: Iterable[Document]) -> list[Pool]:
    """Those that a run waits for: the pool where a pod of it is, or all where none is anywhere."""
    taken = {pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName")}
    return [one for one in pools if not taken or not taken.isdisjoint(one.names)]


def _takes_pods(node: Document) -> bool:
    return true(node, "Ready") is not None and not node.get("spec", {}).get("unschedulable")
