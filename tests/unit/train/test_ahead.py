"""Batches asked for before they are needed: in order, across sequences, no more than wanted, and never in vain."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future

import numpy as np
import pytest

from octjob.train.ahead import FIRST_BATCHES, Ahead, Ask, Batch


class Asked:
    """Makes batches of their positions at once, and remembers for whom it did."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []

    def by(self, name: str) -> Ask:
        def ask(positions: np.ndarray) -> Batch:
            self.log.append((name, int(positions[0])))
            part: Future[None] = Future()
            part.set_result(None)
            return Batch(positions.astype(np.float32).reshape(-1, 1, 1, 1), [part])

        return ask


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def ahead() -> Iterator[Ahead]:
    ahead = Ahead(8)
    yield ahead
    ahead.close()


def batches(number: int, size: int = 2) -> list[np.ndarray]:
    return [np.arange(size) + 100 * i for i in range(number)]


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def stays(asked: Asked, number: int) -> bool:
    """Whether so many are asked for, and after some looks no more."""
    until(lambda: len(asked.log) >= number)
    time.sleep(0.05)
    return len(asked.log) == number


def test_sequences_are_asked_for_one_after_the_other_as_far_as_wanted(ahead: Ahead, asked: Asked) -> None:
    first = ahead.batches(batches(3), asked.by("first"))
    second = ahead.batches(batches(4), asked.by("second"))
    assert stays(asked, 4)  # of two volumes each
    assert asked.log == [("first", 0), ("first", 100), ("first", 200), ("second", 0)]
    assert [int(x_BCDHW[0, 0, 0, 0, 0]) for x_BCDHW in first] == [0, 100, 200]
    assert stays(asked, 7)
    found = list(second)
    assert [x_BCDHW.shape for x_BCDHW in found] == [(2, 1, 1, 1, 1)] * 4
    assert [int(x_BCDHW[1, 0, 0, 0, 0]) for x_BCDHW in found] == [1, 101, 201, 301]


def test_batches_larger_than_what_is_wanted_ahead_are_asked_for_all_the_same(
    ahead: Ahead, asked: Asked
) -> None:
    sequence = ahead.batches(batches(5, size=20), asked.by("large"))
    assert stays(asked, FIRST_BATCHES)
    assert len(list(sequence)) == 5


def test_what_nobody_wants_any_more_keeps_nobody_waiting(ahead: Ahead, asked: Asked) -> None:
    spared = ahead.batches(batches(9), asked.by("spared"))
    held = ahead.batches(batches(9), asked.by("held"))
    wanted = ahead.batches(batches(9), asked.by("wanted"))
    assert stays(asked, 4)
    assert len(list(wanted)) == 9  # though others were to come first
    assert asked.log.count(("held", 0)) == 0
    del spared
    until(lambda: ("held", 300) in asked.log)
    assert len(list(held)) == 9


def test_an_error_comes_with_its_batch(ahead: Ahead, asked: Asked) -> None:
    def ask(positions: np.ndarray) -> Batch:
        if positions[0] == 100:
            raise MemoryError("no room")
        return asked.by("")(positions)

    sequence = ahead.batches(batches(3), ask)
    assert next(sequence)[0].item() == 0
    with pytest.raises(MemoryError, match="no room"):
        next(sequence)


def test_closing_ends_waiting(asked: Asked) -> None:
    ahead, go, ended = Ahead(8), threading.Event(), []

    def ask(positions: np.ndarray) -> Batch:
        go.wait()
        return asked.by("")(positions)

    sequence = ahead.batches(batches(9), ask)
    ahead.close()

    def take() -> None:
        with pytest.raises(CancelledError):
            list(sequence)
        with pytest.raises(CancelledError):
            next(sequence)
        ended.append(True)

    thread = threading.Thread(target=take)
    thread.start()
    go.set()
    thread.join(20)
    assert ended
