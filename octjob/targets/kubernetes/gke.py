"""What GKE promises of its nodes: labels, taints and the resources that chips are.

From cloud.google.com/kubernetes-engine/docs: how-to/tpus, how-to/gpus, how-to/spot-vms,
how-to/consuming-reservations, how-to/provisioningrequest, concepts/dws; labels of queued nodes and of blocks of
reserved ones from Google's Cluster Toolkit and xpk. Read in November 2026, since GKE gives them no version. The
labels that make a slice (accelerator, topology, machine type) are in `octjob.spec.accelerator`, those of GPUs in
`octjob.spec.gpu`.
"""

from __future__ import annotations

from octjob.spec.accelerator import Accelerator
from octjob.spec.cpu import Cores

CPU = "cpu"
# Each a resource, and the key of the taint on nodes that have it.
TPU = "google.com/tpu"
GPU = "nvidia.com/gpu"
# Where GKE's device plugin mounts the driver's libraries, where an image without CUDA's settings does not look
# (GoogleCloudPlatform/container-engine-accelerators cmd/nvidia_gpu).
DRIVER_LIBRARIES = "/usr/local/nvidia/lib64"
NODE_POOL_LABEL = "cloud.google.com/gke-nodepool"
# Label and taint of Spot nodes, with the value `true`.
SPOT_LABEL = "cloud.google.com/gke-spot"
RESERVATION_LABEL = "cloud.google.com/reservation-name"
RESERVATION_PROJECT_LABEL = "cloud.google.com/reservation-project"
RESERVATION_BLOCK_LABEL = "cloud.google.com/reservation-blocks"
# Label of nodes of a pool made with --flex-start, and a taint where the autoscaler makes the pool; value `true`.
FLEX_START_LABEL = "cloud.google.com/gke-flex-start"
# Label and taint of nodes of a pool made with --enable-queued-provisioning; value `true`. Nothing but a
# ProvisioningRequest makes such nodes.
QUEUED_LABEL = "cloud.google.com/gke-queued"
# Label and taint of nodes that a ComputeClass made; the value is its name.
COMPUTE_CLASS_LABEL = "cloud.google.com/compute-class"
# Annotation of a pod: the shape of the part of its node pool that its libtpu is to see. GKE's device plugin goes by
# it, and labels nodes of such pools with the part of each shape that they are in (tpu-device-plugin, pkg/util).
PART_ANNOTATION = "cloud.google.com/gke-tpu-slice-topology"


def level_of(where: Accelerator) -> str:
    """The node label that tells slices of this kind apart: all hosts of one have the same value."""
    return NODE_POOL_LABEL if where.pool is None else f"cloud.google.com/gke-tpu-slice-{where.topology}-id"


def resource_of(where: Accelerator | Cores) -> str:
    """What a pod asks for."""
    if where.kind == "cpu":
        return CPU
    return GPU if where.kind == "gpu" else TPU
