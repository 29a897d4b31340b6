"""From a sweep in the store to its leaderboard, and the leaderboard back into the store."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from octjob.catalog import DEFAULT
from octjob.errors import DataError
from octjob.evaluate.predictions import SharedColumns
from octjob.evaluate.threads import plain_linear_algebra
from octjob.leaderboard.board import Histories, Leaderboard, build_leaderboard
from octjob.leaderboard.export import to_files
from octjob.leaderboard.gates import Examine, with_gates
from octjob.leaderboard.outcome import Outcome, StoredSpec, scored
from octjob.records.feature_map import FeatureMap, read_feature_map
from octjob.records.history import read_history
from octjob.records.layout import (
    LEADERBOARD,
    PREDICTIONS,
    RESULT,
    SPEC,
    read_progress,
    read_result,
    read_sweep,
    run_key,
)
from octjob.records.openings import read_openings
from octjob.records.predictions import read_predictions
from octjob.records.schema import RunEntry, SweepRecord
from octjob.spec.run import Run
from octjob.storage.base import ObjectNotFoundError, ObjectStore

log = logging.getLogger(__name__)

NUM_THREADS = 16


def collect(store: ObjectStore, metric: str = DEFAULT, examine: Examine | None = None) -> Leaderboard:
    """The leaderboard of the sweep at the store's root. Reads three objects per run, several runs at a time.

    A run whose record or predictions are damaged, gone or of another version is a row that says so. examine: looks at
    the same runs for what is wrong with them.

    Raises:
        SpecError: an unknown metric.
        DataError: naming the URI of a sweep record that is damaged or of another version.
        AccessError: no sweep here, or the store refuses.
    """
    sweep = read_sweep(store)

    def read_histories(run_ids: Sequence[str]) -> Histories:
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            return dict(zip(run_ids, pool.map(lambda run_id: _history(store, run_id), run_ids), strict=True))

    with plain_linear_algebra():
        outcomes = read_outcomes(store, sweep)
        board = build_leaderboard(
            sweep,
            outcomes,
            metric,
            openings=read_openings(store),
            read_histories=read_histories,
            read_map=lambda run_id: _feature_map(store, run_id),
        )
        return board if examine is None else with_gates(board, examine(board, outcomes))


def read_outcomes(store: ObjectStore, sweep: SweepRecord) -> list[Outcome]:
    """What became of the sweep's runs, in its order; raises nothing for one that cannot be read."""
    shared = SharedColumns()
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(pool.map(lambda entry: _outcome(store, entry, sweep.shown_classes, shared), sweep.runs))


def _feature_map(store: ObjectStore, run_id: str) -> FeatureMap | None:
    """None where it is gone or damaged: a map is no result."""
    try:
        return read_feature_map(store, run_id)
    except (DataError, ObjectNotFoundError) as error:
        log.warning("%s; no feature map of this run", error.message)
        return None


def _history(store: ObjectStore, run_id: str) -> list[dict[str, Any]]:
    """The epochs of a run; none where they are damaged: curves are no result."""
    try:
        return read_history(store, run_id)
    except DataError as error:
        log.warning("%s; no curves of this run", error.message)
        return []


def _outcome(
    store: ObjectStore, entry: RunEntry, class_names: Sequence[str], shared: SharedColumns
) -> Outcome:
    spec = _spec(store, entry.run_id)
    try:
        return replace(_readable(store, entry, class_names, shared), spec=spec)
    except (DataError, ObjectNotFoundError) as error:
        return Outcome(entry, unreadable=error.message, spec=spec)


def _spec(store: ObjectStore, run_id: str) -> StoredSpec | None:
    """What a run was told to do; it says nothing of what came out, so that a table does without it."""
    try:
        data = store.get(run_key(run_id, SPEC))
        return StoredSpec(hashlib.sha256(data).hexdigest(), Run.model_validate_json(data))
    except ObjectNotFoundError:
        return None
    except ValidationError:
        log.warning(
            "%s: damaged, or of another version; the methods lack it", store.uri(run_key(run_id, SPEC))
        )
        return None


def _readable(
    store: ObjectStore, entry: RunEntry, class_names: Sequence[str], shared: SharedColumns
) -> Outcome:
    """Raises `DataError` or `ObjectNotFoundError`, naming the URI of what cannot be read."""
    run_id = entry.run_id
    result = read_result(store, run_id)
    if result is None:
        return Outcome(entry, progress=read_progress(store, run_id))
    predictions = shared.of(read_predictions(store, run_id))
    result_uri, predictions_uri = (store.uri(run_key(run_id, name)) for name in (RESULT, PREDICTIONS))
    return Outcome(entry, scored(result, predictions, result_uri, predictions_uri, class_names))


def publish(store: ObjectStore, leaderboard: Leaderboard) -> list[str]:
    """Write `leaderboard/leaderboard.{csv,md,json,parquet}` and `report.html`, replacing what is there.

    Returns their URIs. The bytes depend on the leaderboard alone, so that collecting again changes nothing. Where
    writing is cut off, the JSON, which is last, is of before, and its digests are not those of the files beside it.
    """
    from octjob.report.page import to_html

    files = to_files(leaderboard)
    stored = files.pop("json")
    keys = {f"{LEADERBOARD}/leaderboard.{ending}": data for ending, data in files.items()}
    keys[f"{LEADERBOARD}/report.html"] = to_html(json.loads(stored)).encode()
    keys[f"{LEADERBOARD}/leaderboard.json"] = stored
    for key, data in keys.items():
        store.put(key, data)
    return [store.uri(key) for key in keys]
