"""A file of which only some bytes are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


class NotHeldError(ValueError):
    """Bytes were asked for that are not at hand, or that the file does not have."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """A file of `size` bytes, and those of it that are held: (first byte, content), ascending and disjoint."""

    size: int
    held: Sequence[tuple[int, bytes | memoryview]]

    def __post_init__(self) -> None:
        spans = [(start, start + len(content)) for start, content in self.held]
        if any(a[1] > b[0] for a, b in pairwise(spans)) or any(
            not 0 <= a <= b <= self.size for a, b in spans
        ):
            raise ValueError(f"pieces {spans} of a file of {self.size} bytes")

    @classmethod
    def whole(cls, data: bytes) -> Pieces:
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
        found, place = [], start
        for first, content in self.held:
            if first <= place < first + len(content) and place < start + length:
                found.append(memoryview(content)[place - first : start + length - first])
                place += len(found[-1])
        if place != start + length or length < 0:
            raise NotHeldError(f"bytes {start} to {start + length} of {self.size} are not there")
        return found[0] if len(found) == 1 else memoryview(b"".join(found))
