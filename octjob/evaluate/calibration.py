"""Whether answers given with 60 % confidence are right six times in ten.

Suffixes: P participants, S passes, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octjob.evaluate.arrays import FloatArray
from octjob.evaluate.predictions import ParticipantScores

NUM_BINS = 10


@dataclass(frozen=True)
class Bin:
    """Answers whose confidence lies in one tenth: their mean confidence, the share that is right, their number.

    count: summed over passes and divided by them.
    """

    confidence: float
    right: float
    count: float


@dataclass(frozen=True)
class Calibration:
    """bins: those that hold an answer. error: mean distance of confidence and share, by the number of answers (ECE).

    prior_corrected: the class shares that the loss saw were divided out before.
    """

    bins: tuple[Bin, ...]
    error: float
    prior_corrected: bool


def calibration(scores: ParticipantScores, prior: Sequence[float] | None = None) -> Calibration:
    """Of the most probable class, in ten bins of equal width (Guo et al. 2017, arXiv:1706.04599).

    prior: the class shares that training saw; the probabilities are brought to equal shares first. A class without a
    share is never answered. None where that is not known: the probabilities as they are.
    """
    probability_SPK = scores.probability_SPK
    if prior is not None:
        probability_SPK = _at_equal_shares(probability_SPK, np.asarray(prior, np.float64))
    confidence_SP, answer_SP = probability_SPK.max(axis=2), probability_SPK.argmax(axis=2)
    right_SP = (answer_SP == scores.label_P).astype(np.float64)
    index_SP = np.minimum((confidence_SP * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    total = confidence_SP.size
    bins, error = [], 0.0
    for number in range(NUM_BINS):
        inside_SP = index_SP == number
        count = int(inside_SP.sum())
        if count:
            confidence, right = float(confidence_SP[inside_SP].mean()), float(right_SP[inside_SP].mean())
            bins.append(Bin(confidence, right, count / len(confidence_SP)))
            error += count / total * abs(confidence - right)
    return Calibration(tuple(bins), error, prior is not None)


def _at_equal_shares(probability_SPK: FloatArray, prior_K: FloatArray) -> FloatArray:
    seen_K = prior_K > 0
    odds_SPK = np.where(seen_K, probability_SPK / np.where(seen_K, prior_K, 1.0), 0.0)
    total_SP1 = odds_SPK.sum(axis=2, keepdims=True)
    # Nothing but classes that training never saw: nothing is known.
    equal: FloatArray = np.where(total_SP1 > 0, odds_SPK / np.where(total_SP1 > 0, total_SP1, 1.0), 0.0)
    return equal
