"""Does the input tell anything about the labels? A permutation of the labels, within site.

Suffixes: B permutations, P rows (participants or volumes), G participants, S seeds, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from octjob.evaluate.arrays import FloatArray, IntArray, StrArray
from octjob.evaluate.intervals import participant_groups
from octjob.evaluate.predictions import ParticipantScores
from octjob.evaluate.weighted import OF_CONFUSION, divide, mean_defined

MIN_PERMUTATIONS = 2000
# With Holm's adjustment the smallest p-value must stay well below 0.05: 1 / 40 of it at the most.
PERMUTATIONS_PER_COMPARISON = 40


def num_permutations(num_comparisons: int) -> int:
    """So many that a p-value adjusted for that many comparisons can still be small."""
    return max(MIN_PERMUTATIONS, PERMUTATIONS_PER_COMPARISON * num_comparisons)


@dataclass(frozen=True)
class Signal:
    """One-sided: how often permuted labels score at least as high. NaN where the metric is undefined."""

    metric: str
    value: float
    p_value: float
    num_permutations: int


def label_permutation(
    scores: ParticipantScores,
    metric: str,
    site_P: StrArray | None = None,
    permutations: int = MIN_PERMUTATIONS,
    seed: int = 0,
) -> Signal:
    """Permute the participants' labels, within `site_P` where it is given, and score the same predictions.

    Within a site, so that a model which only knows the site (and sites differ in their classes) has no signal. All
    seeds see the same permutation. Exact: with no signal, p <= a happens with probability at most a.

    Raises:
        ValueError: a metric other than macro_auroc and those of a confusion matrix.
    """
    label_G, group_P = participant_groups(scores)
    site_G = None if site_P is None else _of_participants(site_P, group_P, len(label_G))
    permuted_BG = _permuted(label_G, site_G, permutations, np.random.default_rng(seed))
    label_BP = np.concatenate([label_G[None], permuted_BG])[:, group_P]
    value_B = _values(scores, metric, label_BP)
    observed = float(value_B[0])
    if np.isnan(observed):
        return Signal(metric, observed, float("nan"), permutations)
    # Rounding must not turn a permutation that equals the observation into a smaller one.
    num_extreme = int((value_B[1:] >= observed - 1e-12).sum())
    return Signal(metric, observed, (1 + num_extreme) / (1 + permutations), permutations)


def _of_participants(site_P: StrArray, group_P: IntArray, num_groups: int) -> StrArray:
    site_G = np.empty(num_groups, dtype=site_P.dtype)
    site_G[group_P] = site_P
    return site_G


def _permuted(
    label_G: IntArray, site_G: StrArray | None, permutations: int, generator: np.random.Generator
) -> IntArray:
    permuted_BG = np.tile(label_G, (permutations, 1))
    sites = [None] if site_G is None else np.unique(site_G).tolist()
    for site in sites:
        members = np.arange(len(label_G)) if site_G is None else np.flatnonzero(site_G == site)
        permuted_BG[:, members] = generator.permuted(permuted_BG[:, members], axis=1)
    return permuted_BG


def _values(scores: ParticipantScores, metric: str, label_BP: IntArray) -> FloatArray:
    """The metric under each labelling, mean over seeds, [B]."""
    if metric == "macro_auroc":
        return _macro_auroc(scores, label_BP)
    if metric not in OF_CONFUSION:
        raise ValueError(f"no label permutation of {metric}")
    classes = range(scores.num_classes)
    is_class_KBP = [(label_BP == k).astype(np.float64) for k in classes]
    per_seed = []
    for probability_PK in scores.probability_SPK:
        answer_PK = np.eye(scores.num_classes)[probability_PK.argmax(axis=1)]
        confusion_BKK = np.stack([is_class_BP @ answer_PK for is_class_BP in is_class_KBP], axis=1)
        per_seed.append(OF_CONFUSION[metric](confusion_BKK))
    return np.mean(per_seed, axis=0)  # type: ignore[no-any-return]


def _macro_auroc(scores: ParticipantScores, label_BP: IntArray) -> FloatArray:
    """By rank sums (Mann and Whitney, 1947): linear in the ranks, so the mean over seeds is that of the ranks."""
    rank_SPK = stats.rankdata(scores.probability_SPK, axis=1)
    rank_PK, n = rank_SPK.mean(axis=0), label_BP.shape[1]
    of_classes = []
    for k in range(scores.num_classes):
        positive_BP = (label_BP == k).astype(np.float64)
        num_positive_B = positive_BP.sum(axis=1)
        above_B = positive_BP @ rank_PK[:, k] - num_positive_B * (num_positive_B + 1) / 2
        of_classes.append(divide(above_B, num_positive_B * (n - num_positive_B)))
    return mean_defined(np.stack(of_classes, axis=1))
