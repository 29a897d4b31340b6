"""A file of which only some bytes are at hand."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any


class NotHeldError(ValueError):
    """Bytes were asked for that are not at hand, or that the file does not have."""


@dataclass(frozen=True, eq=False)
class Excerpt:
    """A file of `size` bytes, and those of it that are held: (first byte, content), ascending and disjoint."""

    size: int
    held: Sequence[tuple[int, bytes | memoryview]]

    def __post_init__(self) -> None:
        spans = [(start, start + len(content)) for start, content in self.held]
        if any(a[1] > b[0] for a, b in pairwise(spans)) or any(
            not 0 <= a <= b <= self.size for a, b in spans
        ):
            raise ValueError(f"bytes {spans} of a file of {self.size}")

    @classmethod
    def whole(cls, data: bytes) -> Excerpt:
        """All of a file."""
        return cls(len(data), ((0, data),))

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return sum(len(content) for _, content in self.held) == self.size

    def open(self) -> io.BufferedReader:
        """A file to read from its first byte on, which ends where what is held in one piece does."""
        is_there = self.held and self.held[0][0] == 0
        return io.BufferedReader(_Bytes(memoryview(self.held[0][1] if is_there else b"")))

    def read(self, start: int, length: int) -> memoryview:
        """Bytes `[start, start + length)`, not copied where they lie in one piece; raises `NotHeldError`."""
        found, place, end = [], start, start + length
        for first, content in self.held[max(0, bisect_right(self.held, start, key=itemgetter(0)) - 1) :]:
            if first > place or place >= end:
                break
            found.append(memoryview(content)[place - first : end - first])
            place += len(found[-1])
        if place != end:
            raise NotHeldError(f"bytes {start} to {end} of {self.size} are not there")
        return found[0] if len(found) == 1 else memoryview(b"".join(found))


class _Bytes(io.RawIOBase):
    """Reads memory that is there without copying all of it, as `BytesIO` does where it is not `bytes`."""

    name = ""  # pydicom asks for a file's

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, room: Any, /) -> int:
        found = self._data[self._place : self._place + len(room)]
        room[: len(found)] = found
        self._place += len(found)
        return len(found)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._data)}[whence]
        self._place = max(0, base + offset)
        return self._place
