"""Runs that are placed by what charts/octjob makes: a whole node pool under its Topology, GPU nodes by its flavor."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from octjob.targets.kubernetes.gke import NODE_POOL_LABEL
from octjob.targets.kubernetes.kueue import REQUIRED_TOPOLOGY
from tests.cluster.access import ClusterAccess
from tests.cluster.nodes import pool_name
from tests.cluster.submission import make_ready, octjob, write_sweep
from tests.cluster.tenancy import make_gpu_nodes, make_nodes, remove_namespace, wait_for_queue


@pytest.fixture(scope="module")
def installed(control_plane: ClusterAccess) -> Iterator[str]:
    """The namespace of a release with `topology: true`, two slices on queue `tpu` and 16 GPUs on queue `gpu`."""
    name = f"placed-{uuid.uuid4().hex[:8]}"
    queues = [
        {"name": name, "accelerators": [{"accelerator": "v4-32", "slices": 2, "flavor": name}]},
        {
            "name": f"{name}-gpu",
            "accelerators": [{"accelerator": "h100", "gpus": 16, "flavor": f"{name}-gpu"}],
        },
    ]
    values = {
        "kueue": {
            "keep": False,
            "cluster": {
                "topology": True,
                "queues": queues,
                "priorityClasses": [{"name": name, "value": 1}],
            },
            "localQueues": [
                {"name": "tpu", "clusterQueue": name},
                {"name": "gpu", "clusterQueue": f"{name}-gpu"},
            ],
        },
    }
    control_plane.install_chart(name, values)
    make_ready(control_plane, name)
    for queue in queues:
        wait_for_queue(control_plane, queue["name"])
    yield name
    control_plane.kubectl("delete", "jobsets", "--all", "--namespace", name)
    control_plane.helm("uninstall", "octjob", "--namespace", name, "--ignore-not-found")
    remove_namespace(control_plane, name)


@pytest.fixture
def broken(control_plane: ClusterAccess) -> Iterator[None]:
    """Pool 0 lacks a node; the other is whole."""
    control_plane.kubectl("delete", "node", f"gke-{pool_name(0)}-3")
    yield
    make_nodes(control_plane)


def test_a_run_gets_a_whole_pool_by_the_charts_topology(
    control_plane: ClusterAccess, installed: str, broken: None, tmp_path: Path
) -> None:
    run = _submit(control_plane, installed, tmp_path, name="pooled", queue="tpu")
    template = run["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    assert template["metadata"]["annotations"][REQUIRED_TOPOLOGY] == NODE_POOL_LABEL
    assert _nodes(control_plane, run, 4) == [f"gke-{pool_name(1)}-{index}" for index in range(4)]
    assert _flavor(control_plane, run) == {"google.com/tpu": installed}


def test_a_gpu_run_is_admitted_by_the_charts_flavor(
    control_plane: ClusterAccess, installed: str, tmp_path: Path
) -> None:
    make_gpu_nodes(control_plane)
    run = _submit(control_plane, installed, tmp_path, name="gpus", queue="gpu", accelerator="h100:8x2")
    assert _nodes(control_plane, run, 2) == ["gke-h100-0", "gke-h100-1"]
    assert _flavor(control_plane, run) == {"nvidia.com/gpu": f"{installed}-gpu"}


def _submit(
    cluster: ClusterAccess, namespace: str, folder: Path, name: str, **compute: Any
) -> dict[str, Any]:
    """The first JobSet of a sweep that `octjob submit` sends, which is the one that Kueue has room for."""
    path = write_sweep(folder, num_configs=1, name=name, namespace=namespace, **compute)
    ended = octjob(cluster, "submit", "-f", str(path))
    assert ended.code == 0, ended.err

    def admitted() -> list[dict[str, Any]]:
        return [
            one
            for one in cluster.list("jobsets", namespace, f"octjob.dev/sweep={name}")
            if not one["spec"].get("suspend")
        ]

    return cluster.wait_until(admitted, f"a run of {name} is admitted")[0]


def _nodes(cluster: ClusterAccess, jobset: dict[str, Any], num_pods: int) -> list[str]:
    """The nodes of a JobSet's pods once that many have one."""
    name, namespace = jobset["metadata"]["name"], jobset["metadata"]["namespace"]

    def bound() -> list[str]:
        pods = cluster.list("pods", namespace, f"jobset.sigs.k8s.io/jobset-name={name}")
        found = sorted(pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName"))
        return found if len(found) == num_pods else []

    return cluster.wait_until(bound, f"{num_pods} pods of {name} have nodes")


def _flavor(cluster: ClusterAccess, jobset: dict[str, Any]) -> dict[str, str]:
    """Resource to the flavor that Kueue counts it in."""
    selector = f"kueue.x-k8s.io/job-uid={jobset['metadata']['uid']}"
    (workload,) = cluster.list("workloads", jobset["metadata"]["namespace"], selector)
    (assigned,) = workload["status"]["admission"]["podSetAssignments"]
    return dict(assigned["flavors"])
