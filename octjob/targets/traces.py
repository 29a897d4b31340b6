"""How the runs of a process that carried out several ended: its one exit code does not say, the store does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from octjob.errors import FailedRunsError, Interrupted, OctjobError
from octjob.records.layout import RESULT, read_progress, run_key, split_run_uri
from octjob.storage.open import open_store

# "unknown": tried, but nothing says how it ended.
State = Literal["finished", "failed", "interrupted", "under way", "not begun", "unknown"]
# An exit code, as of a process of its own; or the run has not begun; or only a process of its own will tell.
Fate = int | Literal["not begun", "unknown"]


@dataclass(frozen=True)
class Trace:
    """What a process left of one of its runs. exit_code: of one that failed."""

    state: State
    exit_code: int = 0


def num_attempts(run_uri: str) -> int:
    """How many attempts the run has had; 0 where the store does not say."""
    output, run_id = split_run_uri(run_uri)
    try:
        progress = read_progress(open_store(output), run_id)
    except OctjobError:
        return 0
    return progress.attempt if progress else 0


def trace_of(run_uri: str, pid: int, attempts_before: int) -> Trace:
    """What process `pid`, which has ended, left of a run that had had `attempts_before` attempts when it began."""
    output, run_id = split_run_uri(run_uri)
    store = open_store(output)
    try:
        if store.exists(run_key(run_id, RESULT)):
            return Trace("finished")
        progress = read_progress(store, run_id)
    except OctjobError:
        return Trace("unknown")
    # The heartbeat may be an earlier attempt's, or another launcher's whose end the process was waiting for.
    if progress is None or progress.attempt <= attempts_before or progress.pid != pid:
        return Trace("not begun")
    if progress.stage == "failed":
        return Trace("failed", progress.failure.exit_code if progress.failure else OctjobError.exit_code)
    return Trace("interrupted" if progress.stage == "interrupted" else "under way")


def fates_of(traces: Sequence[Trace], exit_code: int) -> list[Fate]:
    """What the runs of a process ended with, which itself ended with `exit_code`.

    Where it has come to none of its runs, its end is that of each: else they would be started for ever.
    """
    if exit_code == 0:
        return [0] * len(traces)
    idle = all(trace.state == "not begun" for trace in traces)
    return [_fate(trace, exit_code, idle=idle) for trace in traces]


def _fate(trace: Trace, exit_code: int, *, idle: bool) -> Fate:
    if trace.state == "finished":
        return 0
    if trace.state == "failed":
        return trace.exit_code
    if trace.state == "interrupted":
        return Interrupted.exit_code
    if trace.state == "unknown" or exit_code == FailedRunsError.exit_code:
        # It came to all of them: this one failed before its first heartbeat, or could not write its last.
        return "unknown"
    if trace.state == "under way" or idle:
        return exit_code
    return "not begun"
