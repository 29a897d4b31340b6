"""Kueue's Workloads: which stands for which JobSet, and whether it may run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.refusal import NotServed
from octjob.targets.kubernetes.resources import WORKLOADS

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document


def list_workloads(cluster: Cluster, selector: str = "") -> list[Document]:
    """Those of the cluster's namespace, by one list call; none on a cluster without Kueue."""
    try:
        return cluster.list(WORKLOADS, selector)
    except NotServed:
        return []


def by_jobset(workloads: Iterable[Document]) -> dict[str, Document]:
    """Workloads by the uid of the JobSet that they stand for."""
    found = {}
    for workload in workloads:
        metadata = workload["metadata"]
        owners = [owner["uid"] for owner in metadata.get("ownerReferences", []) if owner["kind"] == "JobSet"]
        for uid in {metadata.get("labels", {}).get(kueue.JOB_UID_LABEL), *owners} - {None}:
            found[uid] = workload
    return found


def is_active(workload: Document) -> bool:
    """Whether a Workload may run; paused ones may not."""
    active: bool = workload["spec"].get("active", True)
    return active
