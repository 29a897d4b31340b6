"""A metric on a part of the data against the rest, for several parts at one level.

Suffixes: C contrasts, B draws, G participants, P rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octjob.catalog import METRICS
from octjob.evaluate.arrays import FloatArray
from octjob.evaluate.distributions import normal_quantile
from octjob.evaluate.draws import Weightings
from octjob.evaluate.intervals import (
    NUM_GUESSED,
    Interval,
    guessed,
    smallest_class,
    stratified_draws,
    t_factor,
)
from octjob.evaluate.predictions import ParticipantScores

_TINY_ERROR = 1e-9


@dataclass(frozen=True, eq=False)
class Contrast:
    """Scores of the rows of a part, and of those it is compared with; a participant may have rows in both."""

    inside: ParticipantScores
    outside: ParticipantScores

    @property
    def smallest_class(self) -> int:
        """Participants of the smallest class in either."""
        return min(_smallest(one) for one in (self.inside, self.outside))

    def unseen(self, metric: str) -> float:
        """The standard error that half a guessed participant has among those of each part; 0 for the same people."""
        parts = [_people(one) for one in (self.inside, self.outside)]
        if parts[0].keys() == parts[1].keys():
            return 0.0
        span, found = 1 - METRICS[metric].lowest, 0.0
        for label_of in parts:
            guess = guessed(metric, np.array(list(label_of.values()))) - METRICS[metric].lowest
            found += NUM_GUESSED * guess * (span - guess) / (len(label_of) + NUM_GUESSED) ** 2
        return math.sqrt(found)


@dataclass(frozen=True)
class Difference:
    """metric(inside) - metric(outside); the interval is one of several that hold together."""

    difference: float
    interval: Interval


def contrasts(
    made: Sequence[Contrast], metric: str, num_draws: int = 2000, seed: int = 0, level: float = 0.95
) -> list[Difference]:
    """The differences in their order, with intervals that all hold at once with probability `level`.

    A draw weighs the participants of all contrasts together, within class; both parts of a contrast follow it.
    The intervals span `c` standard errors, `c` being the `level` quantile of the largest centred difference over its
    error in the draws (max-T, Westfall and Young, 1993), times Student's factor for the contrast's smallest class.
    With one contrast `c` is the normal quantile. The errors of parts with participants of their own have that of half
    a guessed participant added to each, as `bounded_interval` does, since no draw of a perfect score varies.
    """
    if not made:
        return []
    label_of = {
        name: int(label)
        for one in made
        for side in (one.inside, one.outside)
        for name, label in zip(side.participant_P.tolist(), side.label_P.tolist(), strict=True)
    }
    place_of = {name: place for place, name in enumerate(sorted(label_of))}
    label_G = np.array([label_of[name] for name in place_of])
    draw_BG = stratified_draws(label_G, num_draws, seed)

    def values(one: ParticipantScores, weight_BG: FloatArray) -> FloatArray:
        group_P = np.array([place_of[name] for name in one.participant_P.tolist()])
        return Weightings(one, weight_BG[:, group_P]).metric(one, metric)

    once_BG = np.ones((1, len(label_G)))
    value_C = np.array([(values(c.inside, once_BG) - values(c.outside, once_BG))[0] for c in made])
    draw_CB = np.stack([values(c.inside, draw_BG) - values(c.outside, draw_BG) for c in made])
    centred_CB = np.nan_to_num(draw_CB - np.nanmean(draw_CB, axis=1, keepdims=True))
    error_C = centred_CB.std(axis=1, ddof=1)
    ratio_CB = np.abs(centred_CB) / np.maximum(error_C, _TINY_ERROR)[:, None]
    normal = normal_quantile((1 + level) / 2)
    critical = max(normal, float(np.quantile(ratio_CB.max(axis=0), level))) if len(made) > 1 else normal
    method = (
        f"max-T over {len(made)} differences, participant bootstrap stratified by class, {num_draws} draws"
    )
    found = []
    for one, value, error in zip(made, value_C.tolist(), error_C.tolist(), strict=True):
        half_width = critical * t_factor(one.smallest_class, level) * math.hypot(error, one.unseen(metric))
        found.append(Difference(value, Interval(value - half_width, value + half_width, level, method)))
    return found


def _smallest(scores: ParticipantScores) -> int:
    return smallest_class(np.array(list(_people(scores).values())))


def _people(scores: ParticipantScores) -> dict[str, int]:
    """The label of each participant."""
    return dict(zip(scores.participant_P.tolist(), scores.label_P.tolist(), strict=True))
