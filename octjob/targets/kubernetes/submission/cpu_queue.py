"""Whether Kueue can ever admit pods without chips: their queue must cover their cores and their memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.refusal import ClusterError
from octjob.targets.kubernetes.resources import CLUSTER_QUEUES, LOCAL_QUEUES
from octjob.targets.kubernetes.submission.admission import (
    Admission,
    kubectl,
    readable,
    requested_resources,
)

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster


def check_cpu_queue(cluster: Cluster, name: str, pod: Mapping[str, Any]) -> Admission:
    """The LocalQueue of `compute.probe.queue` and what stands behind it, for pods like `pod`.

    Raises `ClusterError` where such a pod would never be admitted.
    """
    queues = {one["metadata"]["name"]: one for one in cluster.list(LOCAL_QUEUES)}
    if name not in queues:
        there = ", ".join(sorted(queues)) or "none"
        raise ClusterError(
            f"compute.probe.queue: no LocalQueue {name} in namespace {cluster.namespace}; there are {there}",
            f"Set it to one of `{kubectl(cluster)} get localqueues`, or leave it out: the pods then start at once.",
        )
    home = queues[name]["spec"]["clusterQueue"]
    cluster_queue = readable(lambda: cluster.get(CLUSTER_QUEUES, home))
    if cluster_queue is None:
        return Admission(name, home, warnings=(f"ClusterQueue {home} may not be read, or is not there",))
    covered = frozenset(
        resource
        for group in cluster_queue["spec"].get("resourceGroups", [])
        for resource in group.get("coveredResources", [])
    )
    if missing := sorted(requested_resources(pod) - covered):
        raise ClusterError(
            f"ClusterQueue {home} has no quota for {', '.join(missing)}, which pods of compute.probe ask for, so none"
            " would ever be admitted",
            "Set compute.probe.queue to a LocalQueue that covers cpu and memory, or leave it out: the pods then start"
            " at once.",
        )
    stopped = queues[name]["spec"].get("stopPolicy", kueue.NOT_STOPPED) != kueue.NOT_STOPPED
    notes = (f"LocalQueue {name} is stopped: runs wait until it goes on",) if stopped else ()
    return Admission(name, home, covered, warnings=notes)
