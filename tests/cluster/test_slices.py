"""Runs of two slices each: admitted together or not at all, a node pool for each slice, one fate for both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.access import ClusterAccess
from tests.cluster.nodes import POOL_LABEL, pool_name
from tests.cluster.scripted import Scripted
from tests.cluster.submission import make_ready, octjob, write_sweep
from tests.cluster.tenancy import QUEUE, make_pooled_queue, remove_pooled_queue

# Says who it is; the third host of the second slice fails once.
CODE = """\
import os, signal, sys, time
names = ("NUM_SLICES", "SLICE_ID", "COORDINATOR_ADDRESS")
print(*(os.environ["MEGASCALE_" + name] for name in names), os.environ["JOB_COMPLETION_INDEX"], flush=True)
signal.signal(15, lambda *_: sys.exit(75))
if (os.environ["MEGASCALE_SLICE_ID"], os.environ["JOB_COMPLETION_INDEX"]) == ("1", "2"):
    if os.environ["OCTJOB_ATTEMPT"] == "0":
        time.sleep(1)
        sys.exit(1)
signal.pause()
"""
PATIENCE_S = 90.0


@pytest.fixture
def pooled(control_plane: ClusterAccess, namespace: str) -> Iterator[str]:
    """A LocalQueue of 32 chips whose flavor has a Topology of node pools."""
    yield make_pooled_queue(control_plane, namespace)
    remove_pooled_queue(control_plane, namespace)


def test_two_slices_are_two_pools_and_share_one_fate(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path
) -> None:
    runs = Scripted(control_plane, namespace, tmp_path, ("a",))
    name = runs.start("a", CODE, slices=2, max_restarts=1)
    restarted = _running(control_plane, namespace, name, restart="1")
    assert _pools(control_plane, restarted) == [{pool_name(0)}, {pool_name(1)}]
    leader = f"{name}-w-0-0.{name}"
    for pod in restarted:
        labels = pod["metadata"]["labels"]
        slice_, index = (
            labels["jobset.sigs.k8s.io/job-index"],
            labels["batch.kubernetes.io/job-completion-index"],
        )
        said = control_plane.kubectl("-n", namespace, "logs", pod["metadata"]["name"])
        assert said.split() == ["2", slice_, leader, index]
    (workload,) = control_plane.list("workloads", namespace)
    (assigned,) = workload["status"]["admission"]["podSetAssignments"]
    assert (assigned["count"], assigned["resourceUsage"]) == (8, {"google.com/tpu": "32"})
    shown = octjob(control_plane, "status", "demo", "-n", namespace, "-o", "json").out
    (status,) = json.loads(shown)["runs"]
    assert (status["state"], status["restarts"], len(status["nodes"])) == ("Running", 1, 8)
    lines = octjob(control_plane, "logs", "demo", "-n", namespace, "--worker", "6").out
    assert lines.split() == ["2", "1", leader, "2"]


def test_two_slices_wait_until_both_are_free(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path
) -> None:
    runs = Scripted(control_plane, namespace, tmp_path, ("a", "b"))
    one = runs.start("a")
    _running(control_plane, namespace, one, num_pods=4)
    both = runs.start("b", slices=2)

    def refused() -> str:
        for workload in control_plane.list("workloads", namespace):
            if workload["metadata"]["ownerReferences"][0]["name"] == both:
                for condition in workload.get("status", {}).get("conditions", ()):
                    if (condition["type"], condition["status"]) == ("QuotaReserved", "False"):
                        return str(condition["message"])
        return ""

    assert "16 more needed" in control_plane.wait_until(refused, "Kueue has looked at it", PATIENCE_S)
    assert len(control_plane.list("pods", namespace)) == 4
    control_plane.kubectl("delete", "jobset", one, "-n", namespace, "--wait=false")
    found = _running(control_plane, namespace, both)
    assert _pools(control_plane, found) == [{pool_name(0)}, {pool_name(1)}]


def test_kueue_gives_each_slice_a_pool_where_flavors_know_pools(
    control_plane: ClusterAccess, namespace: str, pooled: str, tmp_path: Path
) -> None:
    make_ready(control_plane, namespace)
    path = write_sweep(tmp_path, num_configs=1, namespace=namespace, queue=pooled, slices=2)
    ended = octjob(control_plane, "submit", "-f", str(path))
    assert ended.code == 0, ended.err

    def bound() -> list[dict[str, Any]]:
        pods = [one for one in control_plane.list("pods", namespace) if one["spec"].get("nodeName")]
        return pods if len(pods) == 8 else []

    pods = control_plane.wait_until(bound, "one run has nodes", PATIENCE_S)
    assert len({one["metadata"]["labels"]["jobset.sigs.k8s.io/jobset-name"] for one in pods}) == 1
    assert sorted(map(sorted, _pools(control_plane, pods))) == [[pool_name(0)], [pool_name(1)]]
    table = octjob(control_plane, "plan", "-f", str(path)).out
    assert "chip-hours: at most 6,912 (3 runs x 32 chips" in table


def test_more_slices_than_the_queue_can_ever_give(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path
) -> None:
    make_ready(control_plane, namespace)
    path = write_sweep(tmp_path, num_configs=1, namespace=namespace, queue=QUEUE, slices=3)
    ended = octjob(control_plane, "submit", "-f", str(path))
    assert ended.code != 0
    assert f"a run needs 48 google.com/tpu, ClusterQueue {QUEUE} has at most 32" in ended.err
    assert control_plane.list("jobsets", namespace) == []


def _running(
    cluster: ClusterAccess, namespace: str, name: str, *, num_pods: int = 8, restart: str = "0"
) -> list[dict[str, Any]]:
    """All pods of a JobSet's attempt, once they run."""

    def there() -> list[dict[str, Any]]:
        selector = f"jobset.sigs.k8s.io/jobset-name={name},jobset.sigs.k8s.io/restart-attempt={restart}"
        pods = cluster.list("pods", namespace, selector)
        running = [one for one in pods if one.get("status", {}).get("phase") == "Running"]
        return running if len(running) == num_pods else []

    return cluster.wait_until(there, f"{num_pods} pods of attempt {restart} of {name} run", PATIENCE_S)


def _pools(cluster: ClusterAccess, pods: list[dict[str, Any]]) -> list[set[str]]:
    """The node pools that the pods of each slice are in, in no order of the slices."""
    pool = {one["metadata"]["name"]: one["metadata"]["labels"][POOL_LABEL] for one in cluster.list("nodes")}
    found: dict[str, set[str]] = {}
    for pod in pods:
        slice_ = pod["metadata"]["labels"]["jobset.sigs.k8s.io/job-index"]
        found.setdefault(slice_, set()).add(pool[pod["spec"]["nodeName"]])
    return sorted(found.values(), key=sorted)
