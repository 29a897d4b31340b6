"""Two checkpoints or configurations over many training sets: the corrected resampled t-test.

A paired test over participants speaks of two trained models. Whether one configuration is better than another also
depends on whom it was trained on, so here the difference varies over the folds of repeated cross-validation.

Suffixes: J training sets (a fold of a repeat each).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from octjob.catalog import METRICS
from octjob.evaluate.arrays import FloatArray, to_plain
from octjob.evaluate.distributions import student_beyond, student_quantile
from octjob.evaluate.intervals import Interval
from octjob.evaluate.metrics import mean_over_seeds
from octjob.evaluate.predictions import How, Predictions, by_participant

METHOD = "corrected resampled t"


@dataclass(frozen=True, eq=False)
class FoldValues:
    """A metric in each fold of each repeat, [J], averaged over the seeds trained there.

    test_over_train: participants scored per participant trained on, hold-outs for early stopping included.
    deal: (repeat, participant, fold, label) of everyone, to see that two runs were dealt alike.
    undefined: why the metric means nothing in some fold; empty where it does in all.
    """

    metric: str
    value_J: FloatArray
    test_over_train: float
    deal: frozenset[tuple[int, str, int, int]]
    undefined: str = ""


@dataclass(frozen=True)
class ResampledDifference:
    """metric(a) - metric(b), the mean over training sets. Without a test `reason` says in words why."""

    metric: str
    difference: float | None
    num_training_sets: int
    interval: Interval | None = None
    p_value: float | None = None
    p_method: str = ""
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def fold_values(predictions: Predictions, metric: str = "macro_auroc", how: How = "mean") -> FoldValues:
    """The metric within each fold of each repeat.

    Raises:
        DataError: anything `by_participant` refuses.
        ValueError: an unknown metric.
    """
    columns = (predictions.repeat, predictions.participant, predictions.fold, predictions.label)
    deal = frozenset(zip(*(column.tolist() for column in columns), strict=True))
    places = sorted({(repeat, fold) for repeat, _, fold, _ in deal})
    present = {(repeat, fold, label) for repeat, _, fold, label in deal}
    absent = [
        f"class {label} has no participant in fold {fold} of repeat {repeat}"
        for repeat, fold in places
        for label in sorted(set(predictions.label.tolist()))
        if METRICS[metric].macro and (repeat, fold, label) not in present
    ]
    value_J = np.array([_value(predictions, metric, how, repeat, fold) for repeat, fold in places])
    nowhere = [
        f"undefined in fold {fold} of repeat {repeat}"
        for (repeat, fold), value in zip(places, value_J, strict=True)
        if np.isnan(value)
    ]
    return FoldValues(metric, value_J, _test_over_train(deal), deal, next(iter(absent + nowhere), ""))


def _test_over_train(deal: Iterable[tuple[int, str, int, int]]) -> float:
    """The mean over training sets; 1 / (folds - 1) for folds of one size, more for sites, which differ. NaN for one
    fold."""
    scored = Counter((repeat, fold) for repeat, _, fold, _ in deal)
    everyone = Counter(repeat for repeat, _, _, _ in deal)
    ratios = [
        size / (everyone[repeat] - size) for (repeat, _), size in scored.items() if size < everyone[repeat]
    ]
    return float(np.mean(ratios)) if ratios else float("nan")


def _value(predictions: Predictions, metric: str, how: How, repeat: int, fold: int) -> float:
    scores = by_participant(
        predictions.rows((predictions.repeat == repeat) & (predictions.fold == fold)), how
    )
    return float(mean_over_seeds([metric], scores, np.ones((1, len(scores.label_P))))[metric][0])


def resampled_difference(a: FoldValues, b: FoldValues, level: float = 0.95) -> ResampledDifference:
    """Whether `a` differs from `b` beyond what another training set would change.

    Raises:
        ValueError: the two hold different metrics.
    """
    if a.metric != b.metric:
        raise ValueError(f"{a.metric} cannot be compared with {b.metric}")
    reason = _why_not(a, b)
    if reason:
        return ResampledDifference(a.metric, None, len(a.value_J), reason=reason)
    difference_J = a.value_J - b.value_J
    difference = float(difference_J.mean())
    # Rounding: averages over seeds of equal values differ in the last bits.
    if np.ptp(difference_J) < 1e-12:
        reason = "the difference is the same in every fold, so how it varies cannot be estimated"
        return ResampledDifference(a.metric, difference, len(difference_J), reason=reason)
    interval, p_value = corrected_t(difference_J, a.test_over_train, level)
    return ResampledDifference(
        a.metric, difference, len(difference_J), interval, p_value, f"{interval.method}, two-sided"
    )


def _why_not(a: FoldValues, b: FoldValues) -> str:
    """Why there is no test; empty where there is one."""
    if a.deal != b.deal:
        return "the two runs were not scored on the same folds with the same labels"
    if not np.isfinite(a.test_over_train):
        return "there is one training set; the test needs evaluate.protocol: folds"
    return a.undefined or b.undefined


def corrected_t(
    difference_J: FloatArray, test_over_train: float, level: float = 0.95
) -> tuple[Interval, float]:
    """Interval of the mean difference, and two-sided p-value.

    The training sets overlap, so the differences are correlated and the plain t-test finds too much. The variance of
    the mean is taken as (1/J + n_test/n_train) times that of the differences, with J - 1 degrees of freedom
    (Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 52, 2003, eq. 15).

    Raises:
        ValueError: fewer than two differences, differences that do not vary, or a level outside (0, 1).
    """
    num = len(difference_J)
    if num < 2 or not np.std(difference_J) > 0 or not 0 < level < 1:
        raise ValueError(f"corrected_t needs differences that vary and 0 < level < 1; got {num} and {level}")
    mean = float(difference_J.mean())
    error = float(np.sqrt((1 / num + test_over_train) * difference_J.var(ddof=1)))
    half_width = -student_quantile((1 - level) / 2, num - 1) * error
    p_value = student_beyond(mean / error, num - 1)
    method = (
        f"{METHOD} (Nadeau and Bengio, 2003), {num} training sets, n_test / n_train {test_over_train:.3g}"
    )
    return Interval(mean - half_width, mean + half_width, level, method), p_value
