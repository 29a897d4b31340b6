"""`octjob logs` on a real control plane: pods that talk, fail, restart and disappear."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from octjob.records.layout import attempt_log_key
from octjob.targets.kubernetes.observation.logs import PodLogs
from tests.cluster.access import ClusterAccess
from tests.cluster.controlplane import ControlPlane
from tests.cluster.scripted import Scripted
from tests.cluster.submission import Ended, connect, octjob

TALKS = """\
import os, signal, sys, time
signal.signal(15, lambda *_: sys.exit(75))
index, attempt = os.environ["JOB_COMPLETION_INDEX"], os.environ["OCTJOB_ATTEMPT"]
for number in range(3):
    print(f"attempt {attempt} worker {index} line {number}")
if attempt == "0":
    time.sleep(4)
    if index == "2":
        sys.exit(1)
    signal.pause()
time.sleep(3)
sys.exit(3 if index == "0" else 0)
"""
COUNTS = """\
import os, time
for number in range(80):
    print(number)
    time.sleep(0.1)
"""


@pytest.fixture
def sweep(control_plane: ClusterAccess, namespace: str, tmp_path: Path) -> Scripted:
    return Scripted(control_plane, namespace, tmp_path, ("a", "b"))


def logs(sweep: Scripted, *arguments: str) -> Ended:
    return octjob(sweep.cluster, "logs", *arguments, "-n", sweep.namespace)


def test_follow_merges_all_workers_through_a_restart_to_the_end(sweep: Scripted) -> None:
    sweep.start("a", TALKS)
    followed = logs(sweep, "demo/a.linear", "--follow")
    assert followed.code == 0
    for attempt in (0, 1):
        for worker in range(4):
            said = re.findall(
                rf"^\[{worker}\] attempt {attempt} worker {worker} line (\d)$", followed.out, re.M
            )
            assert said == ["0", "1", "2"], (attempt, worker, followed)
    assert "-- restart 1: its log follows" in followed.err
    assert followed.err.splitlines()[-1].startswith("-- Failed, worker 0: exit 3")
    # The Job's other pods are gone; the leader's is still there.
    assert logs(sweep, "a.linear", "--worker", "0", "--tail", "1").out == "attempt 1 worker 0 line 2\n"


def test_names_that_are_not_there_and_runs_that_have_not_begun(sweep: Scripted) -> None:
    sweep.start("a", accelerator="v4-128")
    wrong = logs(sweep, "demo/a.liner")
    assert (wrong.code, "there is a.linear-0000abcd" in wrong.err) == (4, True)
    waiting = logs(sweep, "demo/a.linear")
    assert waiting.code == 4
    assert "no log yet: Queued" in waiting.err


def test_earlier_attempts_and_lost_pods_come_from_the_store(sweep: Scripted) -> None:
    jobset = sweep.start("a", accelerator="v4-128")
    run = sweep.entries["a"].run_id
    for attempt in (1, 2):
        sweep.store.put(attempt_log_key(run, attempt, 0), f"attempt {attempt}\n".encode())
    latest = logs(sweep, "demo/a.linear")
    assert (latest.out, latest.err) == ("attempt 2\n", f"-- attempt 2 of run {run}, from the store\n")
    assert logs(sweep, "demo/a.linear", "--attempt", "1").out == "attempt 1\n"
    sweep.cluster.kubectl("delete", "jobset", jobset, "-n", sweep.namespace)
    assert logs(sweep, f"{sweep.output}/runs/{run}").code == 2, "with -n a URI is no name"
    assert octjob(sweep.cluster, "logs", f"{sweep.output}/runs/{run}").out == "attempt 2\n"


def test_no_line_is_lost_or_repeated_when_the_api_server_restarts(
    own_control_plane: ControlPlane, sweep: Scripted
) -> None:
    jobset = sweep.start("a", COUNTS)
    cluster = connect(own_control_plane, sweep.namespace)
    cluster.retry_s = 0.0
    said: list[int] = []
    notes: list[str] = []
    for line in PodLogs(cluster, jobset, only=1, say=notes.append).follow(lambda: "Starting"):
        said.append(int(line.text))
        if len(said) == 5:
            own_control_plane.restart_apiserver()
    assert said == list(range(80))
