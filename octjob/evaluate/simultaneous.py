"""Who beats whom when everyone is compared with everyone: simultaneous intervals, rank ranges, letters.

Suffixes: R runs, B bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octjob.evaluate.arrays import BoolArray, FloatArray
from octjob.evaluate.intervals import t_factor

_TINY_VARIANCE = 1e-18
# Beyond so many runs letters help nobody, and finding them takes long.
MAX_LETTERED = 60


@dataclass(frozen=True)
class RankRange:
    """A run's rank lies between `best` (1 + runs that beat it) and `worst` (runs it does not beat).

    letters: runs that share one cannot be told apart; empty beyond `MAX_LETTERED` runs.
    p_best: share of the draws in which it is the best.
    """

    best: int
    worst: int
    letters: str
    p_best: float

    def __str__(self) -> str:
        return str(self.best) if self.best == self.worst else f"{self.best}-{self.worst}"


def rank_ranges(
    values: Mapping[str, float], draws: Mapping[str, FloatArray], smallest_class: int, level: float = 0.95
) -> dict[str, RankRange]:
    """Ranks of the runs as far as the data can tell, at one error rate for all pairs together.

    A run beats another where the difference of their values exceeds `c` bootstrap standard errors of that
    difference, `c` being the `level` quantile of the largest such ratio over all pairs in the centred draws (max-T,
    Westfall and Young, 1993), times Student's factor for `smallest_class` - 1 degrees of freedom.

    values: by run, of the metric ranked by. draws: the same runs' values in the same bootstrap draws, [B] each.
    """
    names = list(values)
    if not names:
        return {}
    value_R = np.array([values[name] for name in names])
    draw_RB = np.stack([draws[name] for name in names])
    beats_RR = beats(value_R, draw_RB, smallest_class, level)
    best_R, worst_R = 1 + beats_RR.sum(axis=0), len(names) - beats_RR.sum(axis=1)
    order = sorted(range(len(names)), key=lambda r: (best_R[r], worst_R[r], -value_R[r]))
    lettered = len(names) <= MAX_LETTERED
    letters = compact_letters(~(beats_RR | beats_RR.T), order) if lettered else [""] * len(names)
    p_best_R = probability_of_being_best(draw_RB)
    return {
        name: RankRange(int(best_R[r]), int(worst_R[r]), letters[r], float(p_best_R[r]))
        for r, name in enumerate(names)
    }


def beats(value_R: FloatArray, draw_RB: FloatArray, smallest_class: int, level: float = 0.95) -> BoolArray:
    """Whether run i beats run j, [R, R]; see `rank_ranges`."""
    centred_RB = draw_RB - draw_RB.mean(axis=1, keepdims=True)
    varies_RR, error_RR = _errors(centred_RB)
    critical = _critical(centred_RB, varies_RR, error_RR, smallest_class, level)
    difference_RR = value_R[:, None] - value_R[None, :]
    return varies_RR & (difference_RR > critical * error_RR)


def critical_value(draw_RB: FloatArray, smallest_class: int, level: float = 0.95) -> float:
    """The standard errors that a difference of two runs must exceed; see `rank_ranges`. 0 for one run."""
    centred_RB = draw_RB - draw_RB.mean(axis=1, keepdims=True)
    return _critical(centred_RB, *_errors(centred_RB), smallest_class, level)


def _errors(centred_RB: FloatArray) -> tuple[BoolArray, FloatArray]:
    """Which pairs differ by more than rounding, and the standard error of each pair's difference, [R, R]."""
    variance_RR = _difference_variance(centred_RB)
    varies_RR = variance_RR > _TINY_VARIANCE
    return varies_RR, np.sqrt(np.where(varies_RR, variance_RR, 1.0))


def _critical(
    centred_RB: FloatArray, varies_RR: BoolArray, error_RR: FloatArray, smallest_class: int, level: float
) -> float:
    largest_B = np.zeros(centred_RB.shape[1])
    for r in range(len(centred_RB)):
        others = r + 1 + np.flatnonzero(varies_RR[r, r + 1 :])
        if len(others):
            ratio_RB = np.abs(centred_RB[r] - centred_RB[others]) / error_RR[r, others, None]
            largest_B = np.maximum(largest_B, ratio_RB.max(axis=0))
    return float(np.quantile(largest_B, level)) * t_factor(smallest_class, level)


def _difference_variance(centred_RB: FloatArray) -> FloatArray:
    covariance_RR = centred_RB @ centred_RB.T / (centred_RB.shape[1] - 1)
    own_R = np.diagonal(covariance_RR)
    return own_R[:, None] + own_R[None, :] - 2 * covariance_RR  # type: ignore[no-any-return]


def probability_of_being_best(draw_RB: FloatArray) -> FloatArray:
    """Share of the draws in which each run has the highest value, ties shared, [R]."""
    is_best_RB = draw_RB >= draw_RB.max(axis=0) - 1e-12
    return (is_best_RB / is_best_RB.sum(axis=0)).mean(axis=1)  # type: ignore[no-any-return]


def compact_letters(alike_RR: BoolArray, order: Sequence[int]) -> list[str]:
    """A letter for each largest set of runs that are all alike, in the order given; one text per run.

    Insert and absorb (Piepho, 2004): starting from one set of all, every pair that differs splits the sets that
    hold both. `alike_RR` is symmetric.
    """
    sets: list[frozenset[int]] = [frozenset(order)]
    for position, r in enumerate(order):
        for other in order[position + 1 :]:
            if not alike_RR[r, other]:
                sets = _split(sets, r, other)
    place = {r: position for position, r in enumerate(order)}
    ordered = sorted(sets, key=lambda members: sorted(place[r] for r in members))
    return [
        "".join(_letter(i) for i, members in enumerate(ordered) if r in members) for r in range(len(order))
    ]


def _split(sets: Sequence[frozenset[int]], a: int, b: int) -> list[frozenset[int]]:
    parts: list[frozenset[int]] = []
    for members in sets:
        parts += [members - {a}, members - {b}] if a in members and b in members else [members]
    unique = list(dict.fromkeys(parts))
    return [one for one in unique if not any(one < other for other in unique)]


def _letter(index: int) -> str:
    """a to z, then a1 to z1, a2 ..."""
    turn, position = divmod(index, 26)
    return chr(ord("a") + position) + (str(turn) if turn else "")
