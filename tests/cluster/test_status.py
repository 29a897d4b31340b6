"""`octjob status` on a real control plane: the states that JobSet, Kueue and the pods really pass through."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from doubles.sweep_results import beat, finish, labels, skilled

from octjob.cli.watch import watch
from octjob.records.status import RunStatus
from octjob.targets.kubernetes.observation.status import SweepView
from tests.cluster.access import ClusterAccess
from tests.cluster.controlplane import ControlPlane
from tests.cluster.scripted import SLEEP, Scripted, container
from tests.cluster.submission import connect, octjob
from tests.cluster.tenancy import QUEUE

NAMES = ("a", "b", "c", "d")
FAILS_WITH_WORDS = """\
import json, os, signal, sys
signal.signal(15, lambda *_: sys.exit(75))
if os.environ["JOB_COMPLETION_INDEX"] == "2":
    with open(os.environ["OCTJOB_TERMINATION_MESSAGE"], "w") as file:
        json.dump({"message": "b2://x/y: no volumes", "hint": "Mend it."}, file)
    sys.exit(3)
signal.pause()
"""
FAILS_ONCE = """\
import os, signal, sys
signal.signal(15, lambda *_: sys.exit(75))
if os.environ["JOB_COMPLETION_INDEX"] == "1" and os.environ["OCTJOB_ATTEMPT"] == "0":
    sys.exit(1)
signal.pause()
"""


class Sweep(Scripted):
    """Scripted runs, and what `octjob` says of them."""

    def __init__(self, cluster: ClusterAccess, namespace: str, folder: Path) -> None:
        super().__init__(cluster, namespace, folder, NAMES)
        self.view = SweepView(connect(cluster, namespace), "demo")

    def state(self, name: str) -> RunStatus:
        (found,) = (one for one in self.view.look().runs if one.checkpoint == name)
        return found

    def wait(self, name: str, state: str, words: str = "", timeout_s: float = 120) -> RunStatus:
        """The run as soon as it is in that state for that reason."""
        found = self.state(name)

        def there() -> bool:
            nonlocal found
            found = self.state(name)
            return found.state == state and words in f"{found.reason} {found.message}"

        try:
            self.cluster.wait_until(there, f"{name} is {state} {words}", timeout_s)
        except AssertionError:
            raise AssertionError(f"not {state} {words!r} but {found}") from None
        return found


@pytest.fixture
def sweep(control_plane: ClusterAccess, namespace: str, tmp_path: Path) -> Sweep:
    return Sweep(control_plane, namespace, tmp_path)


def test_queue_quota_and_what_never_fits(sweep: Sweep) -> None:
    for name in ("a", "b"):
        sweep.start(name)
        sweep.wait(name, "Running", "no heartbeat yet")
    sweep.start("c")
    waiting = sweep.wait("c", "Queued", "waits for quota: 16 more google.com/tpu of flavor v4")
    assert (waiting.queue, waiting.position, waiting.stuck) == (QUEUE, 1, False)
    # Kueue orders by whole seconds.
    time.sleep(1.0)
    sweep.start("d", accelerator="v4-128")
    stuck = sweep.wait("d", "Queued", "no flavor for these nodes")
    assert (stuck.stuck, stuck.position, stuck.queue_length) == (True, 2, 2)
    calls = sweep.view.cluster.num_calls
    text = octjob(sweep.cluster, "status", "demo", "-n", sweep.namespace).out
    assert sweep.view.cluster.num_calls == calls
    assert text.startswith("2 Running, 2 Queued (1 stuck)")
    assert "1 of 2 in queue tpu" in text


def test_heartbeat_result_and_the_end_of_watching(sweep: Sweep) -> None:
    jobset = sweep.start("a")
    sweep.wait("a", "Running", "no heartbeat yet")
    beat(sweep.store, sweep.entries["a"], "training")
    assert sweep.state("a").epoch == 3
    beat(sweep.store, sweep.entries["a"], "finished")
    finish(sweep.store, sweep.entries["a"], skilled(labels(), 3, 0))
    assert sweep.state("a").state == "Succeeded"
    # As by its TTL.
    sweep.cluster.kubectl("delete", "jobset", jobset, "-n", sweep.namespace)
    assert sweep.state("a").state == "Succeeded"


def test_first_failing_container_with_its_last_words(sweep: Sweep) -> None:
    sweep.start("a", FAILS_WITH_WORDS)
    one = sweep.wait("a", "Failed")
    assert one.message == "worker 2: exit 3 (input data or checkpoint unusable): b2://x/y: no volumes"
    assert (one.exit_code, one.restarts) == (3, 0)
    assert one.hint.startswith("Mend it. Then `octjob retry demo/a.linear-0000abcd")
    document = json.loads(octjob(sweep.cluster, "status", "demo", "-n", sweep.namespace, "-o", "json").out)
    assert document["sweep"] == sweep.output
    assert document["runs"][0]["exit_code"] == 3


def test_restart_is_counted_and_an_eviction_is_not(sweep: Sweep) -> None:
    jobset = sweep.start("a", FAILS_ONCE)
    one = sweep.wait("a", "Restarting")
    assert (one.restarts_counted, one.max_restarts) == (1, 3)
    sweep.wait("a", "Running", "no heartbeat yet")
    assert sweep.state("a").restarts == 1
    (leader, *_) = sweep.cluster.list("pods", sweep.namespace, f"jobset.sigs.k8s.io/jobset-name={jobset}")
    sweep.cluster.kubectl("delete", "pod", leader["metadata"]["name"], "-n", sweep.namespace, "--wait=false")
    sweep.wait("a", "Restarting", "(not counted)")
    one = sweep.wait("a", "Running", "no heartbeat")
    assert (one.restarts, one.restarts_counted) == (2, 1)


def test_preempted_run_waits_and_goes_on(sweep: Sweep) -> None:
    for name in ("a", "b"):
        sweep.start(name, priority="low")
        sweep.wait(name, "Running", "no heartbeat yet")
        beat(sweep.store, sweep.entries[name], "interrupted")
    urgent = sweep.start("c", priority="high")
    sweep.wait("c", "Running", "no heartbeat yet")
    (put_back,) = (one for one in sweep.view.look().runs if one.state == "Interrupted")
    put_back = sweep.wait(put_back.checkpoint, "Interrupted", "waits for quota")
    assert put_back.reason.startswith("preempted by run c.linear of higher priority")
    assert put_back.position == 1
    sweep.cluster.kubectl("delete", "jobset", urgent, "-n", sweep.namespace)
    assert sweep.wait(put_back.checkpoint, "Running").restarts_counted == 0


def test_paused_run_says_how_to_go_on(sweep: Sweep) -> None:
    sweep.start("a")
    sweep.wait("a", "Running")
    (workload,) = sweep.cluster.list("workloads", sweep.namespace)
    name = workload["metadata"]["name"]
    for active, state in ((False, "Paused"), (True, "Running")):
        patch = json.dumps({"spec": {"active": active}})
        sweep.cluster.kubectl("patch", "workload", name, "-n", sweep.namespace, "--type=merge", "-p", patch)
        one = sweep.wait("a", state)
        assert ("octjob resume" in one.hint) == (not active)


def test_accepted_jobset_with_a_refused_job_is_invalid(sweep: Sweep) -> None:
    document = sweep.jobset("a")
    container(document)["ports"].append({"name": "tpu", "containerPort": 1})
    sweep.cluster.apply(document)
    one = sweep.wait("a", "Invalid")
    assert 'ports[4].name: Duplicate value: "tpu"' in one.message
    assert one.final


def test_missing_secret_key_is_named(sweep: Sweep) -> None:
    sweep.cluster.kubectl("create", "secret", "generic", "octjob-wandb", "-n", sweep.namespace)
    sweep.start("a", secrets=["octjob-wandb"])
    one = sweep.wait("a", "Starting", "couldn't find key WANDB_API_KEY in Secret")
    assert "kubectl edit secret octjob-wandb" in one.hint


def test_watch_goes_on_when_the_api_server_is_back(
    own_control_plane: ControlPlane, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep.start("a", SLEEP)
    sweep.wait("a", "Running")
    sweep.view.cluster.retry_s = 0.0
    shown: list[str] = []
    up, down = threading.Event(), threading.Event()

    def read() -> tuple[str, list[RunStatus]]:
        look = sweep.view.look()
        return look.selection.output, [one for one in look.runs if one.checkpoint == "a"]

    def show(runs: list[RunStatus], trouble: str) -> None:
        shown.append(f"{runs[0].state} {trouble}")
        (down if trouble else up).set()

    watcher = threading.Thread(target=lambda: watch(read, show, 0.5), daemon=True)
    watcher.start()
    # The first look may fail; on a busy machine it takes a while.
    assert up.wait(60)
    own_control_plane.stop_component("apiserver")
    try:
        assert down.wait(60)
    finally:
        own_control_plane.start_component("apiserver")
    finish(sweep.store, sweep.entries["a"], skilled(labels(), 3, 0))
    watcher.join(60)
    assert not watcher.is_alive()
    assert any(line.startswith("Running no answer since") for line in shown)
    assert shown[-1] == "Succeeded "
