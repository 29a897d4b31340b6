"""Runs are created in the sweep's order as far as Kueue can see it, and a wave that fails is the last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octjob.errors import AccessError
from octjob.targets.kubernetes.submission.batch import MAX_WAVES, NUM_THREADS, in_waves


class Seconds:
    """Which second each item was created in; a wave takes one."""

    def __init__(self) -> None:
        self.now, self.of = 0, dict[int, int]()

    def create(self, item: int) -> int:
        self.of[item] = self.now
        return item

    def sleep(self, seconds: float) -> None:
        self.now += 1


@given(st.integers(0, 200))
def test_order_holds_between_seconds_and_takes_no_more_of_them_than_promised(count: int) -> None:
    clock, counts = Seconds(), list[tuple[int, int]]()
    outcome = in_waves(
        clock.create,
        range(count),
        "created",
        lambda _, done, of: counts.append((done, of)),
        sleep=clock.sleep,
    )
    assert outcome.problem is None
    assert outcome.results == list(range(count))
    seconds = [clock.of[item] for item in range(count)]
    assert seconds == sorted(seconds)
    assert clock.now < MAX_WAVES
    if count <= MAX_WAVES:
        assert len(set(seconds)) == count
    assert counts[-1:] == [(count, count)][: min(count, 1)]


def test_after_a_failure_no_further_wave_begins() -> None:
    clock = Seconds()

    def create(item: int) -> int:
        if item == 2:
            raise AccessError("no")
        return clock.create(item)

    outcome = in_waves(create, range(5), "created", lambda *_: None, sleep=clock.sleep)
    assert isinstance(outcome.problem, AccessError)
    assert outcome.results == [0, 1]
    assert set(clock.of) == {0, 1}


def test_an_interruption_between_waves_says_what_was_done() -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    outcome = in_waves(lambda item: item, range(NUM_THREADS), "created", lambda *_: None, sleep=interrupted)
    assert isinstance(outcome.problem, KeyboardInterrupt)
    assert outcome.results == [0]


@pytest.mark.parametrize("count", [0, 1])
def test_nobody_waits_for_nothing(count: int) -> None:
    clock = Seconds()
    in_waves(clock.create, range(count), "created", lambda *_: None, sleep=clock.sleep)
    assert clock.now == 0
