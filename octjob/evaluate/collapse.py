"""Is this run a predictor at all? Collapse to a class, results at chance, runs that predict the same.

Suffixes: P participants (or volumes), S seeds, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from octjob.evaluate.arrays import FloatArray, IntArray, to_plain
from octjob.evaluate.baseline import constant_score
from octjob.evaluate.intervals import Interval
from octjob.evaluate.metrics import Metrics
from octjob.evaluate.predictions import ParticipantScores

DOMINANT_SHARE = 0.95
MIN_ENTROPY_NATS = 0.05
CONSTANT_DIGITS = 4
# Probabilities closer than this over all participants: the output does not depend on the input.
CONSTANT_OUTPUT_RANGE = 1e-4
SAME_PROBABILITY = 1e-9


@dataclass(frozen=True)
class Verdict:
    """What is wrong with the predictions, if anything.

    Flags that mean `collapsed`: `dominant_class` (at least 95 % of the predictions are one class),
    `class_never_predicted` (though it occurs), `equals_constant` (accuracy, balanced accuracy and macro F1
    are a constant predictor's to four decimals), `low_entropy` (of the predicted classes, below 0.05 nats),
    `constant_output` (the same probabilities for every participant). Flags that do not: `chance` (the
    interval of balanced accuracy includes chance) and `below_chance` (it lies under it). `reasons` has one
    line each, naming the seed if there are several; one collapsed seed makes the run collapsed.
    """

    collapsed: bool
    flags: list[str]
    reasons: list[str]
    collapsed_seeds: list[int]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def diagnose(
    scores: ParticipantScores,
    metrics: Metrics,
    intervals: Mapping[str, Interval],
    class_names: Sequence[str] | None = None,
) -> Verdict:
    """The verdict on `scores`, with `metrics` and `intervals` computed from them.

    `class_names`, one per class, only serves the reasons. Without an interval of `balanced_accuracy` nothing
    is said about chance.
    """
    names = [
        f"class {k}" + (f" ({class_names[k]})" if class_names else "") for k in range(scores.num_classes)
    ]
    found: list[tuple[str, str]] = []
    collapsed_seeds = []
    for seed, name, probability_PK, of_seed in zip(
        scores.seed_S, scores.name_S, scores.probability_SPK, metrics.per_seed, strict=True
    ):
        symptoms = _symptoms(probability_PK, scores.label_P, of_seed, names)
        if symptoms:
            collapsed_seeds.append(seed)
        prefix = f"{name}: " if len(scores.seed_S) > 1 else ""
        found += [(flag, prefix + reason) for flag, reason in symptoms]
    if "balanced_accuracy" in intervals:
        found += _against_chance(scores.label_P, metrics.balanced_accuracy, intervals["balanced_accuracy"])
    return Verdict(
        collapsed=bool(collapsed_seeds),
        flags=list(dict.fromkeys(flag for flag, _ in found)),
        reasons=[reason for _, reason in found],
        collapsed_seeds=collapsed_seeds,
    )


def _symptoms(
    probability_PK: FloatArray, label_P: IntArray, metrics: Metrics, names: Sequence[str]
) -> list[tuple[str, str]]:
    """(flag, reason) of each sign of collapse in one seed's predictions."""
    found: list[tuple[str, str]] = []
    num_classes, n = len(names), metrics.n
    label_count_K = np.bincount(label_P, minlength=num_classes)
    count_K = np.array(metrics.prediction_counts)
    top = int(count_K.argmax())
    equal_to = _equal_constants(label_P, metrics, num_classes)
    # Labels that are themselves nearly one class rightly give predictions that are.
    if count_K[top] >= DOMINANT_SHARE * n and label_count_K.max() < DOMINANT_SHARE * n:
        found.append(("dominant_class", _dominant_reason(count_K, top, metrics, names[top], top in equal_to)))
    missed = [k for k in range(num_classes) if label_count_K[k] and not count_K[k]]
    if missed:
        parts = ", ".join(f"{names[k]} ({label_count_K[k]} of {n} labels)" for k in missed)
        found.append(("class_never_predicted", f"never predicted though present: {parts}"))
    for k in equal_to:
        found.append(("equals_constant", _equal_reason(metrics, names[k])))
    if _entropy(count_K) < MIN_ENTROPY_NATS <= _entropy(label_count_K):
        reason = f"entropy of the predicted classes is {_entropy(count_K):.4f} nats, of the labels"
        found.append(("low_entropy", f"{reason} {_entropy(label_count_K):.4f}"))
    spread = float(np.ptp(probability_PK, axis=0).max())
    if n > 1 and spread < CONSTANT_OUTPUT_RANGE:
        reason = f"probabilities differ by at most {spread:.1e} between participants: the input has no effect"
        found.append(("constant_output", reason))
    return found


def _dominant_reason(count_K: IntArray, top: int, metrics: Metrics, name: str, is_constant: bool) -> str:
    count, n = int(count_K[top]), metrics.n
    if count == n and is_constant:
        accuracy = f"accuracy {metrics.accuracy:.4f} is what always predicting it gives"
        return f"all {n} predictions are {name}: {accuracy}"
    return f"{count} of {n} predictions ({100 * count / n:.1f} %) are {name}"


def _equal_constants(label_P: IntArray, metrics: Metrics, num_classes: int) -> list[int]:
    """Classes whose constant predictor has these metrics to four decimals."""
    names = ("accuracy", "balanced_accuracy", "macro_f1")
    observed = [round(getattr(metrics, name), CONSTANT_DIGITS) for name in names]
    equal = []
    for k in np.unique(label_P).tolist():
        constant = constant_score(label_P, num_classes, k)
        if observed == [round(getattr(constant, name), CONSTANT_DIGITS) for name in names]:
            equal.append(k)
    # Two classes as frequent as each other score alike as constants: name the one that is predicted most.
    return sorted(equal, key=lambda k: -metrics.prediction_counts[k])[:1]


def _equal_reason(metrics: Metrics, name: str) -> str:
    return (
        f"accuracy {metrics.accuracy:.4f}, balanced accuracy {metrics.balanced_accuracy:.4f} and macro F1 "
        f"{metrics.macro_f1:.4f} are those of always predicting {name}"
    )


def _entropy(count_K: IntArray) -> float:
    """Entropy in nats of a histogram of classes."""
    share = count_K[count_K > 0] / count_K.sum()
    return float(-(share * np.log(share)).sum())


def _against_chance(label_P: IntArray, value: float, interval: Interval) -> list[tuple[str, str]]:
    # One over the classes that occur: what any constant predictor scores, so 1/K if all occur.
    chance = 1 / len(np.unique(label_P))
    limits = f"balanced accuracy {value:.4f} ({100 * interval.level:g} % interval"
    text = f"{limits} {interval.low:.4f} to {interval.high:.4f})"
    if interval.low - 1e-12 <= chance <= interval.high + 1e-12:
        return [("chance", f"{text} cannot be told from chance, {chance:.4f}")]
    if interval.high < chance:
        return [("below_chance", f"{text} is below chance, {chance:.4f}: check labels and class order")]
    return []


@dataclass(frozen=True)
class IdenticalGroup:
    """Runs that predicted the same class for every participant.

    `constant`: that class is one and the same for everyone, so the runs collapsed alike.
    `same_probabilities`: the names within the group whose probabilities agree to 1e-9 too; different weights
    cannot do that unless the input, or the difference between the weights, is ignored.
    """

    names: tuple[str, ...]
    constant: bool
    same_probabilities: tuple[tuple[str, ...], ...]


def identical_predictions(runs: Mapping[str, ParticipantScores]) -> list[IdenticalGroup]:
    """Groups of two or more runs with identical predicted classes on the same rows, in the runs' order."""
    ordered = {name: scores.ordered() for name, scores in runs.items()}
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, scores in ordered.items():
        predicted_SP = scores.predicted_SP
        key = (tuple(scores.row_keys()), predicted_SP.shape, predicted_SP.tobytes(), scores.num_classes)
        groups.setdefault(key, []).append(name)
    return [
        IdenticalGroup(
            names=tuple(names),
            constant=len(np.unique(ordered[names[0]].predicted_SP)) == 1,
            same_probabilities=_same_probabilities({name: ordered[name] for name in names}),
        )
        for names in groups.values()
        if len(names) > 1
    ]


def _same_probabilities(runs: Mapping[str, ParticipantScores]) -> tuple[tuple[str, ...], ...]:
    clusters: list[list[str]] = []
    for name, scores in runs.items():
        for cluster in clusters:
            difference_SPK = scores.probability_SPK - runs[cluster[0]].probability_SPK
            if np.abs(difference_SPK).max() <= SAME_PROBABILITY:
                cluster.append(name)
                break
        else:
            clusters.append([name])
    return tuple(tuple(cluster) for cluster in clusters if len(cluster) > 1)
