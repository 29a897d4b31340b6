"""Whatever strikes a run on the cluster: it ends once, with the result of an undisturbed one, and is charged fairly.

A process that is killed counts towards `max_restarts`; a pod that is deleted, a node that is drained or gone and
Kueue's preemption do not. Trainers are real, see `struck.py`.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from octjob.records.layout import read_attempt_log
from tests.cluster.access import condition_status
from tests.cluster.controlplane import ControlPlane
from tests.cluster.struck import (
    COUNTED,
    PATIENCE_S,
    Struck,
    Undisturbed,
    left_alone,
    own_queue,
    remove_queue,
)
from tests.cluster.tenancy import make_nodes

pytestmark = pytest.mark.timeout(900)

Make = Callable[..., Struck]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return left_alone(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def make(own_control_plane: ControlPlane, namespace: str, tmp_path: Path, undisturbed: Undisturbed) -> Make:
    """Makes a run; keys of `compute`."""

    def made(name: str = "tiny", **compute: Any) -> Struck:
        return Struck(own_control_plane, namespace, tmp_path, undisturbed, name, **compute)

    return made


def test_killed_processes_count_and_the_run_goes_on(make: Make, own_control_plane: ControlPlane) -> None:
    run = make(max_restarts=2)
    run.submit()
    leader = run.stop_in_training()
    first = run.pod(0)["metadata"]["name"]
    # So that the restart lasts until it has been looked at.
    own_control_plane.stop_component("scheduler")
    try:
        os.kill(leader, signal.SIGKILL)
        status = run.wait_for_state("Restarting")
        assert "Restarting 1 of 2" in run.octjob("status", run.name).out
    finally:
        own_control_plane.start_component("scheduler")
    assert (status["restarts"], status["restarts_counted"], status["max_restarts"]) == (1, 1, 2)

    leader = run.stop_in_training(attempt=2)
    assert first not in [pod["metadata"]["name"] for pod in own_control_plane.list("pods", run.namespace)], (
        "the restart has deleted the pod, and what `kubectl logs` knew"
    )
    earlier = run.octjob("logs", f"{run.name}/{run.run_id}", "--attempt", "1").out
    assert "attempt 1" in earlier
    assert "attempt 2" not in earlier
    assert "attempt 1" in read_attempt_log(run.store, run.run_id, 1)

    os.kill(run.process(2), signal.SIGKILL)
    run.go_on_to_end(leader)
    run.finished(attempts=3, counted=2)


def test_pods_deleted_by_hand_do_not_count(make: Make, own_control_plane: ControlPlane) -> None:
    run = make(max_restarts=0)
    run.submit()
    for attempt, index in ((1, 0), (2, 3)):
        leader = run.stop_in_training(attempt)
        pod = run.pod(index)["metadata"]["name"]
        own_control_plane.kubectl("-n", run.namespace, "delete", "pod", pod, "--wait=false")
        run.go_on_to_end(leader, index)
    run.finished(attempts=3, counted=0)


def test_a_drained_node_does_not_count(make: Make, own_control_plane: ControlPlane) -> None:
    run = make(max_restarts=0)
    run.submit()
    leader = run.stop_in_training()
    node = run.pod(1)["spec"]["nodeName"]
    draining = threading.Thread(
        target=own_control_plane.kubectl,
        args=("drain", node, "--delete-emptydir-data", "--force", "--timeout=120s"),
    )
    draining.start()
    try:
        run.go_on_to_end(leader, index=1)
    finally:
        draining.join()
        own_control_plane.kubectl("uncordon", node)
    run.finished(attempts=2, counted=0)


def test_a_node_that_is_gone_does_not_count(make: Make, own_control_plane: ControlPlane) -> None:
    """Nobody says how its pods ended: the other hosts wait for word, then ask to be started again."""
    run = make(max_restarts=0)
    run.submit()
    leader = run.stop_in_training()
    pod = run.pod(0)
    uid = pod["metadata"]["uid"]
    own_control_plane.kubectl("delete", "node", pod["spec"]["nodeName"])

    def given_up() -> bool:
        there = own_control_plane.list("pods", run.namespace)
        left = [one for one in there if one["metadata"]["uid"] == uid]
        return not left or condition_status(left[0], "DisruptionTarget") == "True"

    try:
        own_control_plane.wait_until(given_up, "its pod is given up", PATIENCE_S)
    finally:
        make_nodes(own_control_plane)
    assert not Path(f"/proc/{leader}").exists()
    run.finished(attempts=2, counted=0)


def test_preempted_by_a_higher_priority_it_saves_waits_and_finishes(
    make: Make, own_control_plane: ControlPlane, namespace: str
) -> None:
    queue = own_queue(own_control_plane, namespace)
    try:
        low = make("low", queue=queue, priority="low", max_restarts=0)
        high = make("high", queue=queue, priority="high", max_restarts=0)
        low.submit()
        leader = low.stop_in_training()
        high.submit()
        own_control_plane.wait_until(
            lambda: low.jobset["spec"].get("suspend"), "Kueue has preempted the run", PATIENCE_S
        )
        saving = low.status
        assert saving["state"] == "Interrupted"
        assert f"preempted by JobSet {high.jobset['metadata']['name']} of higher priority" in saving["reason"]
        low.go_on_to_end(leader)
        high.finished(attempts=1, counted=0)
        assert "state saved" in read_attempt_log(low.store, low.run_id, 1)
        low.finished(attempts=2, counted=0)
    finally:
        remove_queue(own_control_plane, namespace)


class Command:
    """`octjob` as a process of its own, in a terminal or not."""

    def __init__(self, run: Struck, *arguments: str, terminal: bool = False) -> None:
        self.run, self.text = run, ""
        command = [sys.executable, "-m", "octjob", *arguments, "-n", run.namespace]
        env = {**os.environ, "KUBECONFIG": str(run.plane.kubeconfig), "COLUMNS": "160"}
        ours, theirs = pty.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(command, env=env, stdout=theirs, stderr=subprocess.STDOUT)
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, args=(ours,))
        self._reader.start()

    def _read(self, ours: int) -> None:
        # A terminal whose other end was closed is an error, not an end.
        with os.fdopen(ours, "rb", buffering=0) as file:
            while True:
                try:
                    data = file.read(65536)
                except OSError:
                    return
                if not data:
                    return
                self.text += data.decode(errors="replace")

    def wait_for(self, words: str) -> None:
        """Return once it has said them."""
        self.run.plane.wait_until(lambda: words in self.text, f"{words!r} is said", PATIENCE_S)

    def end(self) -> int:
        """Its exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join()
        return code

    def close(self) -> None:
        self.process.kill()
        self.end()


@contextmanager
def commands(run: Struck, **argument_lists: tuple[str, ...]) -> Iterator[dict[str, Command]]:
    started = {
        name: Command(run, *arguments, terminal=name == "watch") for name, arguments in argument_lists.items()
    }
    try:
        yield started
    finally:
        for command in started.values():
            command.close()


def test_what_looks_on_outlives_an_api_server_that_restarts(
    make: Make, own_control_plane: ControlPlane
) -> None:
    run = make(max_restarts=0)
    run.submit()
    leader = run.stop_in_training()
    with commands(
        run,
        watch=("status", run.name, "--watch", "--interval", "1"),
        logs=("logs", f"{run.name}/{run.run_id}", "--follow"),
        collect=("collect", run.name, "--wait"),
    ) as looking:
        watch, logs, collect = (looking[name] for name in ("watch", "logs", "collect"))
        watch.wait_for("training")
        logs.wait_for("attempt 1")
        collect.wait_for("1 to come")
        own_control_plane.stop_component("apiserver", signal.SIGKILL)
        watch.wait_for("no answer")
        logs.wait_for("no answer")
        own_control_plane.start_component("apiserver")
        os.kill(leader, signal.SIGCONT)
        codes = {name: command.end() for name, command in looking.items()}
    assert codes == {"watch": 0, "logs": 0, "collect": 0}, {name: c.text for name, c in looking.items()}
    assert "Succeeded" in watch.text
    assert "1 have a result" in collect.text
    ours = [line for line in logs.text.splitlines() if line.startswith("[0] ")]
    whole = run.octjob("logs", f"{run.name}/{run.run_id}", "--worker", "0").out.splitlines()
    assert [line.removeprefix("[0] ") for line in ours] == whole, "every line once"
    run.finished(attempts=1, counted=0)
    assert run.restarts(COUNTED) == run.restarts() == 0
