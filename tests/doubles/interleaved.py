"""Runs in threads of which one at a time goes on, from one request to a store to the next, as a test chooses.

    turns = Turns(choose)
    turns.add("a", lambda: ..., store)     # the store's requests are where it can be interrupted
    turns.play()

No two runs are ever under way at once, so what they do follows from the choices alone. A killed run makes no more
requests: whatever it holds stays as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from octjob.storage.base import (
    AlreadyExistsError,
    ObjectInfo,
    ObjectNotFoundError,
    ObjectStore,
    VersionConflictError,
    Write,
)


class Killed(BaseException):
    """Stands for SIGKILL."""


@dataclass
class Run:
    """One thread; `go` lets it go on, `waits` says that it has stopped again, or ended."""

    name: str
    work: Callable[[], object]
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    waits: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    is_killed: bool = False
    has_ended: bool = False
    result: Any = None
    error: BaseException | None = None

    def pause(self) -> None:
        """Called by the run's own thread."""
        if not self.is_killed:
            self.waits.release()
            self.go.acquire()
        if self.is_killed:
            raise Killed

    def carry_out(self) -> None:
        """The thread."""
        self.go.acquire()
        try:
            self.result = self.work()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - shown by the test's thread
            self.error = error
        self.has_ended = True
        self.waits.release()


class Turns:
    """Who goes on next. choose(names): one of those under way; may call `kill` before."""

    def __init__(self, choose: Callable[[list[str]], str], most: int = 20_000) -> None:
        self.choose, self.most = choose, most
        self.runs: dict[str, Run] = {}
        self.current: Run | None = None

    def add(self, name: str, work: Callable[[], object]) -> None:
        """A run; it begins when it is first chosen."""
        self.runs[name] = Run(name, work)

    def kill(self, name: str) -> None:
        """The run ends at its next turn."""
        self.runs[name].is_killed = True

    def pause(self) -> None:
        """Where a run may be interrupted; called within a run."""
        assert self.current is not None
        self.current.pause()

    def play(self) -> None:
        """Until all have ended. Fails where that takes more than `most` turns: then somebody waits for good."""
        threads = [threading.Thread(target=run.carry_out, daemon=True) for run in self.runs.values()]
        for thread in threads:
            thread.start()
        for _ in range(self.most):
            under_way = [run.name for run in self.runs.values() if not run.has_ended]
            if not under_way:
                break
            self.current = self.runs[self.choose(under_way)]
            self.current.go.release()
            self.current.waits.acquire()
            if self.current.error is not None:
                raise self.current.error
        else:
            raise AssertionError(f"not over after {self.most} turns: {under_way}")
        for thread in threads:
            thread.join()


class Interrupted:
    """An `ObjectStore` before each of whose requests a run may be interrupted; a killed one's are not carried out."""

    def __init__(self, store: ObjectStore, turns: Turns) -> None:
        self._store, self._turns = store, turns
        self.root = store.root

    def uri(self, key: str) -> str:
        return self._store.uri(key)

    def get(self, key: str) -> bytes:
        self._turns.pause()
        return self._store.get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        self._turns.pause()
        return self._store.get_range(key, start, length)

    def copy_range(self, key: str, start: int, length: int, write: Write) -> None:
        self._turns.pause()
        self._store.copy_range(key, start, length, write)

    def head(self, key: str) -> ObjectInfo:
        self._turns.pause()
        return self._store.head(key)

    def exists(self, key: str) -> bool:
        self._turns.pause()
        return self._store.exists(key)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        self._turns.pause()
        return self._store.put(key, data, if_absent=if_absent, if_version=if_version)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._turns.pause()
        yield from list(self._store.list(prefix))

    def delete(self, key: str) -> None:
        self._turns.pause()
        self._store.delete(key)


class MemoryStore:
    """An `ObjectStore` in memory."""

    def __init__(self, root: str = "memory://store") -> None:
        self.root = root
        self._objects: dict[str, tuple[bytes, str]] = {}
        self._version = 0

    def uri(self, key: str) -> str:
        return f"{self.root}/{key}"

    def get(self, key: str) -> bytes:
        return self._found(key)[0]

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self.get(key)[start : start + length]

    def copy_range(self, key: str, start: int, length: int, write: Write) -> None:
        write(start, self.get_range(key, start, length))

    def head(self, key: str) -> ObjectInfo:
        data, version = self._found(key)
        return ObjectInfo(key, len(data), version)

    def exists(self, key: str) -> bool:
        return key in self._objects

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        if if_absent and key in self._objects:
            raise AlreadyExistsError(f"{self.uri(key)} exists already")
        if if_version is not None and (key not in self._objects or self._objects[key][1] != if_version):
            raise VersionConflictError(f"{self.uri(key)} changed")
        self._version += 1
        self._objects[key] = (data, str(self._version))
        return str(self._version)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for key in sorted(self._objects):
            if key.startswith(prefix):
                yield self.head(key)

    def delete(self, key: str) -> None:
        self._found(key)
        del self._objects[key]

    def _found(self, key: str) -> tuple[bytes, str]:
        if key not in self._objects:
            raise ObjectNotFoundError(f"{self.uri(key)} does not exist")
        return self._objects[key]
