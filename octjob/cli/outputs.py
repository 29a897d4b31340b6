"""Where a process's standard output and error go while one of its runs is carried out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DESCRIPTORS = (1, 2)


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Append what this process, and what it starts, prints in the block to the file at `path`.

    A run needs no log: where the file cannot be opened, it goes where it went.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError:
        yield
        return
    before = [os.dup(number) for number in _DESCRIPTORS]
    try:
        _redirect([file] * len(_DESCRIPTORS))
        yield
    finally:
        _redirect(before)
        for number in (file, *before):
            os.close(number)


def _redirect(targets: list[int]) -> None:
    # What is buffered belongs to where it was printed.
    sys.stdout.flush()
    sys.stderr.flush()
    for target, number in zip(targets, _DESCRIPTORS, strict=True):
        os.dup2(target, number)
