"""What GKE and Kueue make of a run's capacity: labels, taints, the ask for nodes, and what a queue gives of it.

A run of one capacity pins its pods to that capacity's nodes. One of several leaves it open: Kueue adds the node
labels of the flavor that it admits the run to (pkg/podset, FromAssignment), and the pods tolerate the taint of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from octjob.spec.capacity import (
    MAX_FLEX_START_HOURS,
    WORDS,
    Capacity,
    capacities,
    in_words,
    parse_reservation,
)
from octjob.spec.compute import Compute
from octjob.targets.kubernetes import gke, kueue
from octjob.targets.kubernetes.refusal import ClusterError

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document

# Of capacities whose nodes have one label that is a taint too.
_MARKS: dict[Capacity, str] = {
    "spot": gke.SPOT_LABEL,
    "flex_start": gke.FLEX_START_LABEL,
    "queued_provisioning": gke.QUEUED_LABEL,
}
# For so long nodes outlast Kueue's limit, so that a run that is stopped can save on them.
_MARGIN_S = 600
# Nodes with one of these come by an autoscaler, from none.
_GROWING = (gke.FLEX_START_LABEL, gke.QUEUED_LABEL, gke.COMPUTE_CLASS_LABEL)


def node_selector(compute: Compute) -> dict[str, str]:
    """The labels of a run's only capacity; none of several, nor on demand, whose nodes have none of their own."""
    wanted = capacities(compute)
    if len(wanted) > 1:
        return {}
    if wanted == ("reservation",):
        return _reservation_labels(compute.reservation or "")
    return {_MARKS[wanted[0]]: "true"} if wanted[0] in _MARKS else {}


def tolerations(compute: Compute) -> list[dict[str, str]]:
    """Of the taints that nodes of its capacities have."""
    return [
        {"key": _MARKS[one], "operator": "Equal", "value": "true", "effect": "NoSchedule"}
        for one in capacities(compute)
        if one in _MARKS
    ]


def jobset_annotations(compute: Compute, max_runtime_s: int) -> dict[str, str]:
    """Of the JobSet: for how long Kueue asks for nodes, where it does."""
    if "queued_provisioning" not in capacities(compute):
        return {}
    seconds = min(max_runtime_s + _MARGIN_S, MAX_FLEX_START_HOURS * 3600)
    return {kueue.MAX_RUN_DURATION: str(seconds)}


def capacity_of(labels: Mapping[str, str]) -> Capacity:
    """What labels of a node, a flavor or a node selector say; on demand where they say nothing."""
    if gke.RESERVATION_LABEL in labels:
        return "reservation"
    # Nodes of queued provisioning have the label of flex-start too.
    for one in ("queued_provisioning", "flex_start", "spot"):
        if labels.get(_MARKS[one]) == "true":
            return one
    return "on_demand"


def dearest(compute: Compute, rate: Callable[[Capacity], float | None]) -> Capacity:
    """Of a run's capacities the one whose rate is highest, or one that has no rate: what its price is bounded by."""
    wanted = capacities(compute)
    if wanted == ("on_demand",):
        # A partial pod may name the nodes.
        return capacity_of((compute.pod.get("spec") or {}).get("nodeSelector") or {})
    return max(wanted, key=lambda one: math.inf if (found := rate(one)) is None else found)


def grows_from_none(selector: Mapping[str, str]) -> bool:
    """Whether an autoscaler makes such nodes when pods wait for them."""
    return any(key in selector for key in _GROWING)


def check_offer(compute: Compute, cluster_queue: Document, suiting: Sequence[Document]) -> list[str]:
    """Warnings where a queue gives a run another capacity, or in another order, than it names.

    suiting: the queue's flavors that the run may use, in Kueue's order.

    Raises `ClusterError` where nobody would ask for the nodes of a flavor.
    """
    name, wanted = cluster_queue["metadata"]["name"], capacities(compute)
    offered = {each["metadata"]["name"]: capacity_of(each["spec"].get("nodeLabels", {})) for each in suiting}
    checked = _checked(cluster_queue)
    for flavor, capacity in offered.items():
        if capacity == "queued_provisioning" and not (checked is None or flavor in checked):
            raise ClusterError(
                f"ClusterQueue {name} has no admission check on flavor {flavor}, so nobody would ask for its nodes",
                "The chart octjob makes one where a queue's capacity is queued_provisioning; or name another"
                " compute.capacity.",
            )
    if len(wanted) == 1:
        return []
    found = list(dict.fromkeys(offered.values()))
    notes = [
        f"compute.capacity: ClusterQueue {name} has no flavor of {WORDS[one]} that suits the runs"
        for one in wanted
        if one not in found
    ]
    notes += [
        f"compute.capacity: ClusterQueue {name} may also give the runs {WORDS[one]}, which is not named"
        for one in found
        if one not in wanted
    ]
    if "reservation" in wanted:
        notes += _other_reservations(compute, name, suiting)
    order = [one for one in found if one in wanted]
    if order != [one for one in wanted if one in found]:
        notes.append(
            f"compute.capacity: {in_words(compute)}, but ClusterQueue {name} prefers"
            f" {', then '.join(WORDS[one] for one in order)}: the order of its flavors decides"
        )
    return notes


def _other_reservations(compute: Compute, cluster_queue: str, suiting: Sequence[Document]) -> list[str]:
    named = _reservation_labels(compute.reservation or "").items()
    return [
        f"compute.reservation: {compute.reservation}, but flavor {flavor['metadata']['name']} of ClusterQueue"
        f" {cluster_queue}, which may be given to the runs, is of another"
        for flavor in suiting
        if capacity_of(labels := flavor["spec"].get("nodeLabels", {})) == "reservation"
        and not named <= labels.items()
    ]


def _checked(cluster_queue: Document) -> frozenset[str] | None:
    """Flavors with an admission check; None for all."""
    spec: dict[str, Any] = cluster_queue["spec"]
    # Before v1beta2 a list of names besides, for every flavor.
    rules = (spec.get("admissionChecksStrategy") or {}).get("admissionChecks") or []
    if spec.get("admissionChecks") or any(not rule.get("onFlavors") for rule in rules):
        return None
    return frozenset(flavor for rule in rules for flavor in rule["onFlavors"])


def _reservation_labels(text: str) -> dict[str, str]:
    name, project, block = parse_reservation(text)
    labels = {gke.RESERVATION_LABEL: name}
    if project:
        labels[gke.RESERVATION_PROJECT_LABEL] = project
    if block:
        labels[gke.RESERVATION_BLOCK_LABEL] = block
    return labels
