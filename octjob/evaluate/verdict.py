"""Is this run a predictor at all, and does it answer every class?

A run is *constant* (people read: collapsed) where it does what a predictor that ignores its input does. A healthy
model at a few dozen participants often never answers the rarest class; that is a flag, not a collapse. Whether
there is any signal is asked of the metric that is ranked by: `octjob.evaluate.signal`.

Suffixes: P participants (or volumes), S seeds, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from octjob.catalog import METRICS
from octjob.evaluate.arrays import FloatArray, IntArray, to_plain
from octjob.evaluate.baseline import CONSTANT_METRICS, constant_score
from octjob.evaluate.intervals import Interval
from octjob.evaluate.metrics import Metrics
from octjob.evaluate.predictions import ParticipantScores
from octjob.evaluate.prior import PriorCorrected

DOMINANT_SHARE = 0.95
# Predicted less than a fifth as often as it occurs, a class counts as missed.
MISSED_SHARE = 0.2
CONSTANT_DIGITS = 4
# Probabilities closer than this over all participants: the output does not depend on the input.
CONSTANT_OUTPUT_RANGE = 1e-4


@dataclass(frozen=True)
class Verdict:
    """What is wrong with the predictions, if anything.

    constant: most passes (a seed, and a repeat of the folds) are. constant_passes: which. `reasons` has one line
    each, naming the pass if there are several.

    Flags that say why: `dominant_class` (at least 95 % of the predictions are one class, and of the labels are not),
    `equals_constant` (accuracy, balanced accuracy and macro F1 are a constant predictor's to four decimals),
    `constant_output` (the same probabilities for every participant). Flags that only say: `some_seeds_constant` (not
    most of them), `misses_class` (a class that occurs is predicted never, or less than a fifth as often),
    `below_chance` (an interval lies under chance).
    """

    constant: bool
    flags: list[str]
    reasons: list[str]
    constant_passes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def diagnose(
    scores: ParticipantScores,
    metrics: Metrics,
    intervals: Mapping[str, Interval],
    class_names: Sequence[str] | None = None,
    corrected: PriorCorrected | None = None,
) -> Verdict:
    """The verdict on `scores`, with `metrics` and `intervals` computed from them.

    `class_names`, one per class, only serves the reasons, and so does `corrected`: what the same probabilities
    answer with the training prior divided out.
    """
    names = [
        f"class {k}" + (f" ({class_names[k]})" if class_names else "") for k in range(scores.num_classes)
    ]
    of_passes = [
        _symptoms(probability_PK, scores.label_P, of_seed, names)
        for probability_PK, of_seed in zip(scores.probability_SPK, metrics.per_seed, strict=True)
    ]
    constant_passes = [name for name, found in zip(scores.name_S, of_passes, strict=True) if found]
    constant = 2 * len(constant_passes) > len(scores.name_S)
    found = _named_by_pass(scores.name_S, of_passes)
    if found and not constant:
        found = [("some_seeds_constant", reason) for _, reason in found[:1]]
    if len(scores.name_S) > 1 and constant_passes:
        what = "seeds" if len(set(scores.repeat_S)) == 1 else "trainings"
        counts = f"{len(constant_passes)} of {len(scores.name_S)} {what} constant"
        found[0] = (found[0][0], f"{counts}, the first: {found[0][1]}")
    if not constant:
        found += _missed(scores.label_P, metrics, len(scores.name_S), names, corrected)
    found += [one for name, interval in intervals.items() for one in _below_chance(scores, name, interval)]
    return Verdict(
        constant=constant,
        flags=list(dict.fromkeys(flag for flag, _ in found)),
        reasons=[reason for _, reason in found],
        constant_passes=constant_passes,
    )


def _named_by_pass(
    name_S: Sequence[str], of_passes: Sequence[Sequence[tuple[str, str]]]
) -> list[tuple[str, str]]:
    several = len(name_S) > 1
    return [
        (flag, f"{name}: {reason}" if several else reason)
        for name, symptoms in zip(name_S, of_passes, strict=True)
        for flag, reason in symptoms
    ]


def _symptoms(
    probability_PK: FloatArray, label_P: IntArray, metrics: Metrics, names: Sequence[str]
) -> list[tuple[str, str]]:
    """(flag, reason) of each sign that one seed's predictions are a constant's."""
    found: list[tuple[str, str]] = []
    num_classes, n = len(names), metrics.n
    label_count_K = np.bincount(label_P, minlength=num_classes)
    count_K = np.array(metrics.prediction_counts)
    top = int(count_K.argmax())
    equal_to = _equal_constants(label_P, metrics, num_classes)
    # Labels that are themselves nearly one class rightly give predictions that are.
    if count_K[top] >= DOMINANT_SHARE * n and label_count_K.max() < DOMINANT_SHARE * n:
        found.append(("dominant_class", _dominant_reason(count_K, top, metrics, names[top], top in equal_to)))
    for k in equal_to:
        found.append(("equals_constant", _equal_reason(metrics, names[k])))
    spread = float(np.ptp(probability_PK, axis=0).max())
    if n > 1 and spread < CONSTANT_OUTPUT_RANGE:
        reason = f"probabilities differ by at most {spread:.1e} between participants: the input has no effect"
        found.append(("constant_output", reason))
    return found


def _dominant_reason(count_K: IntArray, top: int, metrics: Metrics, name: str, is_constant: bool) -> str:
    count, n = int(count_K[top]), metrics.n
    if count == n and is_constant:
        accuracy = f"accuracy {metrics['accuracy']:.4f} is what always predicting it gives"
        return f"all {n} predictions are {name}: {accuracy}"
    return f"{count} of {n} predictions ({100 * count / n:.1f} %) are {name}"


def _equal_constants(label_P: IntArray, metrics: Metrics, num_classes: int) -> list[int]:
    """Classes whose constant predictor has these metrics to four decimals; none where the labels are one class."""
    observed = [round(metrics[name], CONSTANT_DIGITS) for name in CONSTANT_METRICS]
    occurring = np.unique(label_P).tolist()
    equal = []
    for k in occurring if len(occurring) > 1 else ():
        constant = constant_score(label_P, num_classes, k)
        if observed == [round(getattr(constant, name), CONSTANT_DIGITS) for name in CONSTANT_METRICS]:
            equal.append(k)
    # Two classes as frequent as each other score alike as constants: name the one that is predicted most.
    return sorted(equal, key=lambda k: -metrics.prediction_counts[k])[:1]


def _equal_reason(metrics: Metrics, name: str) -> str:
    return (
        f"accuracy {metrics['accuracy']:.4f}, balanced accuracy {metrics['balanced_accuracy']:.4f} and macro F1 "
        f"{metrics['macro_f1']:.4f} are those of always predicting {name}"
    )


def _missed(
    label_P: IntArray,
    metrics: Metrics,
    num_seeds: int,
    names: Sequence[str],
    corrected: PriorCorrected | None,
) -> list[tuple[str, str]]:
    """Classes that occur and are predicted never or hardly, and whether that is only the training prior."""
    label_count_K = np.bincount(label_P, minlength=len(names))
    count_K = np.array(metrics.prediction_counts) / num_seeds
    found = []
    for k in np.flatnonzero(count_K < MISSED_SHARE * label_count_K).tolist():
        often = f"{count_K[k]:.3g} times" if count_K[k] else "never"
        text = f"{names[k]} is predicted {often} and occurs {label_count_K[k]} times in {len(label_P)}"
        found.append(("misses_class", text + _if_corrected(k, label_count_K, num_seeds, corrected)))
    return found


def _if_corrected(k: int, label_count_K: IntArray, num_seeds: int, corrected: PriorCorrected | None) -> str:
    if corrected is None:
        return ""
    count = corrected.prediction_counts[k] / num_seeds
    what = "only the prior" if count >= MISSED_SHARE * label_count_K[k] else "not only the prior"
    return f"; {count:.3g} times with the training prior divided out, so it is {what}"


def _below_chance(scores: ParticipantScores, name: str, interval: Interval) -> list[tuple[str, str]]:
    chance = METRICS[name].chance(len(np.unique(scores.label_P)))
    if chance is None or not interval.high < chance - 1e-12:
        return []
    limits = f"{name}: {100 * interval.level:g} % interval {interval.low:.3f} to {interval.high:.3f}"
    return [("below_chance", f"{limits} is below chance, {chance:.3g}: check labels and class order")]
