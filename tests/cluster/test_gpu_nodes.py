"""GPU nodes on a real control plane: Kueue admits a run there, its pods land on them, and too much is refused."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.access import ClusterAccess
from tests.cluster.nodes import GPU_LABELS, GPU_TAINT
from tests.cluster.submission import make_ready, octjob, write_sweep
from tests.cluster.tenancy import KUEUE, kube_object, make_gpu_nodes

QUEUE = "gpu"


def make_gpus(cluster: ClusterAccess, namespace: str) -> None:
    """Two nodes of eight H100 each in one pool, and a queue with quota for all sixteen."""
    make_gpu_nodes(cluster)
    quota = {"name": "h100", "resources": [{"name": "nvidia.com/gpu", "nominalQuota": "16"}]}
    groups = [{"coveredResources": ["nvidia.com/gpu"], "flavors": [quota]}]
    cluster.apply(
        kube_object(
            KUEUE, "ResourceFlavor", "h100", spec={"nodeLabels": GPU_LABELS, "nodeTaints": [GPU_TAINT]}
        ),
        kube_object(KUEUE, "ClusterQueue", QUEUE, spec={"namespaceSelector": {}, "resourceGroups": groups}),
        kube_object(KUEUE, "LocalQueue", QUEUE, namespace, spec={"clusterQueue": QUEUE}),
    )


def test_a_gpu_sweep_is_admitted_and_too_much_is_refused(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path
) -> None:
    make_ready(control_plane, namespace)
    make_gpus(control_plane, namespace)

    for wrong, line in (
        ("h100:3", "no node has 3 GPUs nvidia-h100-80gb; one has 1, 2, 4, 8"),
        ("h100:8x3", "a run needs 24 nvidia.com/gpu, ClusterQueue gpu has at most 16"),
    ):
        path = write_sweep(tmp_path, num_configs=1, namespace=namespace, queue=QUEUE, accelerator=wrong)
        ended = octjob(control_plane, "submit", "-f", str(path))
        assert ended.code != 0
        assert line in next(one for one in ended.err.splitlines() if one.startswith("error: "))
        assert control_plane.list("jobsets", namespace) == []

    path = write_sweep(tmp_path, num_configs=1, namespace=namespace, queue=QUEUE, accelerator="h100:8x2")
    ended = octjob(control_plane, "submit", "-f", str(path))
    assert ended.code == 0, ended.err

    def placed() -> list[str]:
        pods = control_plane.list("pods", namespace)
        return sorted(pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName"))

    control_plane.wait_until(lambda: len(placed()) == 2, "both pods have a node", 60)
    assert placed() == ["gke-h100-0", "gke-h100-1"]
    table = octjob(control_plane, "plan", "-f", str(path)).out
    assert "16 of 16 GPUs in use" in table
    assert "GPU-hours: at most 3,456 (3 runs x 16 GPUs" in table
