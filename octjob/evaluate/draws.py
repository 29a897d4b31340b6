"""A metric of one run after the other in bootstrap draws that they share.

Suffixes: B draws, P rows, G participants, K classes, S seeds; I positives, J negatives of a class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from octjob.evaluate.arrays import BoolArray, FloatArray
from octjob.evaluate.intervals import in_chunks, participant_groups, stratified_draws
from octjob.evaluate.metrics import mean_over_seeds
from octjob.evaluate.predictions import ParticipantScores
from octjob.evaluate.weighted import divide, mean_defined, pairs_won


@dataclass(frozen=True, eq=False)
class DrawnValues:
    """A metric on the participants drawn, and on those not drawn, [B] each."""

    in_bag_B: FloatArray
    out_of_bag_B: FloatArray


class SharedDraws:
    """Draws of participants for every run that scored the same rows with the same labels, see `stratified_draws`.

    What does not depend on a run is made once: any number of runs costs a matrix product each.
    """

    def __init__(self, like: ParticipantScores, num_draws: int, seed: int) -> None:
        """like: any of the runs."""
        like = like.ordered()
        label_G, group_P = participant_groups(like)
        self.draw_BG = stratified_draws(label_G, num_draws, seed)
        self._in_bag = Weightings(like, self.draw_BG[:, group_P])
        self._out_of_bag = Weightings(like, (self.draw_BG == 0).astype(np.float64)[:, group_P])

    def values(self, scores: ParticipantScores, metric: str) -> DrawnValues:
        """The metric on the participants drawn and on those left, averaged over passes."""
        return DrawnValues(self.in_bag(scores, metric), self._out_of_bag.metric(scores.ordered(), metric))

    def in_bag(self, scores: ParticipantScores, metric: str) -> FloatArray:
        """The metric on the participants drawn alone, [B]."""
        return self._in_bag.metric(scores.ordered(), metric)


@dataclass(frozen=True, eq=False)
class _OfClass:
    """What the AUROC of one class needs of the weightings: pairs_B is the weight of all pairs."""

    positive_P: BoolArray
    positive_BI: FloatArray
    negative_BJ: FloatArray
    pairs_B: FloatArray


class Weightings:
    """Weightings [B, P] of rows whose order and labels are those of `like`."""

    def __init__(self, like: ParticipantScores, weight_BP: FloatArray) -> None:
        self._like, self._weight_BP = like, weight_BP

    def metric(self, scores: ParticipantScores, metric: str) -> FloatArray:
        """The metric for each weighting, averaged over passes, [B]. scores: rows as those of `like`."""
        if metric == "macro_auroc":
            return self._macro_auroc(scores.probability_SPK)
        num_rows = self._weight_BP.shape[1]
        return in_chunks(
            lambda chunk_BP: mean_over_seeds([metric], scores, chunk_BP), self._weight_BP, num_rows
        )[metric]

    def _macro_auroc(self, probability_SPK: FloatArray) -> FloatArray:
        """As a matrix product: the pairs won do not depend on the weighting.

        AUROC is a weighted mean over pairs of a positive and a negative, so the mean over seeds is that of the pairs,
        and any number of seeds costs what one does.
        """
        of_classes = []
        for k, of in enumerate(self._classes):
            score_SP = probability_SPK[:, :, k]
            won_IJ = pairs_won(score_SP[:, of.positive_P], score_SP[:, ~of.positive_P])
            won_B = ((of.positive_BI @ won_IJ) * of.negative_BJ).sum(axis=1)
            of_classes.append(divide(won_B, of.pairs_B))
        return mean_defined(np.stack(of_classes, axis=1))

    @cached_property
    def _classes(self) -> list[_OfClass]:
        found = []
        for k in range(self._like.num_classes):
            positive_P = self._like.label_P == k
            positive_BI = self._weight_BP[:, positive_P]
            negative_BJ = self._weight_BP[:, ~positive_P]
            pairs_B = positive_BI.sum(axis=1) * negative_BJ.sum(axis=1)
            found.append(_OfClass(positive_P, positive_BI, negative_BJ, pairs_B))
        return found
