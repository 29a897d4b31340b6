"""A metric of one run for many weightings of its participants, averaged over its passes.

Suffixes: B draws, P rows, G participants, K classes, S seeds; I positives, J negatives of a class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from octjob.evaluate.arrays import FloatArray, IntArray
from octjob.evaluate.intervals import in_chunks, participant_groups, stratified_draws
from octjob.evaluate.metrics import mean_over_seeds
from octjob.evaluate.predictions import ParticipantScores
from octjob.evaluate.weighted import divide, mean_defined, pairs_won


@dataclass(frozen=True, eq=False)
class DrawnValues:
    """A metric on the participants drawn, and on those not drawn, [B] each."""

    in_bag_B: FloatArray
    out_of_bag_B: FloatArray


def drawn_values(scores: ParticipantScores, metric: str, draw_BG: FloatArray) -> DrawnValues:
    """The metric for draws over the participants in the order of their ids, see `stratified_draws`."""
    scores = scores.ordered()
    left_BG = (draw_BG == 0).astype(np.float64)
    return DrawnValues(_values(scores, metric, draw_BG), _values(scores, metric, left_BG))


def shared_draws(scores: ParticipantScores, num_draws: int, seed: int) -> FloatArray:
    """Draws for every run that scored the same participants, [B, G]."""
    return stratified_draws(participant_groups(scores)[0], num_draws, seed)


def _values(scores: ParticipantScores, metric: str, weight_BG: FloatArray) -> FloatArray:
    _, group_P = participant_groups(scores)
    if metric == "macro_auroc":
        return macro_auroc_of_draws(scores.probability_SPK, scores.label_P, weight_BG[:, group_P])
    return in_chunks(
        lambda chunk_BG: mean_over_seeds([metric], scores, chunk_BG[:, group_P]), weight_BG, len(group_P)
    )[metric]


def macro_auroc_of_draws(probability_SPK: FloatArray, label_P: IntArray, weight_BP: FloatArray) -> FloatArray:
    """Mean over seeds of the macro AUROC, [B], as a matrix product: the pairs won do not depend on the draw.

    AUROC is a weighted mean over pairs of a positive and a negative, so the mean over seeds is that of the pairs,
    and any number of seeds costs what one does.
    """
    of_classes = []
    for k in range(probability_SPK.shape[2]):
        positive_P = label_P == k
        won_IJ = pairs_won(probability_SPK[:, positive_P, k], probability_SPK[:, ~positive_P, k])
        positive_BI, negative_BJ = weight_BP[:, positive_P], weight_BP[:, ~positive_P]
        won_B = ((positive_BI @ won_IJ) * negative_BJ).sum(axis=1)
        of_classes.append(divide(won_B, positive_BI.sum(axis=1) * negative_BJ.sum(axis=1)))
    return mean_defined(np.stack(of_classes, axis=1))
