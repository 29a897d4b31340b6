"""The forking `octjob` as a subprocess of a test."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from doubles import forking_octjob


@dataclass(frozen=True)
class Ended:
    """How a command ended; see `forking_octjob`. said: what it and its runs wrote."""

    exit: int
    changes: int
    left: list[int]
    left_s: float
    said: str
    beside: int | None = None


class Octjobs:
    """Runs commands one after the other."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "octjobs.log"
        self.process = subprocess.Popen(
            [sys.executable, forking_octjob.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.communicate()

    def __call__(self, *args: object, **strike: Any) -> Ended:
        """One command. strike: what `forking_octjob` takes beside."""
        self.begin(*args, **strike)
        return self.end()

    def begin(self, *args: object, **strike: Any) -> None:
        """Start a command and do not wait for it."""
        assert self.process.stdin is not None
        self.log.unlink(missing_ok=True)
        request = {"args": [str(arg) for arg in args], "log": str(self.log), **strike}
        self.process.stdin.write(json.dumps(request, default=str) + "\n")
        self.process.stdin.flush()

    def end(self) -> Ended:
        """Wait for it, and for whatever it started."""
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        return Ended(**answer, said=self.log.read_text())
