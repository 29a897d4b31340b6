"""Which node pool a run gets where a node of one is missing: under flavors with a Topology, and without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from octjob.targets.kubernetes.gke import NODE_POOL_LABEL
from octjob.targets.kubernetes.jobset import EXCLUSIVE_KEY
from octjob.targets.kubernetes.kueue import REQUIRED_TOPOLOGY
from octjob.targets.kubernetes.observation.status import SweepView
from tests.cluster.access import ClusterAccess
from tests.cluster.nodes import POOL_LABEL, pool_name
from tests.cluster.scripted import Scripted
from tests.cluster.submission import SUBMITTER, connect, grant, make_ready, octjob, submit_file, write_sweep
from tests.cluster.tenancy import QUEUE, SUBMIT_ACCOUNT, make_nodes, make_pooled_queue, remove_pooled_queue


@pytest.fixture
def pooled(control_plane: ClusterAccess, namespace: str) -> Iterator[str]:
    """The LocalQueue `own` of 32 chips, whose flavor has a Topology of node pools and hosts."""
    make_ready(control_plane, namespace)
    yield make_pooled_queue(control_plane, namespace)
    remove_pooled_queue(control_plane, namespace)


@pytest.fixture
def broken(control_plane: ClusterAccess) -> Iterator[str]:
    """A pool that lacks a node; the other is whole."""
    control_plane.kubectl("delete", "node", f"gke-{pool_name(0)}-3")
    yield pool_name(0)
    make_nodes(control_plane)


def test_a_run_gets_the_whole_pool(
    control_plane: ClusterAccess, namespace: str, pooled: str, broken: str, tmp_path: Path
) -> None:
    jobsets = _submit(control_plane, namespace, tmp_path, pooled)
    assert {_annotations(one) for one in jobsets} == {(None, NODE_POOL_LABEL)}
    placed = _wait_for_pods(control_plane, namespace, 4)
    assert set(placed.values()) == {frozenset({pool_name(1)})}
    (reason,) = {one.reason for one in _look(control_plane, namespace) if "free slice" in one.reason}
    assert f"3 of 4 nodes of pool {broken} are there" in reason


def test_no_run_is_spread_over_two_pools(
    control_plane: ClusterAccess, namespace: str, pooled: str, tmp_path: Path
) -> None:
    _submit(control_plane, namespace, tmp_path, pooled)
    placed = _wait_for_pods(control_plane, namespace, 8)
    assert sorted(map(sorted, placed.values())) == [[pool_name(0)], [pool_name(1)]]


def test_without_a_topology_jobset_places_and_the_status_names_the_pool(
    control_plane: ClusterAccess, namespace: str, broken: str, tmp_path: Path
) -> None:
    make_ready(control_plane, namespace)
    # No pool is whole, so that it does not matter which one the first pod is given.
    control_plane.kubectl("delete", "node", f"gke-{pool_name(1)}-3")
    jobsets = _submit(control_plane, namespace, tmp_path, QUEUE)
    assert {_annotations(one) for one in jobsets} == {(NODE_POOL_LABEL, None)}

    def named() -> list[str]:
        return [one.reason for one in _look(control_plane, namespace) if "3 of 4 nodes of pool" in one.reason]

    reasons = control_plane.wait_until(named, "a run waits for a node")
    assert all(text.count("nodes of pool") == 1 for text in reasons)
    # Listing nodes is a right that not every user has.
    grant(control_plane, namespace, SUBMIT_ACCOUNT, SUBMITTER | {"workloads.kueue.x-k8s.io": ["list"]})
    kubeconfig = control_plane.user_kubeconfig(SUBMIT_ACCOUNT, namespace)
    ended = octjob(control_plane, "status", "phase3", "-n", namespace, kubeconfig=kubeconfig)
    assert "nodes of pool" not in ended.out + ended.err


def test_required_where_no_flavor_has_a_topology(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path
) -> None:
    make_ready(control_plane, namespace)
    path = write_sweep(tmp_path, queue=QUEUE, topology="required")
    ended = octjob(control_plane, "submit", "-f", str(path), "-n", namespace, "--dry-run")
    assert (ended.code, "compute.topology: required, but no flavor of queue tpu" in ended.err) == (4, True)


def test_exclusive_placement_beside_a_topology(
    control_plane: ClusterAccess, namespace: str, pooled: str, broken: str, tmp_path: Path
) -> None:
    """What a JobSet with both would do: Kueue's choice holds and JobSet's pods follow it."""
    runs = Scripted(control_plane, namespace, tmp_path, ("a",))
    document = runs.jobset("a", queue=pooled, topology="required")
    document["metadata"]["annotations"][EXCLUSIVE_KEY] = NODE_POOL_LABEL
    control_plane.apply(document)
    placed = _wait_for_pods(control_plane, namespace, 4)
    assert set(placed.values()) == {frozenset({pool_name(1)})}


def _submit(cluster: ClusterAccess, namespace: str, folder: Path, queue: str) -> list[dict[str, Any]]:
    """Three runs of one slice each."""
    path = write_sweep(folder, num_configs=1, queue=queue)
    submit_file(connect(cluster, namespace), path)
    return cluster.list("jobsets", namespace)


def _annotations(jobset: dict[str, Any]) -> tuple[str | None, str | None]:
    """What asks for one pool: of JobSet, of Kueue."""
    template = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    return (
        jobset["metadata"]["annotations"].get(EXCLUSIVE_KEY),
        template["metadata"]["annotations"].get(REQUIRED_TOPOLOGY),
    )


def _look(cluster: ClusterAccess, namespace: str) -> list[Any]:
    return SweepView(connect(cluster, namespace), "phase3").look().runs


def _wait_for_pods(cluster: ClusterAccess, namespace: str, num_pods: int) -> dict[str, frozenset[str]]:
    """The pools of each JobSet's pods once that many pods have a node."""

    def bound() -> list[dict[str, Any]]:
        pods = [one for one in cluster.list("pods", namespace) if one["spec"].get("nodeName")]
        return pods if len(pods) >= num_pods else []

    pods = cluster.wait_until(bound, f"{num_pods} pods have nodes: {json.dumps(namespace)}")
    pool = {one["metadata"]["name"]: one["metadata"]["labels"][POOL_LABEL] for one in cluster.list("nodes")}
    found: dict[str, set[str]] = {}
    for pod in pods:
        name = pod["metadata"]["labels"]["jobset.sigs.k8s.io/jobset-name"]
        found.setdefault(name, set()).add(pool[pod["spec"]["nodeName"]])
    return {name: frozenset(pools) for name, pools in found.items()}
