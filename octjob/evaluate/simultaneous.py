"""Who beats whom when everyone is compared with everyone: simultaneous intervals, rank ranges, letters.

Suffixes: R runs, B bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from octjob.evaluate.arrays import BoolArray, FloatArray
from octjob.evaluate.intervals import t_factor
from octjob.evaluate.threads import in_threads, num_threads

_TINY_ERROR = 1e-9
# Beyond so many runs letters help nobody, and finding them takes long.
MAX_LETTERED = 60
# Runs at once: of covariances, and of ratios, which shall fit the cache of a core.
_ROWS, _BLOCK = 256, 32


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


class PairErrors:
    """Bootstrap standard errors of all differences between R runs, above the diagonal.

    Rows of the triangle, not a square of R x R: 400 MB for 10,000 runs.
    """

    def __init__(self, draw_RB: FloatArray) -> None:
        """draw_RB: the runs' values in the same draws."""
        self.centred_RB: FloatArray = draw_RB - draw_RB.mean(axis=1, keepdims=True)
        num_runs, num_draws = draw_RB.shape
        self._starts = np.concatenate([[0], np.cumsum(np.arange(num_runs - 1, -1, -1))])
        self._triangle = np.empty(self._starts[-1])
        own_R = np.einsum("rb,rb->r", self.centred_RB, self.centred_RB) / (num_draws - 1)
        for start in range(0, num_runs, _ROWS):
            rows = self.centred_RB[start : start + _ROWS]
            covariance = rows @ self.centred_RB[start:].T / (num_draws - 1)
            for i, r in enumerate(range(start, start + len(rows))):
                self.of_row(r)[:] = own_R[r] + own_R[r + 1 :] - 2 * covariance[i, i + 1 :]
        # 0 where rounding made a variance negative, and where a metric is not defined in some draw.
        np.sqrt(np.fmax(self._triangle, 0.0, out=self._triangle), out=self._triangle)

    def __len__(self) -> int:
        return len(self._triangle)

    @cached_property
    def defined_R(self) -> BoolArray:
        """Whether each run's metric is defined in every draw."""
        return np.asarray(np.isfinite(self.centred_RB).all(axis=1), dtype=np.bool_)

    @cached_property
    def largest_ratio_B(self) -> FloatArray:
        """In each draw the largest centred difference over its error, over all pairs."""
        return _largest_ratio(self)

    def of_row(self, r: int) -> FloatArray:
        """Of run r and each that follows it, a view."""
        return self._triangle[self._starts[r] : self._starts[r + 1]]

    def between(self, i: int, j: int) -> float:
        """Of two different runs."""
        first, second = min(i, j), max(i, j)
        return float(self.of_row(first)[second - first - 1])

    def median(self) -> float:
        """Over all pairs."""
        return float(np.median(self._triangle))


def rank_ranges(
    values: Mapping[str, float],
    draws: Mapping[str, FloatArray],
    smallest_class: int,
    level: float = 0.95,
    errors: PairErrors | None = None,
) -> dict[str, RankRange]:
    """Ranks of the runs as far as the data can tell, at one error rate for all pairs together.

    A run beats another where the difference of their values exceeds `c` bootstrap standard errors of that
    difference, `c` being the `level` quantile of the largest such ratio over all pairs in the centred draws (max-T,
    Westfall and Young, 1993), times Student's factor for `smallest_class` - 1 degrees of freedom.

    values: by run, of the metric ranked by. draws: the same runs' values in the same bootstrap draws, [B] each.
    errors: of these draws in the order of `values`, where they are known.
    """
    names = list(values)
    if not names:
        return {}
    value_R = np.array([values[name] for name in names])
    draw_RB = np.stack([draws[name] for name in names])
    beats_RR = beats(value_R, errors or PairErrors(draw_RB), smallest_class, level)
    best_R, worst_R = 1 + beats_RR.sum(axis=0), len(names) - beats_RR.sum(axis=1)
    order = sorted(range(len(names)), key=lambda r: (best_R[r], worst_R[r], -value_R[r]))
    lettered = len(names) <= MAX_LETTERED
    letters = compact_letters(~(beats_RR | beats_RR.T), order) if lettered else [""] * len(names)
    p_best_R = probability_of_being_best(draw_RB)
    return {
        name: RankRange(int(best_R[r]), int(worst_R[r]), letters[r], float(p_best_R[r]))
        for r, name in enumerate(names)
    }


def beats(value_R: FloatArray, errors: PairErrors, smallest_class: int, level: float = 0.95) -> BoolArray:
    """Whether run i beats run j, [R, R]; see `rank_ranges`."""
    critical = critical_value(errors, smallest_class, level)
    beats_RR = np.zeros((len(value_R), len(value_R)), dtype=np.bool_)
    for r in range(len(value_R) - 1):
        error = errors.of_row(r)
        difference = value_R[r] - value_R[r + 1 :]
        # Runs that predict alike differ by nothing but rounding.
        needed = np.maximum(critical * error, _TINY_ERROR)
        beats_RR[r, r + 1 :] = difference > needed
        beats_RR[r + 1 :, r] = -difference > needed
    both_RR: BoolArray = beats_RR & errors.defined_R & errors.defined_R[:, None]
    return both_RR


def critical_value(errors: PairErrors, smallest_class: int, level: float = 0.95) -> float:
    """The standard errors that a difference of two runs must exceed; see `rank_ranges`. 0 for one run."""
    return float(np.quantile(errors.largest_ratio_B, level)) * t_factor(smallest_class, level)


def _largest_ratio(errors: PairErrors) -> FloatArray:
    """The largest difference of two centred draws over its error, over all pairs that vary, [B]."""
    num_runs = len(errors.centred_RB)
    # Early rows have more pairs than late ones: dealt in turn, every thread gets as many.
    shares = [range(first, num_runs - 1, num_threads()) for first in range(num_threads())]
    largest = in_threads(lambda rows: _largest_in_rows(errors, rows), shares)
    return np.max(largest, axis=0)  # type: ignore[no-any-return]


def _largest_in_rows(errors: PairErrors, rows: Iterable[int]) -> FloatArray:
    centred_RB = errors.centred_RB
    num_runs, num_draws = centred_RB.shape
    largest_B, of_block_B = np.zeros(num_draws), np.empty(num_draws)
    ratio = np.empty((_BLOCK, num_draws))
    for r in rows:
        error = errors.of_row(r)
        varies = error > _TINY_ERROR
        per_error = np.divide(1.0, error, out=np.zeros_like(error), where=varies)
        for start in range(r + 1, num_runs, _BLOCK):
            others = centred_RB[start : start + _BLOCK]
            ratio_RB = ratio[: len(others)]
            # In place, in a block that stays in the cache of a core: 10,000 runs have 50 million pairs in each draw.
            np.subtract(centred_RB[r], others, out=ratio_RB)
            np.abs(ratio_RB, out=ratio_RB)
            np.multiply(ratio_RB, per_error[start - r - 1 : start - r - 1 + len(others), None], out=ratio_RB)
            np.maximum(largest_B, np.max(ratio_RB, axis=0, out=of_block_B), out=largest_B)
    return largest_B


def probability_of_being_best(draw_RB: FloatArray) -> FloatArray:
    """Share of the draws in which each run has the highest value, ties shared, [R]."""
    is_best_RB = draw_RB >= draw_RB.max(axis=0) - 1e-12
    return is_best_RB @ (1 / is_best_RB.sum(axis=0)) / draw_RB.shape[1]  # type: ignore[no-any-return]


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
