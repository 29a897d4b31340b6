"""Node objects as GKE makes them for TPU v4-32 slices; kwok keeps them alive."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]

NODES_PER_POOL = 4
CHIPS_PER_NODE = 4
POOL_LABEL = "cloud.google.com/gke-nodepool"
TPU_LABELS = {
    "cloud.google.com/gke-tpu-accelerator": "tpu-v4-podslice",
    "cloud.google.com/gke-tpu-topology": "2x2x4",
}
TPU_TAINT = {"key": "google.com/tpu", "value": "present", "effect": "NoSchedule"}
GPU_LABELS = {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
PARTED_LABELS = {
    "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice",
    "cloud.google.com/gke-tpu-topology": "4x8",
}
PART_LABEL = "cloud.google.com/gke-tpu-slice-4x4-id"
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
# The one that tests/pods runs.
REAL_NODE = "octjob-node"
KWOK_SELECTOR = "kwok.x-k8s.io/node=fake"


def pool_name(index: int) -> str:
    return f"v4-32-{index}"


def tpu_pool(index: int) -> list[Document]:
    """The four nodes of one slice: 4 chips, 240 CPUs and 407 GiB each, tainted for TPU pods only."""
    pool = pool_name(index)
    labels = {
        POOL_LABEL: pool,
        **TPU_LABELS,
        "cloud.google.com/gke-accelerator-count": str(CHIPS_PER_NODE),
        "node.kubernetes.io/instance-type": "ct4p-hightpu-4t",
    }
    capacity = {"cpu": "240", "memory": "407Gi", "google.com/tpu": str(CHIPS_PER_NODE)}
    names = [f"gke-{pool}-{position}" for position in range(NODES_PER_POOL)]
    return [_node(name, labels, capacity, [TPU_TAINT]) for name in names]


def gpu_pool() -> list[Document]:
    """Two nodes of eight H100 each, which are one pool."""
    capacity = {"cpu": "208", "memory": "1872Gi", "nvidia.com/gpu": "8"}
    labels = {POOL_LABEL: "h100", **GPU_LABELS}
    return [_node(f"gke-h100-{index}", labels, capacity, [GPU_TAINT]) for index in range(2)]


def parted_pool() -> list[Document]:
    """The eight nodes of a v6e-32 slice, 4x8, each with the label of the half that it is in, as GKE's device plugin
    makes them.
    """
    capacity = {"cpu": "180", "memory": "720Gi", "google.com/tpu": "4"}
    labels = {POOL_LABEL: "v6e-32", **PARTED_LABELS}
    return [
        _node(f"gke-v6e-32-{index}", {**labels, PART_LABEL: f"half-{index // 4}"}, capacity, [TPU_TAINT])
        for index in range(8)
    ]


def cpu_pool() -> list[Document]:
    """One node without TPU, for whatever else runs in a cluster."""
    labels = {POOL_LABEL: "default-pool", "node.kubernetes.io/instance-type": "e2-standard-8"}
    return [_node("gke-default-pool-0", labels, {"cpu": "8", "memory": "32Gi"}, [])]


def _node(name: str, labels: dict[str, str], capacity: dict[str, str], taints: list[Document]) -> Document:
    everywhere = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": name,
        "topology.kubernetes.io/region": "us-central2",
        "topology.kubernetes.io/zone": "us-central2-b",
    }
    key, value = KWOK_SELECTOR.split("=")
    resources = {**capacity, "ephemeral-storage": "80Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**everywhere, **labels}, "annotations": {key: value}},
        "spec": {"taints": taints},
        "status": {"capacity": resources, "allocatable": resources},
    }
