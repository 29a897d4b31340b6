"""What an administrator sets up for sweeps, made directly: queues, priorities, a namespace to run in.

The chart in charts/octjob does the same for users; tests that are not about the chart need less of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from .access import ClusterAccess
from .nodes import (
    CHIPS_PER_NODE,
    NODES_PER_POOL,
    POOL_LABEL,
    TPU_LABELS,
    TPU_TAINT,
    cpu_pool,
    gpu_pool,
    parted_pool,
    tpu_pool,
)

Document = dict[str, Any]

QUEUE = "tpu"
OWN_QUEUE = "own"
FLAVOR = "v4"
SLICES = 2
PRIORITIES = {"low": 100, "high": 1000}
RUN_ACCOUNT = "octjob-run"
SUBMIT_ACCOUNT = "octjob-submit"
KUEUE = "kueue.x-k8s.io/v1beta2"


def make_nodes(cluster: ClusterAccess, pools: int = SLICES) -> None:
    """That many v4-32 node pools and one node without TPU; returns once kwok, which must run, has them ready."""
    _make_ready(cluster, [node for index in range(pools) for node in tpu_pool(index)] + cpu_pool())


def make_gpu_nodes(cluster: ClusterAccess) -> None:
    """The two nodes of `gpu_pool`, ready."""
    _make_ready(cluster, gpu_pool())


def make_parted_nodes(cluster: ClusterAccess) -> list[str]:
    """The nodes of `parted_pool`, ready; returns their names."""
    _make_ready(cluster, parted_pool())
    return [node["metadata"]["name"] for node in parted_pool()]


def _make_ready(cluster: ClusterAccess, nodes: list[Document]) -> None:
    cluster.apply(*nodes)
    names = [f"node/{node['metadata']['name']}" for node in nodes]
    cluster.kubectl("wait", "--for=condition=Ready", *names, "--timeout=60s")


def make_queues(cluster: ClusterAccess, slices: int = SLICES) -> None:
    """The ClusterQueue `tpu` with that many v4-32 slices of quota, its flavor, the priorities `low` and `high`.

    Returns once Kueue, which must run, knows them.
    """
    flavor = {"nodeLabels": TPU_LABELS, "nodeTaints": [TPU_TAINT]}
    cluster.apply(
        kube_object(KUEUE, "ResourceFlavor", FLAVOR, spec=flavor),
        kube_object(KUEUE, "ClusterQueue", QUEUE, spec=_quota(slices)),
        *(
            kube_object(KUEUE, "WorkloadPriorityClass", name, value=value)
            for name, value in PRIORITIES.items()
        ),
    )
    wait_for_queue(cluster, QUEUE)


def make_namespace(cluster: ClusterAccess, name: str) -> None:
    """A namespace that enforces the `restricted` Pod Security level, with a LocalQueue and two ServiceAccounts.

    Needs `make_queues`.
    """
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    cluster.apply(
        kube_object("v1", "ServiceAccount", RUN_ACCOUNT, name),
        kube_object("v1", "ServiceAccount", SUBMIT_ACCOUNT, name),
        kube_object(KUEUE, "LocalQueue", QUEUE, name, spec={"clusterQueue": QUEUE}),
    )


def make_pooled_queue(
    cluster: ClusterAccess,
    namespace: str,
    levels: Sequence[str] = (POOL_LABEL,),
    labels: Mapping[str, str] = TPU_LABELS,
) -> str:
    """The LocalQueue `own` of 32 chips, whose flavor has a Topology of these levels and hosts; all cluster-wide
    objects have the namespace's name. labels: of the nodes.
    """
    nodes = [{"nodeLabel": label} for label in (*levels, "kubernetes.io/hostname")]
    flavor = {"nodeLabels": dict(labels), "nodeTaints": [TPU_TAINT], "topologyName": namespace}
    chips = [{"name": "google.com/tpu", "nominalQuota": str(SLICES * NODES_PER_POOL * CHIPS_PER_NODE)}]
    group = {"coveredResources": ["google.com/tpu"], "flavors": [{"name": namespace, "resources": chips}]}
    cluster.apply(
        kube_object(KUEUE, "Topology", namespace, spec={"levels": nodes}),
        kube_object(KUEUE, "ResourceFlavor", namespace, spec=flavor),
        kube_object(
            KUEUE, "ClusterQueue", namespace, spec={"namespaceSelector": {}, "resourceGroups": [group]}
        ),
        kube_object(KUEUE, "LocalQueue", OWN_QUEUE, namespace, spec={"clusterQueue": namespace}),
    )
    wait_for_queue(cluster, namespace)
    return OWN_QUEUE


def wait_for_queue(cluster: ClusterAccess, name: str) -> None:
    """Return once Kueue knows all that a ClusterQueue names."""
    cluster.kubectl("wait", "--for=condition=Active", f"clusterqueue/{name}", "--timeout=120s")


def remove_pooled_queue(cluster: ClusterAccess, namespace: str) -> None:
    """That, and the namespace's runs before it."""
    remove_namespace(cluster, namespace)
    for kind in ("clusterqueue", "resourceflavor", "topology"):
        cluster.kubectl("delete", kind, namespace, "--wait=false")


@contextmanager
def own_namespace(cluster: ClusterAccess) -> Iterator[str]:
    """Such a namespace under a new name; its runs are gone at the block's end."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    make_namespace(cluster, name)
    yield name
    remove_namespace(cluster, name)


def remove_namespace(cluster: ClusterAccess, name: str, timeout_s: float = 120.0) -> None:
    """Delete it, and return once its runs no longer hold quota or nodes; the rest goes in its own time."""
    scope = ("--namespace", name, "--all", "--ignore-not-found", "--wait=false")
    cluster.kubectl("delete", "jobsets,jobs", *scope)
    cluster.kubectl("delete", "pods", *scope, "--force", "--grace-period=0")
    cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")

    def empty() -> bool:
        return not cluster.list("jobsets,pods,workloads", name)

    cluster.wait_until(empty, f"namespace {name} is empty", timeout_s)


def _quota(slices: int) -> Document:
    chips = slices * NODES_PER_POOL * CHIPS_PER_NODE
    resource = {"name": "google.com/tpu", "nominalQuota": str(chips)}
    flavors = [{"name": FLAVOR, "resources": [resource]}]
    return {
        "namespaceSelector": {},
        "queueingStrategy": "BestEffortFIFO",
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [{"coveredResources": ["google.com/tpu"], "flavors": flavors}],
    }


def kube_object(version: str, kind: str, name: str, namespace: str | None = None, **content: Any) -> Document:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}
