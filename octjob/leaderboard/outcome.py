"""What became of one run, in the types that the leaderboard works with.

The evaluation in `result.json` is read through a schema here, so that a result of another version is noticed
instead of failing somewhere in a table. What cannot be read is one run's outcome, never the end of the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import NonNegativeInt, TypeAdapter, ValidationError

from octjob.catalog import RANKING, SampleUnit
from octjob.errors import DataError
from octjob.evaluate import ParticipantScores, Predictions, by_participant, evaluate
from octjob.evaluate.arrays import StrArray
from octjob.evaluate.metrics import mean_over_seeds
from octjob.evaluate.predictions import How
from octjob.records.schema import Progress, Record, Result, RunEntry
from octjob.spec.run import Run

# Stored metrics and those of the stored predictions come from the same code and the same float64 logits.
_TOLERANCE = 1e-9


class IntervalRecord(Record):
    low: float | None
    high: float | None
    level: float
    method: str


class MetricsRecord(Record):
    n: int
    per_class_f1: tuple[float | None, ...]
    per_class_auprc: tuple[float | None, ...]
    prediction_counts: tuple[int, ...]
    confusion: tuple[tuple[int, ...], ...] = ()


class ConstantRecord(Record):
    value: float
    predicted_class: int


class BaselineRecord(Record):
    accuracy: ConstantRecord
    balanced_accuracy: ConstantRecord
    macro_f1: ConstantRecord


class VerdictRecord(Record):
    constant: bool
    flags: tuple[str, ...]
    reasons: tuple[str, ...]


class PriorCorrectedRecord(Record):
    balanced_accuracy: float | None
    prior: tuple[float, ...] = ()


class EvaluationRecord(Record):
    """What the leaderboard needs of `Evaluation.to_dict()`."""

    unit: SampleUnit
    split: str
    metrics: MetricsRecord
    intervals: dict[str, IntervalRecord]
    baseline: BaselineRecord
    verdict: VerdictRecord
    prior_corrected: PriorCorrectedRecord | None = None


ClassCounts = TypeAdapter(tuple[NonNegativeInt, ...])


@dataclass(frozen=True)
class Scored:
    """A finished run: its result, its evaluation, and the predictions and scores the evaluation was made from.

    remarks: why the evaluation is not the one in the result, in words.
    """

    result: Result
    evaluation: EvaluationRecord
    predictions: Predictions
    scores: ParticipantScores
    remarks: tuple[str, ...] = ()

    @property
    def weights(self) -> str:
        """What tells the loaded weights apart: their digest, else the checkpoint's name."""
        digest = self.result.checkpoint_report.get("weights_digest")
        return str(digest) if digest else f"unknown, {self.result.checkpoint}"

    @property
    def weights_verdict(self) -> str:
        """`untrained`, `barely trained`, `trained` or `unknown`: what the weights say of their training."""
        mark = self.result.checkpoint_report.get("fingerprint")
        return str(mark.get("verdict", "unknown")) if isinstance(mark, dict) else "unknown"

    @property
    def how(self) -> How:
        """What a row of `scores` is."""
        return "mean" if self.evaluation.unit == "participant" else "volume"

    @property
    def has_folds(self) -> bool:
        """Whether what scored the participants was trained on several sets of others."""
        return len(np.unique(self.predictions.fold)) > 1

    @property
    def num_models(self) -> int:
        """Trained heads or networks behind the numbers."""
        said = self.result.training.get("units", ())
        if any("left_out" in unit for unit in said if isinstance(unit, dict)):
            # Several score parts of one fold.
            return len(said)
        units = (self.predictions.seed, self.predictions.repeat, self.predictions.fold)
        return len(np.unique(np.stack(units), axis=1).T)

    @property
    def site_P(self) -> StrArray:
        """The site of each row of `scores`."""
        site_of = dict(
            zip(self.predictions.participant.tolist(), self.predictions.site.tolist(), strict=True)
        )
        return np.array([site_of[participant] for participant in self.scores.participant_P.tolist()])

    @property
    def prevalence(self) -> tuple[float, ...]:
        """Share of each class among the scored rows."""
        counts = np.bincount(self.scores.label_P, minlength=self.scores.num_classes)
        return tuple(float(share) for share in counts / counts.sum())

    @property
    def encoder_change(self) -> float | None:
        """After fine-tuning, how far the scored encoder moved, relative to its length: the least of its units."""
        units = self.result.training.get("units", ())
        changes = [unit.get("encoder_change") for unit in units if isinstance(unit, dict)]
        known = [float(change) for change in changes if isinstance(change, int | float)]
        return min(known) if known else None

    @cached_property
    def values(self) -> Mapping[str, float]:
        """The metrics that rank, of `scores`; NaN where one is not defined."""
        return _values(self.scores, RANKING)

    @staticmethod
    def metric_of(scores: ParticipantScores, metric: str) -> float:
        """A metric of some of the participants; NaN where it is not defined."""
        return _values(scores, (metric,))[metric]

    @property
    def prior(self) -> tuple[float, ...] | None:
        """The class shares that the loss saw, where the result says them."""
        corrected = self.evaluation.prior_corrected
        return corrected.prior if corrected is not None and corrected.prior else None

    @property
    def training_shares(self) -> tuple[float, ...] | None:
        """The class shares of whom it was trained on, participants or volumes as is scored; with folds those of train
        and val together. None where the result does not say them."""
        by_split = self.result.data.get(f"{self.evaluation.unit}s") or {}
        splits = ("train", "val") if self.has_folds else ("train",)
        try:
            counts = np.sum([ClassCounts.validate_python(by_split[split]) for split in splits], axis=0)
        except (TypeError, KeyError, ValidationError):
            return None
        if len(counts) != self.scores.num_classes or not counts.sum():
            return None
        return tuple(float(share) for share in counts / counts.sum())

    @property
    def train_balanced_accuracy(self) -> float | None:
        value = self.result.train.get("balanced_accuracy")
        return None if value is None else float(value)

    def disagreements(self) -> list[str]:
        """Metrics in the result that are not those of the predictions, in words; one that it lacks is none."""
        in_result = self.result.evaluation.get("metrics")
        stored_metrics = in_result if isinstance(in_result, dict) else {}
        found = []
        for name, value in self.values.items():
            if name not in stored_metrics:
                continue
            stored = stored_metrics[name]
            number = isinstance(stored, int | float)
            same = abs(stored - value) <= _TOLERANCE if number else stored is None and np.isnan(value)
            if not same:
                shown = f"{stored:.4f}" if number else "none" if stored is None else repr(stored)
                found.append(f"{name} is {shown} in the result and {value:.4f} from the predictions")
        return found


def _values(scores: ParticipantScores, metrics: Sequence[str]) -> dict[str, float]:
    once_BP = np.ones((1, len(scores.label_P)))
    return {name: float(value_B[0]) for name, value_B in mean_over_seeds(metrics, scores, once_BP).items()}


@dataclass(frozen=True)
class StoredSpec:
    """A run's `spec.json`. sha256: of its bytes as they lie there."""

    sha256: str
    run: Run


@dataclass(frozen=True)
class Outcome:
    """One run of the sweep: finished (`scored`), or what its last heartbeat said, if there was one.

    unreadable: why what it left cannot be read, naming the URI; then there is nothing else. spec: None where there is
    none that this version reads, which costs the run no rank.
    """

    entry: RunEntry
    scored: Scored | None = None
    progress: Progress | None = None
    unreadable: str = ""
    spec: StoredSpec | None = None


class _Scope(Record):
    """What was evaluated; without it the predictions have no one meaning."""

    unit: SampleUnit
    split: str


def scored(
    result: Result,
    predictions: Predictions,
    result_uri: str,
    predictions_uri: str,
    class_names: Sequence[str] | None = None,
) -> Scored:
    """Join a result with its predictions.

    The predictions are the truth: an evaluation that lacks something, or is of another version, is made again from
    them, which `Scored.remarks` says. class_names: serve the wording of what is made again.

    Raises:
        DataError: naming the URI, for an evaluation that does not say what was scored, or predictions that do not
            hold the evaluated split or cannot be scored.
    """
    try:
        scope = _Scope.model_validate(result.evaluation)
    except ValidationError as error:
        raise DataError(
            f"{result_uri}: {_first_fault(error)}", "It was written by another version of octjob, or damaged."
        ) from None
    evaluated_N = predictions.split == scope.split
    if not evaluated_N.any():
        raise DataError(
            f"{predictions_uri}: no predictions of split {scope.split!r}, which the result evaluates",
            "The two files are not of one attempt; run the run again.",
        )
    how: Literal["mean", "volume"] = "mean" if scope.unit == "participant" else "volume"
    evaluated = predictions.rows(evaluated_N)
    try:
        scores = by_participant(evaluated, how=how)
    except DataError as error:
        raise DataError(f"{predictions_uri}: {error.message}", error.hint) from None
    remark = ""
    try:
        one = Scored(result, EvaluationRecord.model_validate(result.evaluation), evaluated, scores)
    except ValidationError as error:
        remark = f"{result_uri}: {_first_fault(error)}; evaluated again from the predictions"
    else:
        lacking = [name for name in RANKING if name not in result.evaluation["metrics"]]
        if not lacking and not one.disagreements():
            return one
        if lacking:
            names = ", ".join(lacking)
            remark = f"{result_uri}: evaluation.metrics lacks {names}; evaluated again from the predictions"
    again = evaluate(evaluated, evaluated.num_classes, scope.unit, class_names=class_names)
    made = EvaluationRecord.model_validate(again.to_dict())
    return Scored(result, made, evaluated, scores, (remark,) if remark else ())


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return ".".join(str(part) for part in ("evaluation", *first["loc"])) + f": {first['msg']}"
