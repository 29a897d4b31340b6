"""A disk that fails on call: every operation below one folder passes a hook, which may raise, kill or cut it short.

    with BadDisk(folder, hook):
        ...

`hook(operation, path)` is called before each: open, write, fsync, link, rename, utime, mkdir, unlink, scandir, stat,
read. What it raises, the operation raises; where it returns `SHORT`, half is written or read; where it returns
`LATE`, the operation is done and says that it was not, as after a reply that was lost.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import random
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

SHORT, LATE = "short", "late"
Hook = Callable[[str, str], str | None]
# The functions of `os` that change something, or read names; the path is the first argument.
_OF_OS = {
    "link": "link",
    "replace": "rename",
    "utime": "utime",
    "mkdir": "mkdir",
    "unlink": "unlink",
    "scandir": "scandir",
    "stat": "stat",
}


class BadDisk:
    """Hooks into `open` and `os` while the block runs, for this process and what it forks."""

    def __init__(self, folder: object, hook: Hook) -> None:
        self.folder, self.hook = os.path.realpath(str(folder)), hook
        self._real: dict[tuple[Any, str], Any] = {}

    def __enter__(self) -> Self:
        for name, operation in _OF_OS.items():
            self._patch(os, name, self._hooked(getattr(os, name), operation))
        self._patch(os, "fsync", self._fsync(os.fsync))
        opened = self._open(builtins.open)
        self._patch(builtins, "open", opened)
        self._patch(io, "open", opened)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for (owner, name), real in self._real.items():
            setattr(owner, name, real)

    def _patch(self, owner: Any, name: str, value: Any) -> None:
        self._real[owner, name] = getattr(owner, name)
        setattr(owner, name, value)

    def _is_below(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and f"{os.fspath(path)}/".startswith(f"{self.folder}/")

    def _hooked(self, real: Any, operation: str) -> Any:
        def call(path: Any, *args: Any, **options: Any) -> Any:
            late = self._is_below(path) and self.hook(operation, str(path)) == LATE
            done = real(path, *args, **options)
            if late:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return done

        return call

    def _fsync(self, real: Any) -> Any:
        def fsync(fd: int) -> None:
            path = os.readlink(f"/proc/self/fd/{fd}")
            if self._is_below(path):
                self.hook("fsync", path)
            real(fd)

        return fsync

    def _open(self, real: Any) -> Any:
        def opened(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            if mode not in ("rb", "xb", "wb", "ab") or not self._is_below(file):
                return real(file, mode, *args, **options)
            self.hook("open", str(file))
            raw = _Raw(os.fspath(file), mode[0], self.hook)
            return io.BufferedReader(raw) if mode == "rb" else io.BufferedWriter(raw)

        return opened


class _Raw(io.FileIO):
    def __init__(self, path: str, mode: str, hook: Hook) -> None:
        super().__init__(path, mode)
        self._hook = hook

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        if self._hook("write", str(self.name)) == SHORT and len(view) > 1:
            view = view[: len(view) // 2]
        return super().write(view)

    def readall(self) -> bytes:
        short = self._hook("read", str(self.name)) == SHORT
        data = super().readall()
        return data[: len(data) // 2] if short else data

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        if self._hook("read", str(self.name)) == SHORT and len(view) > 1:
            view = view[: len(view) // 2]
        return super().readinto(view)


class At:
    """A hook that acts at the `number`-th operation, from 1, and counts them all.

    changes: count only what needs room or can leave something behind, not what reads or removes.
    """

    def __init__(self, number: int | None, act: Callable[[], str | None], *, changes: bool = True) -> None:
        self.number, self.act, self.changes, self.count = number, act, changes, 0

    def __call__(self, operation: str, path: str) -> str | None:
        if self.changes and operation in ("read", "stat", "scandir", "unlink"):
            return None
        self.count += 1
        return self.act() if self.count == self.number else None


def raising(number: int) -> Callable[[], str | None]:
    """Raise `OSError` of this errno."""

    def act() -> str | None:
        raise OSError(number, os.strerror(number))

    return act


class Weather:
    """A hook: a share `rate` of all operations meets a fault of a network file system, at random."""

    def __init__(self, seed: int, rate: float) -> None:
        self.rng, self.rate = random.Random(seed), rate
        self.struck: Counter[str] = Counter()

    def __call__(self, operation: str, path: str) -> str | None:
        if self.rng.random() >= self.rate:
            return None
        kinds = [errno.EIO, errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT]
        kind: int | str = self.rng.choice([*kinds, {"read": SHORT, "write": SHORT}.get(operation, LATE)])
        if isinstance(kind, int):
            self.struck[errno.errorcode[kind]] += 1
            raise OSError(kind, os.strerror(kind), path)
        self.struck[kind] += 1
        # Opening twice, or a second mkdir, is nothing that a late answer could spoil.
        return kind if operation in ("read", "write", "link", "rename", "unlink", "utime") else None


class Full:
    """A hook: no room from the `number`-th change on, until `free`."""

    def __init__(self, number: int) -> None:
        self.number, self.count, self.free = number, 0, False

    def __call__(self, operation: str, path: str) -> str | None:
        if operation in ("open", "write", "fsync", "link", "mkdir"):
            self.count += 1
            if self.count >= self.number and not self.free and not _reads(operation, path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return None


def _reads(operation: str, path: str) -> bool:
    return operation == "open" and os.path.exists(path)
