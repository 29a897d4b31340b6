"""Clocks that jump by days and years: nothing is lost, done twice or waited for because of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from doubles.sweep_results import beat, entry, submit
from doubles.tiny_sweep import prepared, uri_of

from octjob.errors import AccessError
from octjob.records.layout import PREDICTIONS, read_progress, run_key
from octjob.records.status import sweep_status
from octjob.records.wait import look_in_store
from octjob.run import attempt
from octjob.run.alone import only_attempt
from octjob.run.heartbeat import Heartbeat
from octjob.run.job import run_job
from octjob.storage.base import ObjectStore
from octjob.storage.lease import DURATION_S, Holder, Lease

from .conftest import Count

DAY_S = 86_400.0
JUMPS_S = (-365 * DAY_S, -DAY_S, DAY_S, 365 * DAY_S)
jumping = pytest.mark.parametrize("jump_s", JUMPS_S)


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float = 1.7e9) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@jumping
def test_heartbeats_and_the_time_to_go_take_no_notice(file_store: ObjectStore, jump_s: float) -> None:
    wall, monotonic = Clock(), Clock(0.0)
    heartbeat = Heartbeat(file_store, "a", lambda progress: None, clock=wall, monotonic=monotonic)
    heartbeat.stage("training")
    wall.now += jump_s
    for done in range(1, 6):
        wall.now += 3.0
        monotonic.now += 3.0
        heartbeat.tick(done, 10)
        seen = read_progress(file_store, "a")
        assert seen is not None
        assert (seen.done, seen.eta_s) == (done, pytest.approx(3.0 * (10 - done)))
    assert heartbeat.elapsed_s == 15.0


@jumping
@pytest.mark.parametrize("whose", ["the holder's", "the waiter's"])
def test_a_lease_is_held_while_it_is_renewed_and_no_longer(
    file_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, jump_s: float, whose: str
) -> None:
    """Whatever the wall clocks of two machines say, and whichever of them jumps."""
    monotonic, wall = Clock(0.0), Clock()
    monkeypatch.setattr(time, "time", wall)
    holder, waiter = (
        Lease(file_store, "lease.json", Holder(name), monotonic=monotonic) for name in ("one", "two")
    )
    assert holder.acquire()
    assert not waiter.acquire()
    for _ in range(8):
        monotonic.now += DURATION_S / 3
        wall.now += jump_s if whose == "the holder's" else 0.0
        holder.renew()
        wall.now += jump_s if whose == "the waiter's" else 0.0
        assert not waiter.acquire()
    # The holder hangs.
    monotonic.now += 1.01 * DURATION_S
    assert waiter.acquire()


@jumping
def test_a_second_attempt_is_refused_whatever_the_time(
    file_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    hold = (
        "from octjob.run.alone import only_attempt\n"
        "with only_attempt('file:///x/runs/a', 'a', patient=False): print('held', flush=True); input()"
    )
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump_s)
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(AccessError, match=f"by process {other.pid}"),
            only_attempt("file:///x/runs/a", "a", patient=False),
        ):
            pass
        other.kill()
    with only_attempt("file:///x/runs/a", "a", patient=False):
        pass


@jumping
def test_a_silent_run_is_shown_as_such_and_still_waited_for(file_store: ObjectStore, jump_s: float) -> None:
    run = entry("a")
    submit(file_store, [run])
    beat(file_store, run, "training", at=time.time() + jump_s)
    (seen,) = sweep_status(file_store)
    assert seen.state == "Running"
    assert seen.heartbeat_age_s is not None
    assert seen.heartbeat_age_s >= 0
    assert look_in_store(file_store).open == (run.run_id,)


def jumping_time(rng: np.random.Generator, count: Count) -> Callable[[], float]:
    """Every look at the clock shows another day or year."""
    real = time.time

    def now() -> float:
        count("looks at a wall clock", "after a jump")
        return real() + float(rng.choice(JUMPS_S))

    return now


@pytest.mark.parametrize("config", [{"train.epochs": 3}, {"train.epochs": 1, "model.freeze_encoder": False}])
def test_a_run_whose_clock_jumps_at_every_look_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Count, config: dict[str, object]
) -> None:
    found = []
    for name in ("steady", "jumping"):
        store, (run,) = prepared(tmp_path, {"x": config}, output=f"{tmp_path}/{name}")
        if name == "jumping":
            clock = jumping_time(np.random.default_rng(7), count)
            monkeypatch.setattr(time, "time", clock)
            monkeypatch.setattr(time, "time_ns", lambda clock=clock: int(clock() * 1e9))
            monkeypatch.setattr(attempt, "Heartbeat", partial(Heartbeat, clock=clock))
        result = run_job(uri_of(run), lambda progress: None)
        assert 0 < result.duration_s < 300
        found.append(store.get(run_key(run.run_id, PREDICTIONS)))
    assert found[0] == found[1]
