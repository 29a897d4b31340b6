"""The local target: a sweep's runs as subprocesses of this machine, a few at a time.

A run that exits 75 or dies is started again and continues; 2, 3 and 4 will not mend themselves and fail at once.
That holds for each run of a bundle, whose process carries out several in turn.
Runs stop with their launcher, however it dies, and one that another launcher carries out is waited for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from octjob.errors import AccessError, DataError, FailedRunsError, Interrupted, SpecError
from octjob.records.layout import run_uri
from octjob.records.state import FINAL, RunState
from octjob.signals import stop_signals
from octjob.spec.expand import Plan
from octjob.spec.run import Run
from octjob.targets.bundles import bundles, size_for
from octjob.targets.traces import Fate, fates_of, num_attempts, trace_of

_NO_RETRY = (SpecError.exit_code, DataError.exit_code, AccessError.exit_code)
_POLL_S = 0.2
_MAX_CONCURRENCY = 8


@dataclass
class Attempted:
    """A run and where it stands: Pending until it is begun, Restarting between two attempts.

    num_failures: attempts that count towards max_restarts. exit_code, log: of its last attempt.
    """

    run: Run
    uri: str
    state: RunState = "Pending"
    num_failures: int = 0
    exit_code: int | None = None
    log: Path | None = None


@dataclass(frozen=True)
class _Bundle:
    """Runs and the process that carries them out. attempts: how many each had before; of one run nobody asks."""

    items: Sequence[Attempted]
    process: subprocess.Popen[bytes]
    attempts: Sequence[int]


Listener = Callable[[Sequence[Attempted]], None]


def default_concurrency(num_processes: int) -> int:
    """One process per core, at most eight and no more than there are."""
    return max(1, min(_MAX_CONCURRENCY, os.cpu_count() or 1, num_processes))


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
    """Runs `octjob train` for each bundle, `concurrency` at a time; logs go to `log_dir/<run id>.log`.

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

    def carry_out(self, bundles: Sequence[Sequence[tuple[Run, str]]]) -> list[Attempted]:
        """Run all (run, URI), those of a bundle in one process, to the end or until a signal; every run's state comes
        back, in the order given.

        The first SIGINT, SIGTERM or SIGHUP lets each run save and exit, a second SIGINT or SIGTERM kills them.
        """
        waiting = deque([Attempted(run, uri) for run, uri in bundle] for bundle in bundles)
        attempted = [item for bundle in waiting for item in bundle]
        running: list[_Bundle] = []
        handlers = {number: signal.signal(number, self._on_signal) for number in stop_signals()}
        try:
            while running or (waiting and not self._signals):
                while waiting and len(running) < self.concurrency and not self._signals:
                    running.append(self._start(waiting.popleft()))
                self._tell(attempted)
                time.sleep(_POLL_S)
                self._pass_on(running)
                for bundle in [each for each in running if each.process.poll() is not None]:
                    running.remove(bundle)
                    waiting.extend(self._ended(bundle))
        finally:
            for bundle in running:
                bundle.process.kill()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        for items in waiting:
            for item in items:
                item.state = "Interrupted" if item.state == "Restarting" else item.state
        self._tell(attempted)
        return attempted

    def _start(self, items: Sequence[Attempted]) -> _Bundle:
        command = [sys.executable, "-m", "octjob", "train", "--launcher", str(os.getpid())]
        if len(items) > 1:
            command += ["--logs", str(self.log_dir)]
        for item in items:
            command += ["--run", item.uri]
            item.log = self.log_dir / f"{item.run.run_id}.log"
            item.state = "Running"
        attempts = [num_attempts(item.uri) for item in items] if len(items) > 1 else []
        with _opened(self.log_dir / f"{items[0].run.run_id}.log") as log:
            if log.name == os.devnull:
                items[0].log = None
            return _Bundle(items, self._spawn(command, log), attempts)

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

    def _pass_on(self, running: Sequence[_Bundle]) -> None:
        if not self._signals:
            return
        number = signal.SIGTERM if self._signals == 1 else signal.SIGKILL
        for bundle in running:
            if bundle.process.poll() is None:
                bundle.process.send_signal(number)

    def _ended(self, bundle: _Bundle) -> list[list[Attempted]]:
        """Note how each run of a bundle ended; the bundles that are to be started."""
        code = bundle.process.returncode
        if len(bundle.items) == 1:
            fates: list[Fate] = [code]
        else:
            traces = [
                trace_of(item.uri, bundle.process.pid, before)
                for item, before in zip(bundle.items, bundle.attempts, strict=True)
            ]
            fates = fates_of(traces, code)
        again: list[Attempted] = []
        alone: list[list[Attempted]] = []
        for item, fate in zip(bundle.items, fates, strict=True):
            if isinstance(fate, int):
                if self._noted(item, fate):
                    again.append(item)
                continue
            item.exit_code = None
            if fate == "Pending":
                item.state = fate
                again.append(item)
            else:
                item.state = "Restarting"
                alone.append([item])
        return [again, *alone] if again else alone

    def _noted(self, item: Attempted, code: int) -> bool:
        """Note the exit code of an attempt; True where the run is to be started again."""
        item.exit_code = code
        if code == 0:
            item.state = "Succeeded"
            return False
        if self._signals:
            item.state = "Interrupted"
            return False
        if code == Interrupted.exit_code:
            item.state = "Restarting"
            return True
        item.num_failures += 1
        if code in _NO_RETRY or item.num_failures > self.max_restarts:
            item.state = "Failed"
            return False
        item.state = "Restarting"
        return True


def carry_out(
    planned: Plan,
    todo: Sequence[Run],
    concurrency: int | None,
    bundle: int | None,
    listener: Listener = _tell_nobody,
) -> None:
    """Run these runs of the plan here; logs go beside the results, or to the temporary folder.

    concurrency: processes at a time. bundle: up to so many probes share one. None: as the plan says, or else as many
    as leave none idle.

    Raises `FailedRunsError` where runs failed, `Interrupted` after a signal.
    """
    most = concurrency or planned.compute.concurrency or default_concurrency(len(todo))
    groups = bundles(todo, bundle or planned.compute.bundle or size_for(todo, most))
    # Fewer, so that each gets more of the cores' threads, where the bundles do not take them all.
    count = concurrency or planned.compute.concurrency or default_concurrency(len(groups))
    target = LocalTarget(
        _log_dir(planned), count, planned.compute.max_restarts, planned.compute.env, listener
    )
    outcome = target.carry_out(
        [[(run, run_uri(planned.output, run.run_id)) for run in group] for group in groups]
    )
    _conclude(outcome)


def _log_dir(planned: Plan) -> Path:
    if planned.output.startswith("file://"):
        return Path(planned.output.removeprefix("file://")) / "logs"
    return Path(tempfile.gettempdir()) / "octjob-logs" / planned.name


def _conclude(outcome: Sequence[Attempted]) -> None:
    unfinished = [item for item in outcome if item.state not in FINAL]
    if unfinished:
        raise Interrupted(
            f"{len(unfinished)} runs not finished, their state is saved", "The same command continues."
        )
    failed = [item for item in outcome if item.state == "Failed"]
    if failed:
        names = ", ".join(item.run.run_id for item in failed[:3])
        where = f"See {failed[0].log}, or `octjob status`" if failed[0].log else "`octjob status` says why"
        raise FailedRunsError(
            f"{len(failed)} of {len(outcome)} runs failed: {names}{', ...' if len(failed) > 3 else ''}",
            f"{where}; the same command tries them again.",
        )
