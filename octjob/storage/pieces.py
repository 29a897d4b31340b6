"""A range of an object, in the pieces in which it arrives."""

from __future__ import annotations

import io
from typing import Any

from octjob.storage.base import Write
from octjob.storage.patience import DamagedBytesError

# Small enough that its memory is used again and again: fresh pages cost more than the copying.
PIECE_BYTES = 1 << 18


class Pieces(io.RawIOBase):
    """Passes on to `write` what is written to it, as bytes of an object from `start` on.

    More than `length` bytes are a server's mistake, `DamagedBytesError`: they would be taken for another range's.
    """

    def __init__(self, write: Write, start: int, length: int) -> None:
        self._write = write
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
