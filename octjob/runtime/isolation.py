"""What a run changes in its process, put back: the next one there starts as in a process of its own."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch


@contextmanager
def isolated() -> Iterator[None]:
    """Put back threads, random states, warnings and the root logger as they were when the block began.

    An earlier attempt's number of threads would change the next run's last bits; a library's handler would write the
    next run's lines twice. Kernels stay deterministic, which every run asks for.
    """
    with ExitStack() as undo:
        undo.enter_context(warnings.catch_warnings())
        undo.enter_context(_num_threads())
        undo.enter_context(_random_states())
        undo.enter_context(_root_logger())
        yield


@contextmanager
def _num_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


@contextmanager
def _random_states() -> Iterator[None]:
    ours, numpys, torchs = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)
        torch.set_rng_state(torchs)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            # A GPU that nobody used yet has the seed of the CPU.
            torch.cuda.manual_seed_all(torch.initial_seed())


@contextmanager
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
