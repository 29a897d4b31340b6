"""Prior: would class weights help? Computed from the same logits, with the training prior divided out.

Suffixes: P rows (participants or volumes), G participants of a class, S passes, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octjob.doctor.finding import Finding
from octjob.evaluate.arrays import FloatArray, StrArray
from octjob.evaluate.predictions import ParticipantScores

GATE = "prior"
_Z = 1.959963984540054
# A prior more even than that is nothing to weight.
_SKEWED = 2.0
# Balanced accuracy. Where a gain of so much is not ruled out, nothing is said of class weights.
_WORTH = 0.1
_SHOWN = 4
# Less is not seen in two digits.
_SEEN = 0.005
_ROUNDING = 1e-20


@dataclass(frozen=True)
class Gain:
    """Balanced accuracy of a run as it is and with the prior that its loss saw divided out, on the same participants.

    low, high: the 95 % interval of `after - before`. skew: the largest share of that prior over the smallest.
    """

    run: str
    before: float
    after: float
    low: float
    high: float
    skew: float


def prior(gains: Sequence[Gain]) -> Finding:
    """Fails where the run that answers best would answer better for it; else says by how much class weights can help
    at the most, where that is little."""
    if not gains:
        return Finding(GATE, "not judged", "the class shares that the loss saw are not recorded")
    best = max(gains, key=lambda one: one.before)
    evidence = tuple(_told(one) for one in sorted(gains, key=lambda one: -one.before)[:_SHOWN])
    skewed = [one for one in gains if one.skew >= _SKEWED]
    if not skewed:
        return Finding(GATE, "passed", f"nothing to weight: the loss saw {best.skew:.1f} : 1", evidence)
    if best.skew >= _SKEWED and best.low > 0:
        said = (
            f"{best.run} leans on its prior of {best.skew:.1f} : 1: divided out of the same logits, balanced"
            f" accuracy goes from {best.before:.2f} to {best.after:.2f}"
        )
        return Finding(GATE, "failed", said, evidence, "train.class_weights: auto")
    one = max(skewed, key=lambda one: one.before)
    if one.low > 0:
        said = f"class weights help {one.run}, and {best.run} answers best already"
        return Finding(GATE, "passed", said, evidence)
    then = (
        f"with the prior of {one.skew:.1f} : 1 divided out of its logits, {one.run} goes from {one.before:.2f} to"
        f" {one.after:.2f} balanced accuracy"
    )
    if one.high >= _WORTH:
        said = f"these participants are too few to tell whether class weights help: {then}"
        return Finding(GATE, "not judged", said, evidence)
    most = f" by more than {one.high:.2f}" if one.high >= _SEEN else ""
    return Finding(GATE, "passed", f"class weights will not help{most}: {then}", evidence)


def _told(one: Gain) -> str:
    return (
        f"{one.run}: balanced accuracy {one.before:.3f}, {one.after:.3f} without the prior of {one.skew:.1f} : 1,"
        f" change [{one.low:+.3f}, {one.high:+.3f}]"
    )


def gain(run: str, scores: ParticipantScores, prior_K: Sequence[float]) -> Gain | None:
    """None for a class without training samples.

    The interval is normal, its variance that of a mean over classes of means over each class's participants, whose
    volumes, where these are the rows, are alike and count together.
    """
    share_K = np.asarray(prior_K, np.float64)
    if not (share_K > 0).all():
        return None
    as_is_SP = scores.predicted_SP == scores.label_P
    without_SP = (scores.probability_SPK / share_K).argmax(axis=2) == scores.label_P
    change_P = (without_SP.astype(float) - as_is_SP).mean(axis=0)
    own = [scores.label_P == k for k in np.unique(scores.label_P)]
    before = float(np.mean([as_is_SP[:, mine_P].mean() for mine_P in own]))
    change = float(np.mean([change_P[mine_P].mean() for mine_P in own]))
    variances = [_variance_of_mean(change_P[mine_P], scores.participant_P[mine_P]) for mine_P in own]
    reach = _Z * math.sqrt(sum(variances)) / len(own)
    skew = float(share_K.max() / share_K.min())
    return Gain(run, before, before + change, change - reach, change + reach, skew)


def _variance_of_mean(value_P: FloatArray, participant_P: StrArray) -> float:
    """Of a mean over rows, drawn with their participants. Of so few that all could be equal by chance, as if one more
    differed."""
    _, group_P = np.unique(participant_P, return_inverse=True)
    # How far each participant moves the mean.
    moved_G = np.bincount(group_P, weights=value_P - value_P.mean()) / len(value_P)
    n = len(moved_G)
    variance = float(np.square(moved_G).sum())
    return variance if variance > _ROUNDING else 1 / (n + 1) / n
