"""No control plane outlives the tests it was started for, not even when they are killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def removed_with_this_process(data: Path, module: str = "tests.cluster") -> Iterator[None]:
    """Should the test process be killed, a process that waits for just that stops what it had started.

    module: whose `down --data DATA --after-stdin` does it.
    """
    command = [sys.executable, "-m", module, "down", "--data", str(data), "--after-stdin"]
    root = Path(__file__).parents[2]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=root, start_new_session=True)
    try:
        yield
    finally:
        watcher.communicate()
