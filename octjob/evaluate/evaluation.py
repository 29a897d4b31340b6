"""Everything there is to say about one run's predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from octjob.catalog import SampleUnit
from octjob.errors import DataError
from octjob.evaluate.arrays import to_plain
from octjob.evaluate.baseline import Baseline, constant_baseline
from octjob.evaluate.intervals import Interval, bootstrap, wilson
from octjob.evaluate.metrics import Metrics, compute_metrics
from octjob.evaluate.predictions import ParticipantScores, Predictions, by_participant
from octjob.evaluate.prior import PriorCorrected, prior_corrected
from octjob.evaluate.verdict import Verdict, diagnose


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one split, their intervals by metric name, the constant baseline, and the verdict.

    prior_corrected: the answers with the training prior divided out, where that is known.
    """

    unit: SampleUnit
    split: str
    metrics: Metrics
    intervals: dict[str, Interval]
    baseline: Baseline
    verdict: Verdict
    prior_corrected: PriorCorrected | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe, NaN as None."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def evaluate(
    predictions: Predictions,
    num_classes: int,
    unit: SampleUnit = "participant",
    num_draws: int = 2000,
    seed: int = 0,
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    train_counts: Sequence[int] | None = None,
    train_prior: Sequence[float] | None = None,
) -> Evaluation:
    """Evaluate one split of a run's predictions.

    Accuracy has Wilson's interval where its trials are independent (participants, one seed) and the
    bootstrap's otherwise, as the other metrics do. `split` is needed only if the table holds several;
    `class_names` serve the verdict's wording; `train_counts` (labels per class in training) add the constant
    that training suggests to the baseline; `train_prior`, the class shares that the loss saw (`effective_prior`), is
    what the prior-corrected answers divide out.

    Raises:
        DataError: predictions for another number of classes, several splits and none chosen, a split that is
            not there, or anything `by_participant` refuses.
    """
    if predictions.num_classes != num_classes:
        raise DataError(
            f"predictions have {predictions.num_classes} logits per volume for {num_classes} classes",
            hint="classes.mapping changed since the predictions were made; run again.",
        )
    # Before a split is taken out: a participant in two splits must not escape notice.
    by_participant(predictions, how="mean")
    split = _chosen_split(predictions, split)
    scores = by_participant(
        predictions.rows(predictions.split == split), how="mean" if unit == "participant" else "volume"
    )
    metrics = compute_metrics(scores)
    intervals = _intervals(scores, metrics, num_draws, seed)
    corrected = prior_corrected(scores, train_prior) if train_prior is not None else None
    return Evaluation(
        unit=unit,
        split=split,
        metrics=metrics,
        intervals=intervals,
        baseline=constant_baseline(scores.label_P, num_classes, train_counts),
        verdict=diagnose(scores, metrics, intervals, class_names, corrected),
        prior_corrected=corrected,
    )


def _chosen_split(predictions: Predictions, split: str | None) -> str:
    present = sorted(set(predictions.split.tolist()))
    if split is None and len(present) == 1:
        return str(present[0])
    if split is None:
        raise DataError(f"predictions hold several splits: {', '.join(present)}", hint="Name one as `split`.")
    if split not in present:
        raise DataError(
            f"predictions hold no split {split!r}, only {', '.join(present)}",
            hint="Name one of these as `split`.",
        )
    return split


def _intervals(scores: ParticipantScores, metrics: Metrics, num_draws: int, seed: int) -> dict[str, Interval]:
    intervals = bootstrap(scores, num_draws=num_draws, seed=seed)
    if len(scores.seed_S) == 1 and scores.volume_P is None:
        num_right = sum(row[k] for k, row in enumerate(metrics.confusion))
        intervals["accuracy"] = wilson(num_right, metrics.n)
    return intervals
