"""What GKE promises of its nodes: labels, taints and the resource that chips are.

From cloud.google.com/kubernetes-engine/docs: how-to/tpus, how-to/spot-vms, how-to/consuming-reservations; read in
November 2026, since GKE gives them no version. The labels that make a slice (accelerator, topology, machine type) are
in `octjob.spec.accelerator`, with the slices.
"""

from __future__ import annotations

# A resource, and the key of the taint on nodes that have it.
TPU = "google.com/tpu"
NODE_POOL_LABEL = "cloud.google.com/gke-nodepool"
# Label and taint of Spot nodes, with the value `true`.
SPOT_LABEL = "cloud.google.com/gke-spot"
RESERVATION_LABEL = "cloud.google.com/reservation-name"
RESERVATION_PROJECT_LABEL = "cloud.google.com/reservation-project"
