"""Pods that are deleted and a node that is drained, with a kubelet that really sends the signals."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from octjob.errors import Interrupted
from octjob.targets.kubernetes.documents.policy import DISRUPTED, RESTART_ME
from tests.cluster.access import CommandError
from tests.cluster.nodes import REAL_NODE
from tests.cluster.struck import PATIENCE_S, Undisturbed, left_alone
from tests.pods.clouds import Bucket
from tests.pods.cluster import PodPlane
from tests.pods.struck import StruckPods
from tests.pods.watched import watching

pytestmark = pytest.mark.timeout(900)

Make = Callable[[str], StruckPods]


@pytest.fixture(scope="module")
def undisturbed(plane: PodPlane, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Of four processes of this machine; needs the plane only because loopback is its network's by now."""
    return left_alone(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def make(plane: PodPlane, namespace: str, tmp_path: Path, undisturbed: Undisturbed, clouds: Bucket) -> Make:
    return lambda name: StruckPods(plane, namespace, tmp_path, undisturbed, clouds, name)


def test_a_deleted_pod_saves_and_says_so_and_the_run_goes_on(
    make: Make, plane: PodPlane, tmp_path: Path
) -> None:
    run = make("deleted")
    with watching(plane, run.namespace, tmp_path) as watch:
        run.submit()
        leader = run.stop_in_training()
        first = run.pod(0)["metadata"]["name"]
        plane.kubectl("-n", run.namespace, "delete", "pod", first, "--wait=false")
        run.go_on_to_end(leader)
        plane.wait_until(lambda: run.restarted_by == RESTART_ME, "JobSet restarts it for that", PATIENCE_S)
        result = run.finished(attempts=2, counted=0)
        ends = watch.ends()
    assert "state saved" in run.octjob("logs", f"{run.name}/{run.run_id}", "--attempt", "1").out
    events = plane.kubectl(
        "get", "events", "-n", run.namespace, "--field-selector", f"involvedObject.name={first}"
    )
    assert "Stopping container train" in events
    end = ends[first]
    assert end.deleted
    assert end.exit_code == Interrupted.exit_code == 75
    assert (end.message["state"], end.message["exit_code"]) == ("interrupted", 75)
    assert end.message["attempt"] == 1
    assert "saved" in end.message["message"], end.message
    # The other three stopped with it; none of them was killed.
    assert {other.exit_code for other in ends.values()} <= {0, 75}
    assert run.restarts() == 1
    assert result.environment["num_hosts"] == 4


def test_a_drained_node_lets_the_run_wait_and_go_on(make: Make, plane: PodPlane, tmp_path: Path) -> None:
    run = make("drained")
    run.submit()
    leader = run.stop_in_training()
    draining = threading.Thread(
        target=plane.kubectl, args=("drain", REAL_NODE, "--delete-emptydir-data", "--force", "--timeout=180s")
    )
    draining.start()
    try:
        run.go_on_to_end(leader)
        draining.join()
        plane.wait_until(lambda: "no node" in run.status["reason"], "the run waits for a node", PATIENCE_S)
        waiting = run.status
        assert waiting["state"] == "Restarting"
        assert run.restarted_by == DISRUPTED
        assert "its machine was taken or drained (not counted)" in waiting["reason"]
    finally:
        draining.join()
        plane.kubectl("uncordon", REAL_NODE)
    run.finished(attempts=2, counted=0)


def test_a_worker_out_of_memory_counts_and_is_called_so(make: Make, plane: PodPlane, tmp_path: Path) -> None:
    """Its peers lose it first, and wait for word of it: theirs would be a restart that does not count."""
    run = make("memory")
    with watching(plane, run.namespace, tmp_path) as watch:
        run.submit()
        leader = run.stop_in_training()
        second = run.pod(2)["metadata"]["name"]
        run.exhaust_memory(2)
        os.kill(leader, signal.SIGCONT)
        words = "worker 2: exit 137 (out of memory)"
        plane.wait_until(lambda: words in run.status["reason"], "octjob says so", PATIENCE_S)
        run.finished(attempts=2, counted=1)
        ends = watch.ends()
    assert (ends[second].exit_code, ends[second].reason) == (137, "OOMKilled")


def test_paused_it_gives_the_chips_back_and_goes_on_when_resumed(make: Make, plane: PodPlane) -> None:
    run = make("paused")
    run.submit()
    leader = run.stop_in_training()
    pausing = threading.Thread(target=run.octjob, args=("pause", run.name))
    pausing.start()
    run.go_on_to_end(leader)
    pausing.join()
    plane.wait_until(lambda: not plane.list("pods", run.namespace), "its pods are gone", PATIENCE_S)
    assert run.status["state"] == "Paused"
    assert "state saved" in run.octjob("logs", f"{run.name}/{run.run_id}", "--attempt", "1").out
    run.octjob("resume", run.name)
    run.finished(attempts=2, counted=0)


def test_kubectl_sees_into_a_pod(make: Make, plane: PodPlane) -> None:
    run = make("seen")
    run.submit()
    run.stop_in_training()
    name = run.pod(1)["metadata"]["name"]
    scope = ("-n", run.namespace)

    assert f"run {run.run_id}, attempt 1" in plane.kubectl("logs", name, *scope)
    assert f"run {run.run_id}, attempt 1" in run.octjob("logs", f"{run.name}/{run.run_id}").out
    described = plane.kubectl("describe", "pod", name, *scope)
    for words in (
        "Container started",
        "--run\n",
        "google.com/tpu:  4",
        "SeccompProfile:   RuntimeDefault",
        "OCTJOB_NUM_HOSTS:",
    ):
        assert words in described, described

    def inside(*command: str) -> str:
        return plane.kubectl("exec", name, *scope, "--", *command)

    assert inside("id", "-u").strip() == "10001"
    assert "NoNewPrivs:\t1" in inside("cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in inside("cat", "/proc/1/status")
    with pytest.raises(CommandError, match="Read-only file system"):
        inside("touch", "/opt/octjob/here")
    assert "10.88." in inside(
        "getent", "hosts", f"{run.jobset['metadata']['name']}-w-0-0.{run.jobset['metadata']['name']}"
    )


def test_a_pod_that_is_not_restricted_is_refused(plane: PodPlane, namespace: str) -> None:
    """So the others show that a run's pods are."""
    with pytest.raises(CommandError, match='violates PodSecurity "restricted:latest"'):
        plane.kubectl("run", "plain", "--image=octjob:dev", "-n", namespace)
