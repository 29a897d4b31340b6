"""Files that lie in memory alone and travel to another process by their descriptor.

Legend: n bytes.
"""

from __future__ import annotations

import itertools
import mmap
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from operator import itemgetter
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

_PIECE_BYTES = 1 << 20


class Memory:
    """Room for `capacity` bytes, zeros until they are written, which take no memory until then.

    It may be used again and again: memory that is fresh costs more than what is done with it.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.descriptor = os.memfd_create("octjob-volume")
        self._mapped: mmap.mmap | None = None
        os.truncate(self.descriptor, capacity)

    def use_again(self) -> None:
        """Map what has been written once, so that writing is a copy and no call of the system any more."""
        if self._mapped is None and self.capacity:
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
            self._mapped = mmap.mmap(self.descriptor, self.capacity, flags=flags)

    def write(self, place: int, data: bytes | memoryview) -> None:
        """Put `data` at `place`, where it may lie already (`room`); threads may write side by side.

        Raises `ValueError` where it has no room.
        """
        rest = memoryview(data).cast("B")
        if place + len(rest) > self.capacity:
            raise ValueError(f"{len(rest)} bytes at {place} of {self.capacity}")
        if self._mapped is not None:
            if rest.obj is not self._mapped:
                self._mapped[place : place + len(rest)] = rest
            return
        while rest:
            number = os.pwrite(self.descriptor, rest, place)
            place, rest = place + number, rest[number:]

    def room(self, place: int, length: int) -> memoryview | None:
        """The memory itself, to be filled and then given to `write` for this very place; None where not mapped."""
        return None if self._mapped is None else memoryview(self._mapped)[place : place + length]

    def read(self, place: int, length: int) -> NDArray[np.uint8]:
        """(n,) uint8 from `place` on: a copy, or the memory itself."""
        if self._mapped is not None:
            return np.frombuffer(self._mapped, np.uint8, length, place)
        return received(self.descriptor, length, place)

    def close(self) -> None:
        """Give the memory back, as soon as nobody else has it open."""
        self._mapped = None
        os.close(self.descriptor)


def close_memory(memory: Memory | None) -> None:
    """What becomes of memory that nobody uses again."""
    if memory is not None:
        memory.close()


class MemoryFile:
    """A file of `size` bytes, or as much of it as is held. As a context manager it is closed at the end.

    held: the spans (first byte, the one behind the last) that are to be written, ascending and disjoint, None for all
    of it; they lie one behind the other. take: gives memory of at least so many bytes, once, when the first are
    written. give: takes it back when the file is closed, None where none was needed.
    """

    def __init__(
        self,
        size: int,
        held: tuple[tuple[int, int], ...] | None = None,
        take: Callable[[int], Memory] = Memory,
        give: Callable[[Memory | None], object] = close_memory,
    ) -> None:
        self._closed = True
        self.size = size
        self.held = held
        spans = ((0, size),) if held is None else held
        self._starts = list(itertools.accumulate((end - start for start, end in spans), initial=0))
        self._spans = spans
        self._take, self._give = take, give
        self._taken: Memory | None = None
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def of(cls, data: bytes | memoryview) -> Self:
        """One that holds `data`."""
        file = cls(len(memoryview(data).cast("B")))
        file.write(0, data)
        return file

    @property
    def num_bytes(self) -> int:
        """Bytes that are held."""
        return self._starts[-1]

    @property
    def _memory(self) -> Memory:
        with self._lock:
            if self._taken is None:
                self._taken = self._take(self.num_bytes)
            return self._taken

    @property
    def descriptor(self) -> int:
        """Of the memory, in which the first `num_bytes` bytes are what is held."""
        return self._memory.descriptor

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Put `data` at byte `start` of the file, within one span that is held; threads may write side by side."""
        self._memory.write(self._place(start, len(data)), data)

    def place(self, start: int, length: int) -> memoryview | None:
        """Where `length` bytes from byte `start` on belong, to be filled and then given to `write`; None where they
        can only be written."""
        return self._memory.room(self._place(start, length), length)

    def _place(self, start: int, length: int) -> int:
        """Where in the memory byte `start` of the file lies, with `length` bytes behind it."""
        index = bisect_right(self._spans, start, key=itemgetter(0)) - 1
        first, end = self._spans[index] if index >= 0 else (0, 0)
        if length and not first <= start <= start + length <= end:
            raise ValueError(f"{length} bytes at {start} are not among those that are held")
        return self._starts[max(index, 0)] + start - first

    def pieces(self) -> Iterator[NDArray[np.uint8]]:
        """What is held, from front to back, to be looked at before the file is closed."""
        for start in range(0, self.num_bytes, _PIECE_BYTES):
            yield self._memory.read(start, min(_PIECE_BYTES, self.num_bytes - start))

    def read(self) -> bytes:
        """All that is held."""
        return b"".join(piece.data for piece in self.pieces())

    def close(self) -> None:
        """Give its memory back; what others have received of it stays."""
        if not self._closed:
            self._closed = True
            self._give(self._taken)
            self._taken = None

    def __del__(self) -> None:
        # One that nobody waits for any more, after the reading was broken off.
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def received(descriptor: int, num_bytes: int, place: int = 0) -> NDArray[np.uint8]:
    """(n,) uint8: a copy of so many bytes of a memory file, from `place` on.

    numpy's large arrays lie in huge pages; to map the file would cost more than to copy it. Raises `EOFError` where
    it is shorter.
    """
    data_n = np.empty(num_bytes, np.uint8)
    rest = data_n.data
    while rest:
        number = os.preadv(descriptor, [rest], place)
        if not number:
            raise EOFError(f"{len(rest)} of {num_bytes} bytes are missing")
        place, rest = place + number, rest[number:]
    return data_n
