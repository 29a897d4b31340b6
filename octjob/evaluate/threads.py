"""Work shared out among threads of our own.

numpy leaves Python's lock in its long operations. Its linear algebra has threads besides, which spin while they wait:
for many small products they take a core each and give nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_MOST = 8


def num_threads() -> int:
    """The cores this process may use, at most 8: each thread holds a few MB."""
    return min(_MOST, len(os.sched_getaffinity(0)))


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`function` of each item, in their order."""
    with ThreadPoolExecutor(num_threads()) as pool:
        return list(pool.map(function, items))


@contextmanager
def plain_linear_algebra() -> Iterator[None]:
    """Without threads of numpy's linear algebra, in this process, for as long as the block lasts."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield
