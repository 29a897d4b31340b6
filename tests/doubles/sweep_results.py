"""Finished, failed and running runs in a store, made from real `evaluate` outputs of synthetic predictions.

Suffixes: N volumes, P participants, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from octjob.evaluate import Predictions, evaluate
from octjob.leaderboard.outcome import Outcome, scored
from octjob.records.layout import PROGRESS, RESULT, SPEC, encode, run_key, write_sweep
from octjob.records.predictions import write_predictions
from octjob.records.schema import Failure, Progress, Result, RunEntry, Stage, SweepRecord
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run
from octjob.spec.sweep import Checkpoint
from octjob.storage import ObjectStore

CLASSES = ("healthy", "pre_diabetes", "oral_medication", "insulin")
# The labels of the 65 validation participants in the seed's log.
SEED_COUNTS = (17, 17, 20, 11)
STARTED_AT = 1_700_000_000.0


def labels(counts: Iterable[int] = SEED_COUNTS) -> np.ndarray:
    """Class labels [P], class by class."""
    return np.repeat(np.arange(len(tuple(counts))), tuple(counts))


def from_logits(label_P: np.ndarray, logits_PK: np.ndarray, first_id: int = 1000) -> Predictions:
    """One volume per participant, ids counted up from `first_id`."""
    n = len(label_P)
    return Predictions.from_columns(
        {
            "participant": [str(first_id + k) for k in range(n)],
            "eye": ["OD"] * n,
            "device": ["Maestro2"] * n,
            "split": ["val"] * n,
            "fold": [0] * n,
            "seed": [0] * n,
            "label": label_P,
            "logits": logits_PK,
        }
    )


def skilled(label_P: np.ndarray, skill: float, seed: int, first_id: int = 1000) -> Predictions:
    """Standard normal logits plus `skill` for the true class: 0 guesses, 10 is nearly always right."""
    noise_PK = np.random.default_rng(seed).normal(size=(len(label_P), len(CLASSES)))
    return from_logits(label_P, noise_PK + skill * np.eye(len(CLASSES))[label_P], first_id)


def constant(label_P: np.ndarray, predicted: int = 0) -> Predictions:
    """The same logits for everyone."""
    return from_logits(label_P, np.tile(2.0 * np.eye(len(CLASSES))[predicted], (len(label_P), 1)))


def entry(checkpoint: str, config: str = "linear") -> RunEntry:
    return RunEntry(run_id=f"{checkpoint}.{config}-0000abcd", checkpoint=checkpoint, config=config)


def sweep(
    entries: Iterable[RunEntry], baseline: str | None = None, baseline_config: str | None = None
) -> SweepRecord:
    return SweepRecord(
        name="demo",
        baseline=baseline,
        baseline_config=baseline_config,
        class_names=CLASSES,
        runs=tuple(entries),
    )


def result(run: RunEntry, predictions: Predictions, weights: str, train_balanced_accuracy: float) -> Result:
    evaluation = evaluate(predictions, len(CLASSES), num_draws=300, class_names=CLASSES)
    return Result(
        run_id=run.run_id,
        sweep="demo",
        checkpoint=run.checkpoint,
        config=run.config,
        mode="probe",
        evaluation=evaluation.to_dict(),
        train={"balanced_accuracy": train_balanced_accuracy},
        data={},
        checkpoint_report={"weights_digest": weights},
        training={},
        environment={},
        notes=(),
        started_at=STARTED_AT,
        finished_at=STARTED_AT + 60,
        duration_s=60.0,
        attempts=1,
    )


def outcome(
    run: RunEntry, predictions: Predictions, weights: str = "", train_balanced_accuracy: float = 0.9
) -> Outcome:
    """A finished run without a store; `weights` is by default a digest of the checkpoint's own."""
    record = result(run, predictions, weights or f"digest-of-{run.checkpoint}", train_balanced_accuracy)
    return Outcome(run, scored(record, predictions, "result", "predictions"))


def finish(store: ObjectStore, run: RunEntry, predictions: Predictions, weights: str = "") -> None:
    """Predictions, then the result, as a run leaves them."""
    write_predictions(store, run.run_id, predictions)
    record = result(run, predictions, weights or f"digest-of-{run.checkpoint}", 0.9)
    store.put(run_key(run.run_id, RESULT), encode(record), if_absent=True)


def progress(run: RunEntry, stage: Stage, message: str = "", updated_at: float = STARTED_AT) -> Progress:
    """A heartbeat; in training it is at epoch 3 of 50."""
    in_training = {"epoch": 3, "num_epochs": 50, "best_metric": 0.4, "metric_name": "macro_auroc"}
    failure = Failure(message=message, hint="Mend it.", exit_code=3) if message else None
    return Progress(
        run_id=run.run_id,
        stage=stage,
        attempt=2,
        host="node-1",
        pid=7,
        started_at=STARTED_AT,
        updated_at=updated_at,
        eta_s=125.0,
        failure=failure,
        **(in_training if stage == "training" else {}),
    )


def beat(store: ObjectStore, run: RunEntry, stage: Stage, message: str = "", at: float = STARTED_AT) -> None:
    """Store a heartbeat."""
    store.put(run_key(run.run_id, PROGRESS), encode(progress(run, stage, message, at)))


def submit(store: ObjectStore, runs: Iterable[RunEntry], baseline: str | None = None) -> None:
    """Store `sweep.json`."""
    write_sweep(store, sweep(runs, baseline))


def spec_of(run: RunEntry, output: str, config: dict[str, Any] | None = None, **changes: Any) -> Run:
    """A run's spec. config: keys of its configuration. changes: to the spec itself."""
    return Run(
        sweep="demo",
        run_id=run.run_id,
        checkpoint_name=run.checkpoint,
        checkpoint=Checkpoint(uri=f"gs://bucket/{run.checkpoint}.pt"),
        config_name=run.config,
        config=Experiment.model_validate(config or {}),
        output=output,
        cache=f"{output}/cache",
        **{"seeds": (42,), "folds": 0, **changes},
    )


def give_spec(store: ObjectStore, run: RunEntry, config: dict[str, Any] | None = None, **changes: Any) -> Run:
    """Store a run's `spec.json`, as `spec_of` has it."""
    made = spec_of(run, store.root, config, **changes)
    store.put(run_key(run.run_id, SPEC), encode(made))
    return made
