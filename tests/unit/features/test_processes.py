"""The processes of one run encode together: all end with the same, whatever the store lets each of them see."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from doubles.interleaved import MemoryStore
from doubles.simulated_encoding import FORM, KEY, encoded, expected, feature, plain

from octjob.features.store import FeatureStore
from octjob.runtime.single import Single
from octjob.storage.base import ObjectStore, StoreFullError

T = TypeVar("T")
VOLUMES = range(40)


class Meeting:
    """Where the processes of a run, here threads, put what they have for each other."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=30)
        self.box: list[Any] = [None] * size


class Peer(Single):
    """One process of several. Encoding needs no more of a runtime than this."""

    def __init__(self, index: int, meeting: Meeting) -> None:
        super().__init__("cpu")
        self.index, self.meeting = index, meeting
        self.num_processes = self.num_shards = len(meeting.box)

    def collect(self, value: T) -> list[T]:
        self.meeting.box[self.index] = value
        self.meeting.barrier.wait()
        found = list(self.meeting.box)
        self.meeting.barrier.wait()
        return found

    def agree(self, flag: bool) -> bool:
        return any(self.collect(flag))

    def share(self, make: Callable[[], T]) -> T:
        return self.collect(make() if self.index == 0 else None)[0]  # type: ignore[return-value]


class Full(MemoryStore):
    """Has no room."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        raise StoreFullError(f"{self.uri(key)}: no space")


def together(stores: list[ObjectStore], calls: list[int]) -> list[dict[str, list[float]]]:
    """What each process gets."""
    meeting = Meeting(len(stores))

    def process(index: int) -> dict[str, list[float]]:
        peer = Peer(index, meeting)
        return plain(encoded(stores[index], VOLUMES, "run", step=calls.extend, runtime=peer))

    with ThreadPoolExecutor(len(stores)) as pool:
        return list(pool.map(process, range(len(stores))))


def test_each_encodes_a_share_and_all_have_everything() -> None:
    store, calls = MemoryStore(), list[int]()
    assert together([store] * 4, calls) == [expected(VOLUMES)] * 4
    assert sorted(calls) == list(VOLUMES)


def test_a_full_store_is_done_without_by_all_of_them(caplog: pytest.LogCaptureFixture) -> None:
    """They tell each other what nobody could write, and say once that nothing is claimed."""
    calls: list[int] = []
    with caplog.at_level(logging.WARNING):
        assert together([Full()] * 4, calls) == [expected(VOLUMES)] * 4
    assert sorted(calls) == list(VOLUMES)
    assert caplog.text.count("encoding without claims") == 1


def test_who_saw_less_than_the_first_is_told() -> None:
    """Another run's shard may come between one process's look and the next one's."""
    store, calls = MemoryStore(), list[int]()
    FeatureStore(store, KEY, FORM).write({str(number): feature(number) for number in VOLUMES})
    assert together([store, MemoryStore(), store], calls) == [expected(VOLUMES)] * 3
    assert calls == []
