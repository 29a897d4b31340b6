"""Runs on parts of a larger slice: a whole part each, two side by side in one node pool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from octjob.targets.kubernetes.gke import PART_ANNOTATION
from tests.cluster.access import ClusterAccess
from tests.cluster.nodes import PART_LABEL, PARTED_LABELS, POOL_LABEL
from tests.cluster.submission import make_ready, octjob, write_sweep
from tests.cluster.tenancy import make_parted_nodes, make_pooled_queue, remove_pooled_queue

PATIENCE_S = 90.0


@pytest.fixture
def nodes(control_plane: ClusterAccess) -> Iterator[list[str]]:
    names = make_parted_nodes(control_plane)
    yield names
    control_plane.kubectl("delete", "node", *names, "--ignore-not-found")


@pytest.fixture
def parted(control_plane: ClusterAccess, namespace: str) -> Iterator[str]:
    """A LocalQueue whose Topology knows the halves of a v6e-32."""
    make_ready(control_plane, namespace)
    yield make_pooled_queue(control_plane, namespace, (POOL_LABEL, PART_LABEL), PARTED_LABELS)
    remove_pooled_queue(control_plane, namespace)


def test_two_runs_share_a_pool_each_in_its_part(
    control_plane: ClusterAccess, namespace: str, nodes: list[str], parted: str, tmp_path: Path
) -> None:
    _submit(control_plane, namespace, tmp_path, parted)
    pods = _bound(control_plane, namespace, 8)
    assert {pod["metadata"]["annotations"][PART_ANNOTATION] for pod in pods} == {"4x4"}
    assert sorted(_parts(control_plane, pods).values(), key=sorted) == [{"half-0"}, {"half-1"}]


def test_a_part_that_lacks_a_node_is_passed_over(
    control_plane: ClusterAccess, namespace: str, nodes: list[str], parted: str, tmp_path: Path
) -> None:
    control_plane.kubectl("delete", "node", nodes[0])
    _submit(control_plane, namespace, tmp_path, parted)
    assert list(_parts(control_plane, _bound(control_plane, namespace, 4)).values()) == [{"half-1"}]


def test_without_a_topology_of_parts_nothing_is_submitted(
    control_plane: ClusterAccess, namespace: str, nodes: list[str], tmp_path: Path
) -> None:
    make_ready(control_plane, namespace)
    queue = make_pooled_queue(control_plane, namespace, labels=PARTED_LABELS)
    try:
        ended = octjob(control_plane, "submit", "-f", str(_sweep(namespace, tmp_path, queue)))
        assert ended.code == 4
        assert f"compute.part_of: v6e-32, but no flavor of queue {queue} that suits the runs" in ended.err
        assert control_plane.list("jobsets", namespace) == []
    finally:
        remove_pooled_queue(control_plane, namespace)


def _sweep(namespace: str, folder: Path, queue: str) -> Path:
    """Three runs of a v6e-16 each."""
    keys = {"accelerator": "v6e-16", "part_of": "v6e-32", "queue": queue}
    return write_sweep(folder, num_configs=1, namespace=namespace, **keys)


def _submit(cluster: ClusterAccess, namespace: str, folder: Path, queue: str) -> None:
    ended = octjob(cluster, "submit", "-f", str(_sweep(namespace, folder, queue)))
    assert ended.code == 0, ended.err


def _bound(cluster: ClusterAccess, namespace: str, num_pods: int) -> list[dict[str, Any]]:
    def there() -> list[dict[str, Any]]:
        pods = [one for one in cluster.list("pods", namespace) if one["spec"].get("nodeName")]
        return pods if len(pods) == num_pods else []

    return cluster.wait_until(there, f"{num_pods} pods have nodes", PATIENCE_S)


def _parts(cluster: ClusterAccess, pods: list[dict[str, Any]]) -> dict[str, set[str]]:
    """The parts of the pool that the pods of each JobSet are in."""
    part = {
        one["metadata"]["name"]: one["metadata"]["labels"].get(PART_LABEL, "")
        for one in cluster.list("nodes")
    }
    found: dict[str, set[str]] = {}
    for pod in pods:
        name = pod["metadata"]["labels"]["jobset.sigs.k8s.io/jobset-name"]
        found.setdefault(name, set()).add(part[pod["spec"]["nodeName"]])
    return found
