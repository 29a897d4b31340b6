"""Questions about the order of the classes: the first or the last against all others, and their order as a whole.

Suffixes: P rows, G participants, S passes, K classes, B draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from octjob.evaluate.arrays import BoolArray, FloatArray
from octjob.evaluate.intervals import (
    Interval,
    bounded_interval,
    in_chunks,
    participant_groups,
    stratified_draws,
)
from octjob.evaluate.predictions import ParticipantScores
from octjob.evaluate.weighted import auroc, divide


@dataclass(frozen=True)
class Estimated:
    """A number and its interval; both NaN where the number is not defined."""

    value: float
    interval: Interval


def auroc_against_rest(
    scores: ParticipantScores, positive: int, num_draws: int = 2000, seed: int = 0, level: float = 0.95
) -> Estimated:
    """AUROC of one class against all others, whose probabilities are summed; mean over passes.

    The bootstrap draws participants within the class and within the others, as whose mixture they are drawn.

    Raises:
        ValueError: a class that the scores do not have.
    """
    if not 0 <= positive < scores.num_classes:
        raise ValueError(f"class {positive} of {scores.num_classes}")
    scores = scores.ordered()
    positive_P: BoolArray = scores.label_P == positive

    def values(weight_BP: FloatArray) -> FloatArray:
        per_pass = [
            auroc(score_P, positive_P, weight_BP) for score_P in scores.probability_SPK[:, :, positive]
        ]
        mean_B: FloatArray = np.mean(per_pass, axis=0)
        return mean_B

    label_G, group_P = participant_groups(scores)
    is_positive_G = (label_G == positive).astype(np.int64)
    draw_BG = stratified_draws(is_positive_G, num_draws, seed)
    value_B = in_chunks(lambda chunk_BG: {"": values(chunk_BG[:, group_P])}, draw_BG, len(group_P))[""]
    value = float(values(np.ones((1, len(group_P))))[0])
    method = f"participant bootstrap stratified by class, logit, {num_draws} draws"
    return Estimated(value, bounded_interval(value, value_B, is_positive_G, 0.0, 0.5, level, method))


def expected_rank(probability_SPK: FloatArray) -> FloatArray:
    """The mean of the class numbers 0..K-1 under the probabilities, [S, P]."""
    rank_SP: FloatArray = probability_SPK @ np.arange(probability_SPK.shape[2], dtype=np.float64)
    return rank_SP


def somers_d(
    scores: ParticipantScores, num_draws: int = 2000, seed: int = 0, level: float = 0.95
) -> Estimated:
    """Somers' D of the expected class number, given the label: `scipy.stats.somersd(label, expected_rank)`.

    Of two rows of different classes, how much oftener the one of the later class has the higher expected number than
    the lower; mean over passes. With two classes it is 2 AUROC - 1. NaN with one class only.
    """
    scores = scores.ordered()
    label_P, (label_G, group_P) = scores.label_P, participant_groups(scores)
    later_PP = (label_P[:, None] > label_P[None, :]).astype(np.float64)
    above_PP = np.zeros_like(later_PP)
    # Rounding of a sum of probabilities makes no order.
    for rank_P in np.round(expected_rank(scores.probability_SPK), 12):
        above_PP += np.sign(rank_P[:, None] - rank_P[None, :])
    above_PP *= later_PP / len(scores.probability_SPK)

    def values(weight_BP: FloatArray) -> FloatArray:
        won_B = ((weight_BP @ above_PP) * weight_BP).sum(axis=1)
        return divide(won_B, ((weight_BP @ later_PP) * weight_BP).sum(axis=1))

    draw_BG = stratified_draws(label_G, num_draws, seed)
    value_B = in_chunks(lambda chunk_BG: {"": values(chunk_BG[:, group_P])}, draw_BG, len(group_P))[""]
    value = float(values(np.ones((1, len(group_P))))[0])
    method = f"participant bootstrap stratified by class, logit, {num_draws} draws"
    return Estimated(value, bounded_interval(value, value_B, label_G, -1.0, 0.0, level, method))
