"""`history.jsonl`: one line per epoch of every unit, as training went."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from octjob.errors import DataError
from octjob.records.layout import HISTORY, run_key
from octjob.storage.base import ObjectNotFoundError, ObjectStore


def write_history(store: ObjectStore, run_id: str, lines: Iterable[dict[str, Any]]) -> None:
    """One JSON line per epoch, the whole history each time (object stores do not append)."""
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    store.put(run_key(run_id, HISTORY), text.encode())


def read_history(store: ObjectStore, run_id: str) -> list[dict[str, Any]]:
    """The lines in the order of training; none where no epoch has ended, or there are no epochs.

    Raises `DataError` for a damaged line, naming URI and line.
    """
    try:
        data = store.get(run_key(run_id, HISTORY))
    except ObjectNotFoundError:
        return []
    return [_line(store, run_id, number, raw) for number, raw in enumerate(data.splitlines(), 1)]


def _line(store: ObjectStore, run_id: str, number: int, raw: bytes) -> dict[str, Any]:
    try:
        line = json.loads(raw)
    except ValueError:
        line = None
    if not isinstance(line, dict):
        raise DataError(
            f"{store.uri(run_key(run_id, HISTORY))}:{number}: not an epoch's line",
            "It is damaged. The result does not depend on it; only the curves are lost.",
        )
    return line
