"""How the runs of a process that carried out several ended: its one exit code does not say, the store does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octjob.errors import FailedRunsError, Interrupted, OctjobError
from octjob.records.layout import RESULT, read_progress, run_key, split_run_uri
from octjob.records.state import RunState, state_at
from octjob.storage.open import open_store

# An exit code, as of a process of its own; else Pending, where the run has not begun, or Unreadable, where only a
# process of its own will tell how it ends.
Fate = int | RunState


@dataclass(frozen=True)
class Trace:
    """What a process that has ended left of one of its runs.

    state: Running where its last word was a sign of life, Pending where it left none, Unreadable where the store does
    not say. exit_code: of one that failed.
    """

    state: RunState
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
            return Trace("Succeeded")
        progress = read_progress(store, run_id)
    except OctjobError:
        return Trace("Unreadable")
    # The heartbeat may be an earlier attempt's, or another launcher's whose end the process was waiting for.
    if progress is None or progress.attempt <= attempts_before or progress.pid != pid:
        return Trace("Pending")
    state = state_at(progress.stage)
    if state == "Failed":
        return Trace(state, progress.failure.exit_code if progress.failure else OctjobError.exit_code)
    return Trace(state)


def fates_of(traces: Sequence[Trace], exit_code: int) -> list[Fate]:
    """What the runs of a process ended with, which itself ended with `exit_code`.

    Where it has come to none of its runs, its end is that of each: else they would be started for ever.
    """
    if exit_code == 0:
        return [0] * len(traces)
    idle = all(trace.state == "Pending" for trace in traces)
    return [_fate(trace, exit_code, idle=idle) for trace in traces]


def _fate(trace: Trace, exit_code: int, *, idle: bool) -> Fate:
    if trace.state == "Succeeded":
        return 0
    if trace.state == "Failed":
        return trace.exit_code
    if trace.state == "Interrupted":
        return Interrupted.exit_code
    if trace.state == "Unreadable" or exit_code == FailedRunsError.exit_code:
        # It came to all of them: this one failed before its first heartbeat, or could not write its last.
        return "Unreadable"
    if trace.state == "Running" or idle:
        return exit_code
    return "Pending"
