"""The metrics of one run.

Suffixes: P participants (or volumes), S seeds, K classes, B weightings. Labels are always 0..K-1. A class
that no label has keeps its index: its per-class metrics are NaN, and macro averages run over the classes that
occur (scikit-learn's `labels=` the classes present). AUROC is NaN where a class is the only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from octjob.catalog import METRICS
from octjob.evaluate import weighted
from octjob.evaluate.arrays import FLAT, FloatArray, IntArray, to_plain
from octjob.evaluate.predictions import ParticipantScores


@dataclass(frozen=True)
class Metrics:
    """Metrics of a run; with several seeds their mean, with counts summed and each seed in `per_seed`.

    `values` holds those of the catalogue by name, as `metrics["macro_auroc"]` does. They equal scikit-learn's on
    the same predictions to 1e-12: `log_loss` is in nats, `brier` is summed over classes (0 to 2), `ece` uses 15 equal
    bins of the top probability. `confusion` has rows = true.
    """

    n: int
    values: dict[str, float] = field(metadata=FLAT)
    per_class_f1: list[float]
    per_class_auroc: list[float]
    per_class_auprc: list[float]
    confusion: list[list[int]]
    prediction_counts: list[int]
    per_seed: tuple[Metrics, ...] = ()

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe, NaN as None; the metrics beside the rest."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def compute_metrics(scores: ParticipantScores) -> Metrics:
    """All metrics of `scores`; `per_seed` holds one entry per seed, also with a single one."""
    seeds = [_of_one_seed(probability_PK, scores.label_P) for probability_PK in scores.probability_SPK]
    confusion_KK = np.sum([seed.confusion for seed in seeds], axis=0)
    return Metrics(
        n=len(scores.label_P),
        values={name: float(np.mean([seed[name] for seed in seeds])) for name in METRICS},
        per_class_f1=np.mean([seed.per_class_f1 for seed in seeds], axis=0).tolist(),
        per_class_auroc=np.mean([seed.per_class_auroc for seed in seeds], axis=0).tolist(),
        per_class_auprc=np.mean([seed.per_class_auprc for seed in seeds], axis=0).tolist(),
        confusion=confusion_KK.tolist(),
        prediction_counts=confusion_KK.sum(axis=0).tolist(),
        per_seed=tuple(seeds),
    )


def _of_one_seed(probability_PK: FloatArray, label_P: IntArray) -> Metrics:
    once_BP = np.ones((1, len(label_P)))
    values = weighted.weighted_metrics(tuple(METRICS), probability_PK, label_P, once_BP)
    confusion_BKK = weighted.confusion_matrices(
        label_P, probability_PK.argmax(axis=1), once_BP, probability_PK.shape[1]
    )
    confusion_KK = confusion_BKK[0].astype(np.int64)
    return Metrics(
        n=len(label_P),
        values={name: float(value_B[0]) for name, value_B in values.items()},
        per_class_f1=weighted.f1_per_class(confusion_BKK)[0].tolist(),
        per_class_auroc=weighted.auroc_per_class(probability_PK, label_P, once_BP)[0].tolist(),
        per_class_auprc=weighted.auprc_per_class(probability_PK, label_P, once_BP)[0].tolist(),
        confusion=confusion_KK.tolist(),
        prediction_counts=confusion_KK.sum(axis=0).tolist(),
    )


def mean_over_seeds(
    names: Sequence[str], scores: ParticipantScores, weight_BP: FloatArray
) -> dict[str, FloatArray]:
    """Each named metric for each weighting of the rows, [B], averaged over seeds."""
    seeds = [
        weighted.weighted_metrics(names, probability_PK, scores.label_P, weight_BP)
        for probability_PK in scores.probability_SPK
    ]
    return {name: np.mean([values[name] for values in seeds], axis=0) for name in names}
