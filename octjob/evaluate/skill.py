"""How much closer to the labels probabilities are than always the same ones.

Suffixes: P rows, S passes, K classes, B draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from octjob.evaluate.arrays import FloatArray
from octjob.evaluate.intervals import in_chunks, participant_groups, smallest_class, stratified_draws
from octjob.evaluate.metrics import mean_over_seeds
from octjob.evaluate.ordinal import Estimated
from octjob.evaluate.paired import difference_interval
from octjob.evaluate.predictions import ParticipantScores
from octjob.evaluate.weighted import divide


def brier_skill(
    scores: ParticipantScores,
    shares: Sequence[float],
    num_draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimated:
    """1 - Brier score / that of always answering `shares`: 1 is perfect, 0 no better than these; mean over passes.

    Raises:
        ValueError: not one share per class, or they do not sum to one.
    """
    share_K = _checked(shares, scores.num_classes)
    scores = scores.ordered()
    label_G, group_P = participant_groups(scores)
    always = replace(
        scores,
        probability_SPK=np.broadcast_to(share_K, (1, len(scores.label_P), len(share_K))),
        seed_S=(0,),
        repeat_S=(0,),
    )

    def values(weight_BP: FloatArray) -> FloatArray:
        own_B, reference_B = (mean_over_seeds(["brier"], one, weight_BP)["brier"] for one in (scores, always))
        return 1 - divide(own_B, reference_B)

    draw_BG = stratified_draws(label_G, num_draws, seed)
    value_B = in_chunks(lambda chunk_BG: {"": values(chunk_BG[:, group_P])}, draw_BG, len(group_P))[""]
    value = float(values(np.ones((1, len(group_P))))[0])
    interval = difference_interval(value, value_B, smallest_class(label_G), level)
    method = f"participant bootstrap stratified by class, Student, {num_draws} draws"
    return Estimated(value, replace(interval, method=method))


def at_shares(scores: ParticipantScores, seen: Sequence[float], shares: Sequence[float]) -> ParticipantScores:
    """The scores of a loss that saw the classes in shares of `seen`, brought to `shares` (Saerens et al., 2002).

    Raises:
        ValueError: not one share per class, they do not sum to one, or `seen` lacks a class.
    """
    seen_K, share_K = _checked(seen, scores.num_classes), _checked(shares, scores.num_classes)
    if not (seen_K > 0).all():
        raise ValueError(f"a class that was never seen cannot be brought to a share: {list(seen)}")
    odds_SPK = scores.probability_SPK * (share_K / seen_K)
    # A row that is sure of a class without a share stays as it is.
    sum_SP1 = odds_SPK.sum(axis=2, keepdims=True)
    known = sum_SP1 > 0
    moved_SPK = np.where(known, odds_SPK / np.where(known, sum_SP1, 1.0), scores.probability_SPK)
    return replace(scores, probability_SPK=moved_SPK)


def _checked(shares: Sequence[float], num_classes: int) -> FloatArray:
    share_K = np.asarray(shares, np.float64)
    if share_K.shape != (num_classes,) or abs(share_K.sum() - 1) > 1e-6 or (share_K < 0).any():
        raise ValueError(f"{list(shares)} are no shares of {num_classes} classes")
    return share_K
