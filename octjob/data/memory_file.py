"""A file that lies in memory alone and travels to another process without a copy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

_PIECE_BYTES = 1 << 20


class MemoryFile:
    """`size` bytes, zeros until they are written, which take no memory. As a context manager it is closed at the end.

    on_close: called once, when it is closed. held: the spans that are to be written, None for all of it.
    """

    def __init__(
        self,
        size: int,
        on_close: Callable[[], object] | None = None,
        held: tuple[tuple[int, int], ...] | None = None,
    ) -> None:
        self.size = size
        self.held = held
        self.descriptor = os.memfd_create("octjob-volume")
        self._on_close = on_close
        os.truncate(self.descriptor, size)

    @classmethod
    def of(cls, data: bytes | memoryview) -> Self:
        """One that holds `data`."""
        file = cls(len(data))
        file.write(0, data)
        return file

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Put `data` at `start`; threads may write side by side."""
        rest = memoryview(data).cast("B")
        while rest:
            number = os.pwrite(self.descriptor, rest, start)
            start, rest = start + number, rest[number:]

    def pieces(self) -> Iterator[bytes]:
        """Its content from front to back."""
        for start in range(0, self.size, _PIECE_BYTES):
            yield os.pread(self.descriptor, _PIECE_BYTES, start)

    def read(self) -> bytes:
        """Its whole content."""
        return b"".join(self.pieces())

    def close(self) -> None:
        """Give its memory back; what others have mapped or received of it stays."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
            if self._on_close is not None:
                self._on_close()

    def __del__(self) -> None:
        # One that nobody waits for any more, after the reading was broken off.
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
