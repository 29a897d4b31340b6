"""A write goes on while the next steps run, one at a time, and its failure is not lost."""

from __future__ import annotations

import logging
from threading import Event

import pytest

from octjob.run.saving import Saving, told_bytes


class Refused(Exception):
    """Stands for a store that refuses."""


def refuse() -> None:
    raise Refused("no")


def test_the_caller_goes_on_while_it_is_written() -> None:
    go, done = Event(), Event()

    def write() -> None:
        go.wait(10)
        done.set()

    with Saving() as saving:
        saving.start(write)
        assert saving.busy
        saving.check()
        go.set()
        saving.wait()
        assert done.is_set()
        assert not saving.busy


def test_the_second_write_begins_after_the_first() -> None:
    order: list[int] = []
    with Saving() as saving:
        for number in range(5):
            saving.start(lambda number=number: order.append(number))  # type: ignore[misc]
    assert order == [0, 1, 2, 3, 4]


def test_a_failure_is_raised_once_at_the_next_write() -> None:
    with Saving() as saving:
        saving.start(refuse)
        with pytest.raises(Refused):
            saving.start(lambda: None)
        saving.start(lambda: None)
        saving.wait()


def test_a_failure_is_seen_by_a_look_and_at_the_end() -> None:
    with Saving() as saving:
        saving.start(refuse)
        while saving.busy:
            pass
        with pytest.raises(Refused):
            saving.check()
    with pytest.raises(Refused), Saving() as saving:
        saving.start(refuse)


def test_the_blocks_own_failure_is_the_one_that_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        with Saving() as saving:
            saving.start(refuse)
            raise KeyError

    with caplog.at_level(logging.WARNING), pytest.raises(KeyError):
        fail()
    assert "the last state was not saved: no" in caplog.text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (int(1.3 * 2**30), "1.3 GiB"),
        (2**41, "2048.0 GiB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert told_bytes(number) == text
