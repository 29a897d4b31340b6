"""Open the test split: score one finished run's stored weights there, after recording who does so and why."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from octjob import __version__
from octjob.data.coverage import Coverage
from octjob.data.quarantine import Quarantine
from octjob.errors import AccessError, DataError, SpecError
from octjob.evaluate import Evaluation, Predictions, evaluate
from octjob.models.checkpoint import LoadedEncoder
from octjob.records.layout import read_result, read_spec
from octjob.records.openings import (
    Opening,
    OpeningRecord,
    OpeningResult,
    read_openings,
    record_opening,
    write_scores,
)
from octjob.records.schema import Result
from octjob.run.facts import data_facts
from octjob.run.inputs import arrange_encoder, check_test_cohort, load_encoder, load_test_cohort
from octjob.run.restored import StoredWeights, predict, read_weights, restore
from octjob.run.shared import Shared
from octjob.runtime.environment import environment, make_deterministic
from octjob.runtime.select import open_runtime
from octjob.spec.run import RESULT_VERSION, Run
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store
from octjob.tick import Tick


@dataclass(frozen=True)
class Opened:
    """What an opening came to."""

    number: int
    evaluation: Evaluation


def open_test(
    store: ObjectStore,
    run_id: str,
    by: str,
    reason: str,
    before_scoring: Callable[[Sequence[Opening]], None],
    tick: Tick,
) -> Opened:
    """Score the run's stored weights on the test participants.

    Everything that can go wrong without a look at a score goes wrong before the opening is recorded. Every unit of
    the run is a model of its own: metrics are the mean over them, as over seeds.

    before_scoring: gets the sweep's earlier openings, just before this one is recorded. tick: (done, total) volumes.

    Raises:
        AccessError: the run is not finished, or kept no weights.
        DataError: checkpoint, participants or volumes are not those of the run, or cannot be used.
    """
    run, result = _finished(store, run_id)
    weights = read_weights(store, run)
    make_deterministic()
    runtime = open_runtime(os.environ)
    cohort, everyone = load_test_cohort(run)
    _require_same_participants(run, result, everyone)
    loaded = load_encoder(run, Shared(), tick)
    arrangement = arrange_encoder(run, loaded, runtime)
    _require_same_weights(run, result, loaded)
    quarantine = Quarantine()
    readable, apply = restore(run, loaded, cohort, open_store(run.cache), runtime, quarantine, tick)
    check_test_cohort(readable, run.config)

    before = read_openings(store)
    before_scoring(before)
    number = record_opening(store, _record(run, weights, by, reason), before)
    predictions = predict(run, readable.volumes, apply, weights.by_unit)
    evaluation = evaluate_units(predictions, run, _train_counts(result))
    facts = data_facts(readable, quarantine, run.config.classes.num_classes)
    scored = OpeningResult(
        run_id=run_id,
        opening=number,
        evaluation=evaluation.to_dict(),
        data=facts,
        environment=environment(runtime) | asdict(arrangement),
    )
    write_scores(store, scored, predictions)
    return Opened(number, evaluation)


def evaluate_units(predictions: Predictions, run: Run, train_counts: Sequence[int] | None) -> Evaluation:
    """Each unit's model scored on everyone, in the table's order of seeds and folds.

    A test participant is scored by the models of all folds, which within one seed would be several rows a volume:
    the units are numbered instead, as seeds are.
    """
    units = np.stack([predictions.seed, predictions.repeat, predictions.fold], axis=1)
    _, unit_N = np.unique(units, axis=0, return_inverse=True)
    none_N = np.zeros_like(predictions.fold)
    by_unit = replace(predictions, fold=none_N, repeat=none_N, seed=unit_N.reshape(-1))
    config = run.config
    return evaluate(
        by_unit if run.folds else predictions,
        config.classes.num_classes,
        config.data.unit,
        class_names=config.classes.short,
        train_counts=train_counts,
    )


def _finished(store: ObjectStore, run_id: str) -> tuple[Run, Result]:
    run, result = read_spec(store, run_id), read_result(store, run_id)
    if run.leave_out is not None:
        raise SpecError(
            f"run {run_id}: each of its models leaves a {run.leave_out} out; none is one for the test split",
            "Open it for a run of the same configuration under `evaluate: {protocol: split}` or folds.",
        )
    if run.control is not None:
        raise SpecError(
            f"run {run_id} is a control, and the test split is opened for a checkpoint's run only",
            f"`octjob status {store.root}` shows the runs.",
        )
    if result is None:
        raise AccessError(
            f"run {run_id} has no result yet, so there is nothing to score on the test split",
            f"`octjob status {store.root}` shows where it stands.",
        )
    if run.result_version != RESULT_VERSION:
        raise DataError(
            f"run {run_id} is of result version {run.result_version}; this octjob computes version {RESULT_VERSION}",
            f"Open it with octjob {result.environment.get('octjob', 'of that version')}, which made it.",
        )
    return run, result


def _require_same_participants(run: Run, result: Result, now: Coverage) -> None:
    """Refuse a participants table whose splits are not those the run was trained by.

    A participant that was trained on and has moved to the test split since would be scored as if unseen.
    """
    expected = {(c["site"], c["split"]): c["expected"] for c in result.data["coverage"]["cells"]}
    found = {cell: count for cell, (count, _) in now.cells().items()}
    if changed := sorted(cell for cell in expected | found if expected.get(cell) != found.get(cell)):
        site, split = cell = changed[0]
        raise DataError(
            f"run {run.run_id}: {run.config.data.source} expects {found.get(cell, 0)} participants at {site} in split"
            f" {split}, and {expected.get(cell, 0)} when the run was trained",
            "The participants table was replaced; restore it, or carry the run out again under a new sweep name.",
        )


def _require_same_weights(run: Run, result: Result, loaded: LoadedEncoder) -> None:
    before, now = result.checkpoint_report.get("weights_digest"), loaded.report.weights_digest
    if before != now:
        raise DataError(
            f"{run.checkpoint.uri}: its weights are {now[:12]}, the run was trained on {str(before)[:12]}",
            "The file was replaced; restore it, or carry the run out again under a new sweep name.",
        )


def _record(run: Run, weights: StoredWeights, by: str, reason: str) -> OpeningRecord:
    return OpeningRecord(
        run_id=run.run_id,
        checkpoint=run.checkpoint_name,
        config=run.config_name,
        by=by,
        reason=reason,
        host=socket.gethostname(),
        opened_at=time.time(),
        weights=weights.which,
        digest=weights.digest,
        octjob=__version__,
    )


def _train_counts(result: Result) -> list[int] | None:
    """Training labels per class, which suggest a constant to compare with."""
    counts: dict[str, Any] = result.data.get("volumes", {})
    return counts.get("train")
