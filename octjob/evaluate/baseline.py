"""What a predictor that ignores its input can score: always one class.

Suffixes: P participants, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from octjob.evaluate.arrays import IntArray, to_plain

# What constant predictors are told apart by.
CONSTANT_METRICS = ("accuracy", "balanced_accuracy", "macro_f1")


@dataclass(frozen=True)
class ConstantScore:
    """What always predicting `predicted_class` scores; `f1` is that class's own, the others' are 0.

    Its quadratic kappa is 0 and its AUROCs are 0.5, whichever the class.
    """

    predicted_class: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    f1: float


@dataclass(frozen=True)
class BestConstant:
    """The highest value any constant predictor reaches, and the (lowest) class that reaches it."""

    value: float
    predicted_class: int


@dataclass(frozen=True)
class Baseline:
    """The best constant for each metric; `train_majority` is the constant that the training labels suggest.

    `balanced_accuracy` is one over the number of classes that occur, so 1/K if all do. `per_class_f1[k]` is
    the F1 of class k when it alone is predicted, NaN if it does not occur. A run must beat these, not zero.
    """

    accuracy: BestConstant
    balanced_accuracy: BestConstant
    macro_f1: BestConstant
    per_class_f1: list[float]
    train_majority: ConstantScore | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe, NaN as None."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def constant_score(label_P: IntArray, num_classes: int, predicted_class: int) -> ConstantScore:
    """Scores of always predicting one class, over labels 0..K-1 [P] (at least one)."""
    count_K = np.bincount(label_P, minlength=num_classes)
    count, total, occurring = int(count_K[predicted_class]), len(label_P), int((count_K > 0).sum())
    f1 = 2 * count / (total + count)
    return ConstantScore(
        predicted_class=predicted_class,
        accuracy=count / total,
        balanced_accuracy=(count > 0) / occurring,
        macro_f1=f1 / occurring,
        f1=f1 if count else float("nan"),
    )


def constant_baseline(
    label_P: IntArray, num_classes: int, train_counts: Sequence[int] | None = None
) -> Baseline:
    """The best constant predictors over `label_P`; with the training labels' counts per class, theirs too.

    Raises:
        ValueError: `train_counts` does not have one entry per class.
    """
    if train_counts is not None and len(train_counts) != num_classes:
        raise ValueError(f"train_counts has {len(train_counts)} entries for {num_classes} classes")
    scores = [constant_score(label_P, num_classes, k) for k in range(num_classes)]
    best = {name: max(scores, key=lambda score: float(getattr(score, name))) for name in CONSTANT_METRICS}
    return Baseline(
        **{name: BestConstant(getattr(score, name), score.predicted_class) for name, score in best.items()},
        per_class_f1=[score.f1 for score in scores],
        train_majority=scores[int(np.argmax(train_counts))] if train_counts is not None else None,
    )
