"""The forking trainer (`forking_trainer`), seen from a test."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from doubles import forking_trainer
from doubles.tiny_sweep import uri_of
from octjob.spec.run import Run


class Trainers:
    """The forking trainer as a subprocess; what its children print is appended to `log`."""

    def __init__(self, log: Path) -> None:
        command = [sys.executable, forking_trainer.__file__]
        self.log = log
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def attempt(
        self,
        runs: Run | Sequence[Run],
        after: int | str | None = None,
        number: int = signal.SIGKILL,
        threads: int = 1,
        hosts: int = 1,
        struck: int = 0,
    ) -> dict[str, Any]:
        """One attempt at a run, or several in one process, struck by signal `number` after the `after`-th event,
        or the write of a key that ends in `after`. Several hosts carry one run out together; `struck` is struck.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        several = [runs] if isinstance(runs, Run) else runs
        request = {
            "uris": [uri_of(run) for run in several],
            "after": after,
            "signal": number,
            "log": str(self.log),
            "threads": threads,
            "hosts": hosts,
            "struck": struck,
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        """Let it end."""
        self.process.communicate()
