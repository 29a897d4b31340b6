"""A file of which only some bytes are at hand."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter


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

    @property
    def head(self) -> bytes:
        """What is held from the file's first byte on, as far as it goes in one piece."""
        return bytes(self.held[0][1]) if self.held and self.held[0][0] == 0 else b""

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
