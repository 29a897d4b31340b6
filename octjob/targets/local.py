"""The local target: a sweep's runs as subprocesses of this machine, a few at a time.

A run that exits 75 or dies is started again and continues; 2, 3 and 4 will not mend themselves and fail at once.
Runs stop with their launcher, however it dies, and one that another launcher carries out is waited for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from octjob.errors import AccessError, DataError, Interrupted, SpecError
from octjob.signals import stop_signals
from octjob.spec.run import Run

State = Literal["waiting", "running", "succeeded", "failed", "interrupted"]

_NO_RETRY = (SpecError.exit_code, DataError.exit_code, AccessError.exit_code)
_POLL_S = 0.2
_MAX_CONCURRENCY = 8


@dataclass
class Attempted:
    """A run and how it fares."""

    run: Run
    uri: str
    state: State = "waiting"
    num_failures: int = 0
    exit_code: int | None = None
    log: Path | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)


Listener = Callable[[Sequence[Attempted]], None]


def default_concurrency(num_runs: int) -> int:
    """One run per core, at most eight."""
    return max(1, min(_MAX_CONCURRENCY, os.cpu_count() or 1, num_runs))


def _tell_nobody(items: Sequence[Attempted]) -> None:
    """The listener once its terminal is gone: writing there would be an error."""


def _opened(path: Path) -> IO[bytes]:
    """The log at `path`, to append to. A run needs none: where it cannot be opened, nothing is kept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError:
        return open(os.devnull, "ab")


class LocalTarget:
    """Runs `octjob train` for each run, `concurrency` at a time; logs go to `log_dir/<run id>.log`.

    Call `carry_out` from the main thread: the runs end with the thread that started them.
    """

    def __init__(
        self, log_dir: Path, concurrency: int, max_restarts: int, env: Mapping[str, str], listener: Listener
    ) -> None:
        self.log_dir = log_dir
        self.concurrency = concurrency
        self.max_restarts = max_restarts
        threads = max(1, (os.cpu_count() or 1) // concurrency)
        self.env = {"OMP_NUM_THREADS": str(threads), **os.environ, **env}
        self.listener = listener
        self._signals = 0

    def carry_out(self, runs: Sequence[tuple[Run, str]]) -> list[Attempted]:
        """Run all (run, URI), to the end or until a signal; every run's state comes back.

        The first SIGINT, SIGTERM or SIGHUP lets each run save and exit, a second SIGINT or SIGTERM kills them.
        """
        attempted = [Attempted(run, uri) for run, uri in runs]
        waiting = deque(attempted)
        running: list[Attempted] = []
        handlers = {number: signal.signal(number, self._on_signal) for number in stop_signals()}
        try:
            while running or (waiting and not self._signals):
                while waiting and len(running) < self.concurrency and not self._signals:
                    running.append(self._start(waiting.popleft()))
                self._tell(attempted)
                time.sleep(_POLL_S)
                self._pass_on(running)
                for item in [i for i in running if i.process is not None and i.process.poll() is not None]:
                    running.remove(item)
                    if self._ended(item):
                        waiting.append(item)
        finally:
            for item in running:
                if item.process is not None:
                    item.process.kill()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        for item in waiting:
            item.state = "interrupted"
        self._tell(attempted)
        return attempted

    def _start(self, item: Attempted) -> Attempted:
        item.log = self.log_dir / f"{item.run.run_id}.log"
        command = [sys.executable, "-m", "octjob", "train", "--launcher", str(os.getpid()), "--run", item.uri]
        with _opened(item.log) as log:
            item.process = self._spawn(command, log)
        item.state = "running"
        return item

    def _spawn(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        # A session of its own, so that Ctrl-C reaches the runs once, from us.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=self.env,
            start_new_session=True,
        )

    def _tell(self, items: Sequence[Attempted]) -> None:
        """What becomes of the runs does not depend on whether somebody can be told."""
        try:
            self.listener(items)
        except OSError:
            self.listener = _tell_nobody

    def _on_signal(self, number: int, frame: object) -> None:
        if number == signal.SIGHUP:
            # The kernel and the shell each send one: together they are one request. Nobody is left to be told.
            self.listener = _tell_nobody
            self._signals = max(1, self._signals)
        else:
            self._signals += 1

    def _pass_on(self, running: Sequence[Attempted]) -> None:
        if not self._signals:
            return
        number = signal.SIGTERM if self._signals == 1 else signal.SIGKILL
        for item in running:
            if item.process is not None and item.process.poll() is None:
                item.process.send_signal(number)

    def _ended(self, item: Attempted) -> bool:
        """Note how an attempt ended; True where the run is to be started again."""
        code = item.exit_code = item.process.returncode if item.process is not None else 1
        if code == 0:
            item.state = "succeeded"
            return False
        if self._signals:
            item.state = "interrupted"
            return False
        if code == Interrupted.exit_code:
            item.state = "waiting"
            return True
        item.num_failures += 1
        if code in _NO_RETRY or item.num_failures > self.max_restarts:
            item.state = "failed"
            return False
        item.state = "waiting"
        return True
