"""Clients that hold sockets must not cross a fork, nor be pickled: each process makes its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Calls `make` on first use in each process and keeps the result.

    Two threads may both make one at first use and one result is dropped: cheaper than a lock, which a fork
    could leave held forever.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: tuple[int, T] | None = None

    def get(self) -> T:
        """This process's value."""
        made = self._made
        if made is None or made[0] != os.getpid():
            made = (os.getpid(), self._make())
            self._made = made
        return made[1]
