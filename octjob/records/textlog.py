"""The logs of a run's attempts as they lie in the store, merged by time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from octjob.errors import AccessError
from octjob.records.layout import StoredLog, list_attempt_logs, read_attempt_log
from octjob.storage.base import ObjectStore

# `2026-11-23 00:59:17,123`, with which every record of the trainer's log begins.
_STAMP_LENGTH = 23


@dataclass(frozen=True)
class Line:
    """A line of a log, without its end. worker: the host of the slice, from 0."""

    worker: int
    text: bytes


class NoLogError(AccessError):
    """There is no log to show."""


def stored_attempt(
    store: ObjectStore, run_id: str, attempt: int | None = None, only: int | None = None
) -> list[StoredLog]:
    """The logs of one attempt, the latest by default, by host; empty where no attempt has left one.

    only: this host's alone.

    Raises `NoLogError` where that attempt or host left none, but others did.
    """
    logs = list_attempt_logs(store, run_id)
    if not logs:
        return []
    wanted = max(one.attempt for one in logs) if attempt is None else attempt
    found = [one for one in logs if one.attempt == wanted and only in (None, one.host)]
    if found:
        return found
    attempts = ", ".join(str(n) for n in sorted({one.attempt for one in logs}))
    hosts = ", ".join(str(n) for n in sorted({one.host for one in logs if one.attempt == wanted}))
    if hosts:
        raise NoLogError(
            f"run {run_id}: worker {only} left no log of attempt {wanted}", f"There are those of {hosts}."
        )
    raise NoLogError(
        f"run {run_id}: attempt {wanted} left no log in {store.root}",
        f"There are those of attempt {attempts}.",
    )


def stored_lines(
    store: ObjectStore, run_id: str, logs: list[StoredLog], tail: int | None = None
) -> Iterator[Line]:
    """Their lines in the order of their times; lines without one stay with the line before.

    tail: the last lines of each only.
    """
    parts = [_stamped(store, run_id, one, tail) for one in logs]
    for _, _, line in heapq.merge(*parts, key=lambda item: item[:2]):
        yield line


def _stamped(
    store: ObjectStore, run_id: str, log: StoredLog, tail: int | None
) -> Iterator[tuple[str, int, Line]]:
    lines = read_attempt_log(store, run_id, log.attempt, log.host).splitlines()
    stamp = ""
    for number, text in enumerate(lines):
        if _is_stamped(text):
            stamp = max(stamp, text[:_STAMP_LENGTH])
        if tail is None or number >= len(lines) - tail:
            yield stamp, log.host, Line(log.host, text.encode())


def _is_stamped(text: str) -> bool:
    return len(text) > _STAMP_LENGTH and text[4:5] == text[7:8] == "-" and text[:4].isdecimal()
