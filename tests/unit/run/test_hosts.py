"""Which host this is, and that a follower ends exactly as the leader's attempt of its own ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doubles.sweep_results import beat, entry, finish, labels, skilled, submit

from octjob.cli import run as octjob
from octjob.errors import AccessError, DataError, Interrupted, OctjobError, SpecError
from octjob.records.layout import PROGRESS, encode, run_key
from octjob.records.schema import Failure, Progress, Stage
from octjob.run.heartbeat import Heartbeat
from octjob.run.hosts import NUM_LOOKS_AFTER_FAILURE, Follower, Host, read_host
from octjob.run.stop import Stop, catch_signals
from octjob.storage import ObjectStore

RUN = entry("a")


def test_alone_is_the_leader() -> None:
    assert read_host({}) == Host(0, 1)
    assert read_host({"JOB_COMPLETION_INDEX": "3"}).is_leader


def test_a_pod_knows_its_place() -> None:
    environ = {
        "OCTJOB_NUM_HOSTS": "4",
        "JOB_COMPLETION_INDEX": "2",
        "OCTJOB_ATTEMPT": "1",
        "OCTJOB_POD": "x-w-0-2-abcde",
        "OCTJOB_NODE": "node-2",
    }
    assert read_host(environ) == Host(2, 4, 1, "x-w-0-2-abcde", "node-2")
    assert not read_host(environ).is_leader


def test_an_annotation_that_is_not_there_is_no_restart_count() -> None:
    assert read_host({"OCTJOB_ATTEMPT": ""}).restart is None


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"OCTJOB_NUM_HOSTS": "4"}, "JOB_COMPLETION_INDEX is not set"),
        ({"OCTJOB_NUM_HOSTS": "0"}, "OCTJOB_NUM_HOSTS=0"),
        ({"OCTJOB_NUM_HOSTS": "four"}, "OCTJOB_NUM_HOSTS=four"),
        ({"OCTJOB_NUM_HOSTS": "4", "JOB_COMPLETION_INDEX": "4"}, "there are 4 hosts"),
        ({"OCTJOB_NUM_HOSTS": "4", "JOB_COMPLETION_INDEX": "-1"}, "JOB_COMPLETION_INDEX=-1"),
        ({"OCTJOB_ATTEMPT": "1.5"}, "OCTJOB_ATTEMPT=1.5"),
    ],
)
def test_a_place_that_makes_no_sense_is_refused(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        read_host(environ)


def put(
    store: ObjectStore,
    stage: Stage,
    attempt: int,
    restart: int | None = None,
    failure: Failure | None = None,
) -> None:
    progress = Progress(
        run_id=RUN.run_id,
        stage=stage,
        attempt=attempt,
        host="x-w-0-0",
        pid=1,
        restart=restart,
        started_at=1000.0 * attempt,
        updated_at=1000.0 * attempt + 5,
        failure=failure,
    )
    store.put(run_key(RUN.run_id, PROGRESS), encode(progress))


class World:
    """A follower whose every sleep lets the next thing happen elsewhere."""

    def __init__(self, store: ObjectStore, *happenings: Callable[[], None], **host: Any) -> None:
        self.happenings = list(happenings)
        self.heard: list[Progress] = []
        self.stop = Stop()
        self.follower = Follower(
            store,
            RUN.run_id,
            Host(**{"index": 1, "num_hosts": 4, **host}),
            self.stop,
            self.heard.append,
            interval_s=0.2,
            sleep=self.happen,
        )

    def happen(self, seconds: float) -> None:
        # A follower that has not ended by the time all is over is stopped, to see that it would have gone on.
        if self.happenings:
            self.happenings.pop(0)()
        else:
            self.stop.request(signal.SIGTERM)


FAILED = Failure(message="b2://x/y.dcm: cannot be decoded", hint="Mend it.", exit_code=DataError.exit_code)


@pytest.fixture
def store(file_store: ObjectStore) -> ObjectStore:
    submit(file_store, [RUN])
    return file_store


def finished(store: ObjectStore) -> None:
    finish(store, RUN, skilled(labels(), 3, 0))


def test_it_ends_with_the_result_and_not_before(store: ObjectStore) -> None:
    world = World(
        store,
        lambda: put(store, "training", 1),
        lambda: put(store, "finished", 1),
        lambda: finished(store),
    )
    assert world.follower.follow().run_id == RUN.run_id
    assert [one.stage for one in world.heard] == ["training", "finished"]


def test_without_a_result_it_goes_on_for_ever(store: ObjectStore) -> None:
    world = World(store, *[lambda: put(store, "finished", 1)] * 20)
    with pytest.raises(Interrupted) as caught:
        world.follower.follow()
    assert caught.value.exit_code == 75
    assert len(world.heard) == 20 + 1


def test_a_failed_leader_ends_first_unless_it_hangs(store: ObjectStore) -> None:
    failed = [lambda: put(store, "failed", 1, failure=FAILED)]
    world = World(store, *failed, *[lambda: None] * 100)
    with pytest.raises(OctjobError, match="host 0 failed"):
        world.follower.follow()
    assert not world.stop.requested
    assert len(world.heard) == NUM_LOOKS_AFTER_FAILURE


def test_it_fails_as_the_leader_fails(store: ObjectStore) -> None:
    world = World(store, lambda: put(store, "data", 1), lambda: put(store, "failed", 1, failure=FAILED))
    with pytest.raises(OctjobError, match=r"host 0 failed: b2://x/y\.dcm: cannot be decoded") as caught:
        world.follower.follow()
    assert (caught.value.exit_code, caught.value.hint) == (3, "Mend it.")


def test_an_interrupted_leader_comes_back(store: ObjectStore) -> None:
    world = World(
        store,
        lambda: put(store, "interrupted", 1),
        lambda: put(store, "training", 2),
        lambda: finished(store),
    )
    world.follower.follow()
    assert world.heard[-1].attempt == 2


def test_the_failure_of_an_earlier_attempt_is_not_its_own(store: ObjectStore) -> None:
    put(store, "failed", 1, failure=FAILED)
    world = World(store, *[lambda: None] * 5, lambda: put(store, "training", 2), lambda: finished(store))
    world.follower.follow()
    assert {one.attempt for one in world.heard} == {2}


def test_an_attempt_of_the_leader_that_began_first_is_its_own(store: ObjectStore) -> None:
    put(store, "data", 2, restart=1)
    world = World(store, lambda: put(store, "failed", 2, restart=1, failure=FAILED), restart=1)
    with pytest.raises(OctjobError, match="cannot be decoded"):
        world.follower.follow()


def test_the_late_failure_of_another_restart_is_not_its_own(store: ObjectStore) -> None:
    put(store, "training", 1, restart=0)
    world = World(
        store, lambda: put(store, "failed", 1, restart=0, failure=FAILED), lambda: finished(store), restart=1
    )
    world.follower.follow()
    assert world.heard == []


def test_a_heartbeat_names_pod_node_and_restart(store: ObjectStore) -> None:
    progress = Heartbeat(store, RUN.run_id, lambda _: None, Host(0, 4, 2, "pod-0", "node-0")).progress
    assert (progress.pod, progress.node, progress.restart) == ("pod-0", "node-0", 2)
    assert progress.host == os.uname().nodename


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_end_is_75(store: ObjectStore, number: int) -> None:
    world = World(store, lambda: os.kill(os.getpid(), number))
    with catch_signals(world.stop), pytest.raises(Interrupted):
        world.follower.follow()
    assert world.stop.signal == number


def test_a_signal_after_the_result_is_0(store: ObjectStore) -> None:
    finished(store)
    world = World(store)
    world.stop.request(signal.SIGTERM)
    assert world.follower.follow().run_id == RUN.run_id


def test_the_command_follows_without_torch(store: ObjectStore, tmp_path: Path) -> None:
    """As a pod runs it: result there, so exit 0, and torch was never imported."""
    from doubles.cluster_runs import make_run

    from octjob.records.layout import write_spec

    write_spec(store, make_run().model_copy(update={"run_id": RUN.run_id}))
    finished(store)
    code = (
        "import sys; from octjob.cli import run;"
        "code = run(['train', '--run', sys.argv[1]]);"
        "sys.exit(code or ('torch' in sys.modules) * 99 or ('kubernetes' in sys.modules) * 98)"
    )
    environ = {**os.environ, "OCTJOB_NUM_HOSTS": "4", "JOB_COMPLETION_INDEX": "3"}
    uri = f"{store.root}/runs/{RUN.run_id}"
    done = subprocess.run(
        [sys.executable, "-c", code, uri], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "host 3 of 4 follows host 0" in done.stdout


def test_a_run_that_is_not_there_is_4(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OCTJOB_NUM_HOSTS", "2")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    beat(store, RUN, "training")
    assert octjob(["train", "--run", f"{store.root}/runs/nothing"]) == AccessError.exit_code
    assert "spec.json" in capfd.readouterr().err
