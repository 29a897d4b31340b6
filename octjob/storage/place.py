"""Where the bytes of a range go: the same place of an open file."""

from __future__ import annotations

import io
import os
from typing import Any

from octjob.storage.patience import DamagedBytesError

# Small enough that its memory is used again and again: fresh pages cost more than the copying.
PIECE_BYTES = 1 << 18


class Place(io.RawIOBase):
    """Bytes `[start, start + length)` of the open file `file`, written front to back.

    It moves no position of the file's, so that threads may fill one file together. More than `length` bytes are
    a server's mistake, `DamagedBytesError`: they would be written over another range.
    """

    def __init__(self, file: int, start: int, length: int) -> None:
        self._file = file
        self._start = start
        self._length = length
        self.number = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        rest = memoryview(data)
        if self.number + len(rest) > self._length:
            raise DamagedBytesError(f"more than {self._length} bytes from {self._start}")
        number = os.pwrite(self._file, rest, self._start + self.number)
        self.number += number
        return number
