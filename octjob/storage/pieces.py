"""A range of an object, in the pieces in which it arrives."""

from __future__ import annotations

import io
from typing import Any, Protocol, runtime_checkable

from octjob.storage.base import Write
from octjob.storage.patience import DamagedBytesError

# Small enough that its memory is used again and again: fresh pages cost more than the copying.
PIECE_BYTES = 1 << 18
# What is received where it belongs takes no memory besides.
_PLACED_BYTES = 1 << 20


@runtime_checkable
class Placing(Protocol):
    """A `Write` that may have memory for bytes to come, which then need not be copied there."""

    def __call__(self, at: int, piece: bytes | memoryview, /) -> object:
        """As any `Write`; a piece that lies in `place` already is given all the same."""
        ...

    def place(self, at: int, length: int) -> memoryview | None:
        """Where bytes `[at, at + length)` of the object belong; None where they must be given to be written."""
        ...


class Pieces(io.RawIOBase):
    """Passes on to `write` what is written to it, as bytes of an object from `start` on.

    More than `length` bytes are a server's mistake, `DamagedBytesError`: they would be taken for another range's.
    """

    def __init__(self, write: Write, start: int, length: int) -> None:
        self._write = write
        self._placing = write if isinstance(write, Placing) else None
        self._start = start
        self._length = length
        self.number = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        number = len(data)
        if self.number + number > self._length:
            raise DamagedBytesError(f"more than {self._length} bytes from {self._start}")
        self._write(self._start + self.number, data)
        self.number += number
        return number

    def place(self) -> memoryview | None:
        """Where the next piece belongs, to be written when it lies there; None where it may lie anywhere."""
        length = min(_PLACED_BYTES, self._length - self.number)
        return self._placing.place(self._start + self.number, length) if self._placing and length else None
