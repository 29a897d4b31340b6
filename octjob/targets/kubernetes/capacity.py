"""How the capacity of a run is come by, as its price depends on it: by the labels of the nodes that it selects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from octjob.targets.kubernetes import gke

if TYPE_CHECKING:
    from octjob.spec.compute import Compute
    from octjob.targets.prices import Capacity


def capacity_of(labels: Mapping[str, str]) -> Capacity:
    """From a pod's nodeSelector."""
    if labels.get(gke.SPOT_LABEL) == "true":
        return "spot"
    if labels.get(gke.FLEX_START_LABEL) == "true":
        return "flex_start"
    return "reservation" if gke.RESERVATION_LABEL in labels else "on_demand"


def selected(compute: Compute) -> Capacity:
    """From a sweep's keys."""
    if compute.spot:
        return "spot"
    if compute.reservation:
        return "reservation"
    spec = compute.pod.get("spec") or {}
    return capacity_of(spec.get("nodeSelector") or {})
