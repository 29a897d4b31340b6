"""The processes of a run, here threads, with as much of a runtime as encoding needs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from octjob.runtime.single import Single

T = TypeVar("T")


class Meeting:
    """Where they put what they have for each other."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=60)
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
