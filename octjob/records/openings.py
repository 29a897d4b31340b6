"""Openings of the test split: who scored which run there, when and why. They are counted, never undone.

runs/<run id>/test/opening-<n>.json           written before anything is scored, create-only; n from 0001
                   predictions-<n>.parquet    what that opening predicted
                   evaluation-<n>.json        and what came of it; absent where the opening was interrupted
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from octjob.errors import DataError
from octjob.evaluate import Predictions
from octjob.records.layout import encode, read_record, run_key
from octjob.records.predictions import encode_predictions
from octjob.records.schema import Record
from octjob.storage.base import AlreadyExistsError, ObjectStore

SCHEMA_VERSION = 1
Kind = Literal["opening", "predictions", "evaluation"]
_ENDINGS: dict[Kind, str] = {"opening": "json", "predictions": "parquet", "evaluation": "json"}
_KEY = re.compile(r"runs/([^/]+)/test/(opening|evaluation)-(\d{4,})\.json")


class OpeningRecord(Record):
    """`opening-<n>.json`. opened_at: seconds since the epoch, UTC.

    weights: which stored weights were scored. digest: SHA-256 of the run's spec and these weights.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    checkpoint: str
    config: str
    by: str
    reason: str
    host: str
    opened_at: float
    weights: Literal["best", "last"]
    digest: str
    octjob: str


class OpeningResult(Record):
    """`evaluation-<n>.json`: as in a run's result, of the test participants."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    opening: int
    evaluation: dict[str, Any]
    data: dict[str, Any]
    environment: dict[str, Any]


@dataclass(frozen=True)
class Opening:
    """One opening. number: counts those of its run, from 1. record: None where it is damaged; it counts all the same.

    scored: whether it came to an evaluation.
    """

    run_id: str
    number: int
    record: OpeningRecord | None
    scored: bool

    def __str__(self) -> str:
        """`multi_domain.logistic by ann on 2026-11-24`."""
        if self.record is None:
            return f"{self.run_id} (record {self.number} cannot be read)"
        day = datetime.fromtimestamp(self.record.opened_at, UTC).date().isoformat()
        interrupted = "" if self.scored else " (interrupted before a score)"
        return f"{self.record.checkpoint}.{self.record.config} by {self.record.by} on {day}{interrupted}"


def opening_key(run_id: str, number: int, kind: Kind = "opening") -> str:
    """The key of one of an opening's objects."""
    return run_key(run_id, f"test/{kind}-{number:04d}.{_ENDINGS[kind]}")


def read_openings(store: ObjectStore) -> list[Opening]:
    """Every opening of the test split in a sweep, the oldest first, from one listing and one read each.

    Runs that are no longer in the sweep count too: what was seen was seen.
    """
    found: dict[str, set[tuple[str, int]]] = {"opening": set(), "evaluation": set()}
    for info in store.list("runs/"):
        if match := _KEY.fullmatch(info.key):
            found[match[2]].add((match[1], int(match[3])))
    openings = [
        Opening(run_id, number, _read(store, run_id, number), (run_id, number) in found["evaluation"])
        for run_id, number in sorted(found["opening"])
    ]
    return sorted(openings, key=lambda one: one.record.opened_at if one.record else 0.0)


def _read(store: ObjectStore, run_id: str, number: int) -> OpeningRecord | None:
    try:
        return read_record(store, opening_key(run_id, number), OpeningRecord)
    except DataError:
        return None


def record_opening(store: ObjectStore, record: OpeningRecord, before: Sequence[Opening]) -> int:
    """Store the record under its run's next free number, create-only, and return the number."""
    number = 1 + max((one.number for one in before if one.run_id == record.run_id), default=0)
    while True:
        try:
            store.put(opening_key(record.run_id, number), encode(record), if_absent=True)
        except AlreadyExistsError:
            number += 1  # Somebody opens it at the same time; both count.
        else:
            return number


def write_scores(store: ObjectStore, result: OpeningResult, predictions: Predictions) -> None:
    """Predictions, then the evaluation, both create-only."""
    number, data = result.opening, encode_predictions(predictions)
    store.put(opening_key(result.run_id, number, "predictions"), data, if_absent=True)
    store.put(opening_key(result.run_id, number, "evaluation"), encode(result), if_absent=True)


def openings_in_words(openings: Sequence[Opening], scored_by_runs: Sequence[str] = ()) -> str:
    """For the foot of a table. scored_by_runs: runs of an early version whose own result is of the test split."""
    if not openings and not scored_by_runs:
        return "The test split has not been opened."
    parts = []
    if openings:
        times = "once" if len(openings) == 1 else f"{len(openings)} times"
        parts.append(f"test split opened {times}: {', '.join(map(str, openings))}")
    if scored_by_runs:
        parts.append(f"scored on the test split by an early version: {', '.join(scored_by_runs)}")
    return "; ".join(parts)
