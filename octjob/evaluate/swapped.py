"""Pairs of runs whose outputs are swapped participant by participant, many pairs at once.

Under the hypothesis that two runs are interchangeable, who is taken from which of them is a coin's toss. Of most
metrics the difference that a swap makes is linear in the tosses: half the sum of what each participant contributes,
with the sign of its toss. F1 and kappa are sums of ratios of which both sides are (`octjob.evaluate.ratios`). All
pairs on so many participants then share their tosses and a matrix product.

Suffixes: B swaps, P rows (participants or volumes), G participants, R pairs, S seeds, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from octjob.evaluate.arrays import FloatArray, IntArray
from octjob.evaluate.distributions import mid_ranks
from octjob.evaluate.intervals import participant_groups
from octjob.evaluate.predictions import ParticipantScores
from octjob.evaluate.ratios import RATIOS, far_from_zero, swapped_ratios
from octjob.evaluate.tally import CHUNK, tally
from octjob.evaluate.weighted import weighted_metrics

# Two runs with the same rows in the same order, and as many passes.
AlignedPair = tuple[ParticipantScores, ParticipantScores]
# Rounding must not turn a swap that equals the observation into a smaller one.
_ROUNDING = 1e-12


def swap_p_values(pairs: Sequence[AlignedPair], metric: str, num_permutations: int, seed: int) -> list[float]:
    """For each pair (1 + swaps at least as far from zero) / (1 + swaps), NaN where the metric is undefined."""
    by_size: dict[int, list[int]] = {}
    for r, (a, _) in enumerate(pairs):
        by_size.setdefault(len(np.unique(a.participant_P)), []).append(r)
    p_R = np.full(len(pairs), np.nan)
    extreme = (
        _extreme_linear if metric in _CONTRIBUTIONS else _extreme_ratios if metric in RATIOS else _extreme
    )
    for size, members in by_size.items():
        observed_R, count_R = extreme(
            [pairs[r] for r in members], metric, _Tosses(size, num_permutations, seed)
        )
        p_R[members] = np.where(np.isfinite(observed_R), (1 + count_R) / (1 + num_permutations), np.nan)
    found: list[float] = p_R.tolist()
    return found


class _Tosses:
    """Whether a participant's output comes from `a` (1) or `b` (0), a bounded number of swaps at a time, [B, G]."""

    def __init__(self, num_participants: int, num_swaps: int, seed: int) -> None:
        self.num_participants, self._num_swaps, self._seed = num_participants, num_swaps, seed

    def __iter__(self) -> Iterator[FloatArray]:
        generator = np.random.default_rng(self._seed)
        for start in range(0, self._num_swaps, CHUNK):
            shape = (min(CHUNK, self._num_swaps - start), self.num_participants)
            yield generator.integers(0, 2, shape).astype(np.float64)


def _extreme_linear(
    pairs: Sequence[AlignedPair], metric: str, tosses: _Tosses
) -> tuple[FloatArray, IntArray]:
    """The difference as observed, and how many swaps are as far from zero, [R] each."""
    contribution_GR = np.stack([_of_participants(pair, metric) for pair in pairs], axis=1)
    observed_R = contribution_GR.sum(axis=0) / 2
    least_R = np.abs(observed_R) - _ROUNDING
    count_R = np.zeros(len(pairs), dtype=np.int64)
    for keep_BG in tosses:
        count_R += tally(keep_BG - 0.5, contribution_GR, least_R, absolute=True)
    return observed_R, count_R


def _of_participants(pair: AlignedPair, metric: str) -> FloatArray:
    label_G, group_P = participant_groups(pair[0])
    contribution_P = swap_contributions(*pair, metric)
    return np.bincount(group_P, contribution_P, len(label_G)).astype(np.float64)


def swap_contributions(a: ParticipantScores, b: ParticipantScores, metric: str) -> FloatArray:
    """What each row adds to the difference of a metric when its outputs are not swapped, [P].

    Raises `KeyError` for a metric of which the difference is not linear in the swaps.
    """
    return _CONTRIBUTIONS[metric](a, b)


def _of_auroc(a: ParticipantScores, b: ParticipantScores) -> FloatArray:
    """The AUROC of a mixture of two runs is quadratic in who is taken from which; the difference is not.

    A positive's part is how many negatives of both runs its rank in `a` exceeds, less how many its rank in `b` does;
    a negative's, how many positives exceed its rank.
    """
    num_seeds, num_rows, num_classes = a.probability_SPK.shape
    own_PK = a.label_P[:, None] == np.arange(num_classes)
    pairs_K = own_PK.sum(axis=0) * (~own_PK).sum(axis=0)
    rank_a_SPK, rank_b_SPK = _doubled_ranks(a), _doubled_ranks(b)
    won = _won(rank_a_SPK, own_PK) + _won(rank_b_SPK, own_PK)
    at = (np.arange(num_seeds)[:, None, None], own_PK.astype(np.int64), np.arange(num_classes))
    gained_PK: FloatArray = (won[(*at, rank_a_SPK)] - won[(*at, rank_b_SPK)]).mean(axis=0)
    defined_K = pairs_K > 0
    if not defined_K.any():
        return np.full(num_rows, np.nan)
    return (gained_PK[:, defined_K] / pairs_K[defined_K]).mean(axis=1)  # type: ignore[no-any-return]


def _won(rank_SPK: IntArray, own_PK: IntArray) -> FloatArray:
    """What a doubled rank wins against a run's rows of the other kind, ties counting half, [S, kind, K, rank].

    Kind 1 is the class itself, which wins by being above the others; kind 0 the others, who lose to those above.
    """
    num_seeds, num_rows, num_classes = rank_SPK.shape
    shape = (num_seeds, 2, num_classes, 2 * num_rows + 1)
    at = (np.arange(num_seeds)[:, None, None], own_PK.astype(np.int64), np.arange(num_classes), rank_SPK)
    flat = np.ravel_multi_index(np.broadcast_arrays(*at), shape).ravel()
    count = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
    up_to = np.cumsum(count, axis=3) - count / 2
    others_below, own_above = up_to[:, 0], count[:, 1].sum(axis=2, keepdims=True) - up_to[:, 1]
    return np.stack([own_above, others_below], axis=1)


def _doubled_ranks(scores: ParticipantScores) -> IntArray:
    """Whole numbers, [S, P, K]: ties have ranks of halves."""
    return (2 * mid_ranks(scores.probability_SPK, axis=1)).astype(np.int64)


def _of_accuracy(a: ParticipantScores, b: ParticipantScores) -> FloatArray:
    return _right(a, b) * 2 / len(a.label_P)


def _of_balanced_accuracy(a: ParticipantScores, b: ParticipantScores) -> FloatArray:
    size_K = np.bincount(a.label_P)
    return _right(a, b) * 2 / size_K[a.label_P] / np.count_nonzero(size_K)


def _right(a: ParticipantScores, b: ParticipantScores) -> FloatArray:
    """How much more often `a` is right than `b`, mean over seeds, [P]."""
    share_P: FloatArray = np.mean((a.predicted_SP == a.label_P) * 1.0 - (b.predicted_SP == b.label_P), axis=0)
    return share_P


_CONTRIBUTIONS: dict[str, Callable[[ParticipantScores, ParticipantScores], FloatArray]] = {
    "macro_auroc": _of_auroc,
    "accuracy": _of_accuracy,
    "balanced_accuracy": _of_balanced_accuracy,
}


def _extreme_ratios(
    pairs: Sequence[AlignedPair], metric: str, tosses: _Tosses
) -> tuple[FloatArray, IntArray]:
    """As `_extreme_linear`, for a metric that is a sum of ratios."""
    terms = swapped_ratios(pairs, metric)
    observed_R = terms.differences(np.full((1, tosses.num_participants), 0.5))[0]
    least_R = np.abs(observed_R) - _ROUNDING
    count_R = np.zeros(len(pairs), dtype=np.int64)
    for keep_BG in tosses:
        count_R += far_from_zero(terms, keep_BG - 0.5, least_R)
    return observed_R, count_R


def _extreme(pairs: Sequence[AlignedPair], metric: str, tosses: _Tosses) -> tuple[FloatArray, IntArray]:
    """As `_extreme_linear`, one pair after the other, for any metric."""
    nobody_swapped = np.ones((1, tosses.num_participants))
    observed_R = np.array([_differences(pair, metric, nobody_swapped)[0] for pair in pairs])
    least_R = np.abs(observed_R) - _ROUNDING
    count_R = np.zeros(len(pairs), dtype=np.int64)
    for keep_BG in tosses:
        for r, pair in enumerate(pairs):
            count_R[r] += np.count_nonzero(np.abs(_differences(pair, metric, keep_BG)) >= least_R[r])
    return observed_R, count_R


def _differences(pair: AlignedPair, metric: str, keep_BG: FloatArray) -> FloatArray:
    return swapped_difference(*pair, keep_BG[:, participant_groups(pair[0])[1]], metric)


def swapped_difference(
    a: ParticipantScores, b: ParticipantScores, from_a_BP: FloatArray, metric: str
) -> FloatArray:
    """The metric of the run that takes a participant's output from `a` where 1 and from `b` where 0, minus that of
    the run that takes the other, [B]."""
    # Both runs' rows under one another: a weighting of zeros and ones picks each participant from one run.
    label_P = np.concatenate([a.label_P, b.label_P])
    score_SPK = np.concatenate([_exchangeable(run, metric) for run in (a, b)], axis=1)
    picked_BP, others_BP = (np.concatenate([x_BP, 1 - x_BP], axis=1) for x_BP in (from_a_BP, 1 - from_a_BP))
    per_pass = [
        weighted_metrics([metric], score_PK, label_P, picked_BP)[metric]
        - weighted_metrics([metric], score_PK, label_P, others_BP)[metric]
        for score_PK in score_SPK
    ]
    return np.mean(per_pass, axis=0)  # type: ignore[no-any-return]


def _exchangeable(run: ParticipantScores, metric: str) -> FloatArray:
    """What is swapped between runs, [S, P, K]: probabilities, or ranks within the run for what only orders."""
    if metric not in ("macro_auroc", "macro_auprc"):
        return run.probability_SPK
    return mid_ranks(run.probability_SPK, axis=1)
