"""How many threads a step of small heads takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# So many multiplications take one core a millisecond or two; beyond, more threads are worth their meeting.
FEW = 2**24


@contextmanager
def as_many_as_worth(num_multiplications: int) -> Iterator[None]:
    """Within the block one thread for little work, those that there are for more.

    torch wakes its threads for every product and every parameter that the fused AdamW moves, however small, and waits
    spinning until each had a core: on cores that others use too, milliseconds a step instead of microseconds.
    """
    before = torch.get_num_threads()
    if before == 1 or num_multiplications > FEW:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
