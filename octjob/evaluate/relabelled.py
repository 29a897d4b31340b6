"""A metric of many runs at once under many labellings of the same participants.

With one row a participant a permutation of the labels leaves the size of every class, and every metric that ranks is
then a sum over participants of a number that depends on nothing but the label given: a matrix product for all runs.

Suffixes: B labellings, P rows (participants or volumes), G participants, R runs, S seeds, K classes; GK: G x K
flattened, without the first class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from octjob.evaluate.arrays import BoolArray, FloatArray, IntArray
from octjob.evaluate.distributions import mid_ranks
from octjob.evaluate.intervals import participant_groups
from octjob.evaluate.predictions import ParticipantScores
from octjob.evaluate.tally import CHUNK, tally
from octjob.evaluate.weighted import OF_CONFUSION, divide, mean_defined, quadratic_penalty

# Rounding must not turn a labelling that equals the observation into a smaller one.
_ROUNDING = 1e-12


def reached(
    runs: Sequence[ParticipantScores], metric: str, label_BG: IntArray
) -> tuple[FloatArray, IntArray]:
    """The metric as observed, and how many of the labellings reach it, [R] each.

    label_BG: permutations of the participants' labels, which are the same in all runs.
    """
    value_R, count_R = np.full(len(runs), np.nan), np.zeros(len(runs), dtype=np.int64)
    linear = metric in _CONTRIBUTIONS
    # A participant's volumes take its label along, so then the classes' numbers of rows vary.
    together = [r for r, one in enumerate(runs) if linear and one.volume_P is None]
    if together:
        value_R[together], count_R[together] = _together([runs[r] for r in together], metric, label_BG)
    for r in sorted(set(range(len(runs))) - set(together)):
        value_R[r], count_R[r] = _alone(runs[r], metric, label_BG)
    return value_R, count_R


def _together(
    runs: Sequence[ParticipantScores], metric: str, label_BG: IntArray
) -> tuple[FloatArray, IntArray]:
    num_classes = max(one.num_classes for one in runs)
    contribution_RGK = np.stack([contributions(one, metric, num_classes) for one in runs])
    # The labels of a row of ones and zeros add up to one, so the first class needs no column.
    constant_R = contribution_RGK[:, :, 0].sum(axis=1)
    relative = (contribution_RGK[:, :, 1:] - contribution_RGK[:, :, :1]).reshape(len(runs), -1)
    label_G = participant_groups(runs[0])[0]
    value_R = constant_R + relative @ _one_hot(label_G[None], num_classes)[0]
    least_R = value_R - constant_R - _ROUNDING
    count_R = np.zeros(len(runs), dtype=np.int64)
    for b in range(0, len(label_BG), CHUNK):
        count_R += tally(_one_hot(label_BG[b : b + CHUNK], num_classes), relative.T, least_R)
    return value_R, count_R


def _one_hot(label_BG: IntArray, num_classes: int) -> FloatArray:
    is_class: BoolArray = label_BG[:, :, None] == np.arange(1, num_classes, dtype=label_BG.dtype)
    return is_class.reshape(len(label_BG), label_BG.shape[1] * (num_classes - 1)).astype(np.float64)


def contributions(scores: ParticipantScores, metric: str, num_classes: int) -> FloatArray:
    """What each participant adds to the metric where it has each of the labels, in the order of the ids, [G, K].

    Holds for labellings with the sizes of the classes that the run's have; NaN where the metric is undefined.
    """
    size_K = np.bincount(scores.label_P, minlength=scores.num_classes).astype(np.float64)
    of_rows_PK = np.mean(
        [_CONTRIBUTIONS[metric](probability_PK, size_K) for probability_PK in scores.probability_SPK], axis=0
    )
    found_GK = np.zeros((len(scores.label_P), num_classes))
    found_GK[participant_groups(scores)[1], : scores.num_classes] = of_rows_PK
    return found_GK


def _of_auroc(probability_PK: FloatArray, size_K: FloatArray) -> FloatArray:
    """By rank sums (Mann and Whitney, 1947)."""
    pairs_K = size_K * (len(probability_PK) - size_K)
    above_PK = mid_ranks(probability_PK, axis=0) - (size_K + 1) / 2
    return _mean_over_classes(divide(above_PK, pairs_K[None]), pairs_K > 0)


def _of_accuracy(probability_PK: FloatArray, size_K: FloatArray) -> FloatArray:
    share_PK: FloatArray = _answers(probability_PK) / size_K.sum()
    return share_PK


def _of_balanced_accuracy(probability_PK: FloatArray, size_K: FloatArray) -> FloatArray:
    return _mean_over_classes(divide(_answers(probability_PK), size_K[None]), size_K > 0)


def _of_macro_f1(probability_PK: FloatArray, size_K: FloatArray) -> FloatArray:
    answer_PK = _answers(probability_PK)
    return _mean_over_classes(divide(2 * answer_PK, (size_K + answer_PK.sum(axis=0))[None]), size_K > 0)


def _of_quadratic_kappa(probability_PK: FloatArray, size_K: FloatArray) -> FloatArray:
    answer_PK, penalty_KK = _answers(probability_PK), quadratic_penalty(len(size_K))
    expected = size_K @ penalty_KK @ answer_PK.sum(axis=0) / size_K.sum()
    penalty_PK = divide(answer_PK @ penalty_KK, np.array(expected))
    return 1 / size_K.sum() - penalty_PK  # type: ignore[no-any-return]


_CONTRIBUTIONS: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "macro_auroc": _of_auroc,
    "accuracy": _of_accuracy,
    "balanced_accuracy": _of_balanced_accuracy,
    "macro_f1": _of_macro_f1,
    "quadratic_kappa": _of_quadratic_kappa,
}


def _answers(probability_PK: FloatArray) -> FloatArray:
    answer_PK: FloatArray = np.eye(probability_PK.shape[1])[probability_PK.argmax(axis=1)]
    return answer_PK


def _mean_over_classes(value_PK: FloatArray, defined_K: BoolArray) -> FloatArray:
    if not defined_K.any():
        return np.full_like(value_PK, np.nan)
    mean_PK: FloatArray = np.where(defined_K, value_PK, 0.0) / defined_K.sum()
    return mean_PK


def _alone(scores: ParticipantScores, metric: str, label_BG: IntArray) -> tuple[float, int]:
    label_G, group_P = participant_groups(scores)
    observed = float(_values(scores, metric, label_G[None, group_P])[0])
    chunks = (label_BG[b : b + CHUNK, group_P] for b in range(0, len(label_BG), CHUNK))
    count = sum(int((_values(scores, metric, one) >= observed - _ROUNDING).sum()) for one in chunks)
    return observed, count


def _values(scores: ParticipantScores, metric: str, label_BP: IntArray) -> FloatArray:
    """The metric under each labelling, mean over seeds, [B]."""
    is_class_KBP = [(label_BP == k).astype(np.float64) for k in range(scores.num_classes)]
    if metric == "macro_auroc":
        return _macro_auroc(scores, is_class_KBP)
    per_seed = []
    for probability_PK in scores.probability_SPK:
        answer_PK = _answers(probability_PK)
        confusion_BKK = np.stack([is_class_BP @ answer_PK for is_class_BP in is_class_KBP], axis=1)
        per_seed.append(OF_CONFUSION[metric](confusion_BKK))
    return np.mean(per_seed, axis=0)  # type: ignore[no-any-return]


def _macro_auroc(scores: ParticipantScores, is_class_KBP: Sequence[FloatArray]) -> FloatArray:
    """Linear in the ranks, so the mean over seeds is that of the ranks."""
    rank_PK = mid_ranks(scores.probability_SPK, axis=1).mean(axis=0)
    of_classes = []
    for k, positive_BP in enumerate(is_class_KBP):
        num_positive_B = positive_BP.sum(axis=1)
        above_B = positive_BP @ rank_PK[:, k] - num_positive_B * (num_positive_B + 1) / 2
        of_classes.append(divide(above_B, num_positive_B * (positive_BP.shape[1] - num_positive_B)))
    return mean_defined(np.stack(of_classes, axis=1))
