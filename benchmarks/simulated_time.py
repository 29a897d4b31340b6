"""Runs of several hosts on one store in simulated time: what they wait for follows from their requests alone.

Each host is a thread, of which one at a time goes on: the one whose own clock is furthest behind. A request or a step
of the encoder moves that clock. What a host asks for side by side is carried out one after the other, each beginning
when a thread of its pool is free.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, TypeVar

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import pytest
from doubles.interleaved import Interrupted, MemoryStore, Turns

from octjob.features import claims, encode, store
from octjob.runtime.single import Single
from octjob.storage import lease

T = TypeVar("T")
_MOST_TURNS = 2_000_000


class SimulatedTime:
    """The hosts' clocks, in seconds from the beginning of all."""

    def __init__(self) -> None:
        self.turns = Turns(self._furthest_behind, _MOST_TURNS)
        self.now: dict[str, float] = {}
        self.waiting: set[str] = set()

    def add(self, name: str, work: Callable[[], object]) -> None:
        """A host."""
        self.now[name] = 0.0
        self.turns.add(name, work)

    def play(self) -> float:
        """Until all have ended; when that was."""
        with self._patched():
            self.turns.play()
        return max(self.now.values())

    @property
    def host(self) -> str:
        """Whose turn it is."""
        assert self.turns.current is not None
        return self.turns.current.name

    def elapse(self, duration_s: float) -> None:
        """The host does something that takes so long; others go on meanwhile."""
        self.now[self.host] += duration_s
        self.turns.pause()

    def _furthest_behind(self, names: list[str]) -> str:
        return min((name for name in names if name not in self.waiting), key=lambda name: self.now[name])

    @contextmanager
    def _patched(self) -> Iterator[None]:
        clock = SimpleNamespace(monotonic=lambda: self.now[self.host], sleep=self.elapse)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(claims, "Lease", partial(lease.Lease, monotonic=clock.monotonic))
            for module in (claims, store):
                patch.setattr(module, "ThreadPoolExecutor", partial(_Pool, self))
            for module in (encode, store):
                patch.setattr(module, "time", clock)
            yield


class _Pool:
    """A `ThreadPoolExecutor` in simulated time."""

    def __init__(self, time: SimulatedTime, max_workers: int, **options: object) -> None:
        self.time, self.max_workers = time, max_workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def map(self, function: Callable[..., T], *each: Iterable[Any]) -> Iterator[T]:
        host = self.time.host
        free, found = [self.time.now[host]] * self.max_workers, []
        for given in zip(*each, strict=True):
            thread = free.index(min(free))
            self.time.now[host] = free[thread]
            found.append(function(*given))
            free[thread] = self.time.now[host]
        self.time.now[host] = max(free)
        return iter(found)

    def shutdown(self, *, cancel_futures: bool = False) -> None:
        pass


class Bucket(Interrupted):
    """A store that takes its time for every request, and counts them."""

    def __init__(self, time: SimulatedTime, latency_s: float) -> None:
        pause = SimpleNamespace(pause=self._asked)
        super().__init__(MemoryStore(), pause)  # type: ignore[arg-type]
        self.time, self.latency_s, self.requests = time, latency_s, 0

    def _asked(self) -> None:
        self.requests += 1
        self.time.elapse(self.latency_s)


class Meeting:
    """Where the hosts of a run exchange what they have: all leave when the last has come."""

    def __init__(self, time: SimulatedTime, size: int) -> None:
        self.time, self.size = time, size
        self.brought: dict[int, Any] = {}
        self.names: list[str] = []
        self.taken: dict[int, list[Any]] = {}

    def exchange(self, index: int, value: T) -> list[T]:
        """What each has brought, by index."""
        self.brought[index] = value
        self.names.append(self.time.host)
        if len(self.names) == self.size:
            self._leave()
        else:
            self.time.waiting.add(self.time.host)
            self.time.turns.pause()
        return self.taken.pop(index)

    def _leave(self) -> None:
        all_of_them = [self.brought[i] for i in range(self.size)]
        self.taken = dict.fromkeys(range(self.size), all_of_them)
        latest = max(self.time.now[name] for name in self.names)
        self.time.now |= dict.fromkeys(self.names, latest)
        self.time.waiting -= set(self.names)
        self.brought, self.names = {}, []


class Host(Single):
    """One process of a run. Encoding needs no more of a runtime than this."""

    def __init__(self, index: int, meeting: Meeting) -> None:
        super().__init__("cpu")
        self.index, self.meeting = index, meeting
        self.num_processes = self.num_shards = meeting.size

    def collect(self, value: T) -> list[T]:
        """See `octjob.runtime.base`."""
        return self.meeting.exchange(self.index, value)

    def agree(self, flag: bool) -> bool:
        """Whether any says so."""
        return any(self.collect(flag))

    def share(self, make: Callable[[], T]) -> T:
        """What process 0 makes."""
        return self.collect(make() if self.index == 0 else None)[0]  # type: ignore[return-value]
