"""A run's log as a place gives it: what is asked for, what comes back, and why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from octjob.records.textlog import Line, NoLogError, stored_attempt, stored_lines

if TYPE_CHECKING:
    from octjob.records.status import RunStatus
    from octjob.storage.base import ObjectStore

# Hears what a reader should know that is in no log, a line each.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """Which lines. worker: this host's alone. attempt: from 1. tail: of each worker. follow: until the run ends."""

    worker: int | None = None
    attempt: int | None = None
    tail: int | None = None
    follow: bool = False


@dataclass(frozen=True)
class RunLog:
    """Lines as they come; numbered: they are of several workers."""

    lines: Iterator[Line]
    numbered: bool


def read_stored(store: ObjectStore, run_id: str, wanted: Wanted, say: Say) -> RunLog | None:
    """An attempt's log from the store; None where no attempt has left one.

    Raises `NoLogError` where others did.
    """
    logs = stored_attempt(store, run_id, wanted.attempt, wanted.worker)
    if not logs:
        return None
    say(f"-- attempt {logs[0].attempt} of run {run_id}, from the store")
    lines = stored_lines(store, run_id, logs, wanted.tail)
    return RunLog(lines, numbered=wanted.worker is None and len(logs) > 1)


def no_log(one: RunStatus) -> NoLogError:
    """Why a run that stands there has none."""
    if one.final:
        return NoLogError(f"run {one.run_id}: no log is left: {in_words(one)}")
    return NoLogError(
        f"run {one.run_id}: no log yet: {in_words(one)}",
        "`--follow` waits for it; `octjob status` shows all runs of the sweep.",
    )


def in_words(one: RunStatus) -> str:
    """Where a run stands, in half a sentence."""
    parts: list[str] = [one.state]
    if one.position is not None:
        parts.append(f"{one.position} of {one.queue_length} in queue {one.queue}")
    parts += [" ".join(text.split()) for text in (one.reason or one.message,) if text]
    return ", ".join(parts)
