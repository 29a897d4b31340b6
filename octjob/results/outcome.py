"""What became of one run, in the types that the leaderboard works with.

The evaluation in `result.json` is read through a schema here, so that a result of another version is refused
by name instead of failing somewhere in a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import ValidationError

from octjob.errors import DataError
from octjob.evaluate import ParticipantScores, Predictions, by_participant
from octjob.evaluate.metrics import mean_over_seeds
from octjob.results.records import Progress, Record, Result, RunEntry

# The metrics of the table, each with an interval; the leaderboard ranks by one of them.
METRICS = ("macro_auroc", "balanced_accuracy", "macro_f1", "accuracy", "quadratic_kappa")
# Stored metrics and those of the stored predictions come from the same code and the same float64 logits.
_TOLERANCE = 1e-9


class IntervalRecord(Record):
    low: float | None
    high: float | None
    level: float
    method: str


class MetricsRecord(Record):
    n: int
    macro_auroc: float | None
    balanced_accuracy: float | None
    macro_f1: float | None
    accuracy: float | None
    quadratic_kappa: float | None
    per_class_f1: tuple[float | None, ...]
    prediction_counts: tuple[int, ...]


class ConstantRecord(Record):
    value: float
    predicted_class: int


class BaselineRecord(Record):
    accuracy: ConstantRecord
    balanced_accuracy: ConstantRecord
    macro_f1: ConstantRecord


class VerdictRecord(Record):
    collapsed: bool
    flags: tuple[str, ...]
    reasons: tuple[str, ...]


class EvaluationRecord(Record):
    """What the leaderboard needs of `Evaluation.to_dict()`."""

    unit: Literal["participant", "volume"]
    split: str
    metrics: MetricsRecord
    intervals: dict[str, IntervalRecord]
    baseline: BaselineRecord
    verdict: VerdictRecord


@dataclass(frozen=True)
class Scored:
    """A finished run: its result, the evaluation in it, and the scores the evaluation was made from."""

    result: Result
    evaluation: EvaluationRecord
    scores: ParticipantScores

    @property
    def weights(self) -> str:
        """What tells the loaded weights apart: their digest, else the checkpoint's name."""
        digest = self.result.checkpoint_report.get("weights_digest")
        return str(digest) if digest else f"unknown, {self.result.checkpoint}"

    @property
    def train_balanced_accuracy(self) -> float | None:
        value = self.result.train.get("balanced_accuracy")
        return None if value is None else float(value)

    def disagreements(self) -> list[str]:
        """Metrics in the result that are not those of the predictions, in words."""
        once_BP = np.ones((1, len(self.scores.label_P)))
        recomputed = mean_over_seeds(METRICS, self.scores, once_BP)
        found = []
        for name in METRICS:
            stored, value = getattr(self.evaluation.metrics, name), float(recomputed[name][0])
            same = np.isnan(value) if stored is None else abs(stored - value) <= _TOLERANCE
            if not same:
                shown = "none" if stored is None else f"{stored:.4f}"
                found.append(f"{name} is {shown} in the result and {value:.4f} from the predictions")
        return found


@dataclass(frozen=True)
class Outcome:
    """One run of the sweep: finished (`scored`), or what its last heartbeat said, if there was one."""

    entry: RunEntry
    scored: Scored | None = None
    progress: Progress | None = None


def scored(result: Result, predictions: Predictions, result_uri: str, predictions_uri: str) -> Scored:
    """Join a result with its predictions.

    Raises:
        DataError: naming the URI, for an evaluation this version does not read, or predictions that do not
            hold the evaluated split or cannot be scored.
    """
    try:
        evaluation = EvaluationRecord.model_validate(result.evaluation)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in ("evaluation", *first["loc"]))
        raise DataError(
            f"{result_uri}: {where}: {first['msg']}",
            "It was written by another version of octjob, or damaged.",
        ) from None
    evaluated_N = predictions.split == evaluation.split
    if not evaluated_N.any():
        raise DataError(
            f"{predictions_uri}: no predictions of split {evaluation.split!r}, which the result evaluates",
            "The two files are not of one attempt; run the run again.",
        )
    how: Literal["mean", "volume"] = "mean" if evaluation.unit == "participant" else "volume"
    try:
        return Scored(result, evaluation, by_participant(predictions.rows(evaluated_N), how=how))
    except DataError as error:
        raise DataError(f"{predictions_uri}: {error.message}", error.hint) from None
