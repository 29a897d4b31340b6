"""A `Write` into memory of its own, in which a store may put the bytes itself."""

from __future__ import annotations


class Placed:
    """`copy` of `size` bytes, zeros until they are written; `num_in_place` of them came without a copy."""

    def __init__(self, size: int) -> None:
        self.copy = bytearray(size)
        self.num_in_place = 0

    def __call__(self, at: int, piece: bytes | memoryview) -> None:
        if isinstance(piece, memoryview) and piece.obj is self.copy:
            self.num_in_place += len(piece)
        else:
            self.copy[at : at + len(piece)] = piece

    def place(self, at: int, length: int) -> memoryview:
        """The memory itself."""
        return memoryview(self.copy)[at : at + length]
