"""Metrics that are sums of ratios, for many pairs of runs whose outputs are swapped at once.

F1 of a class is a ratio of two counts, quadratic kappa one less such a ratio; of a run that takes some outputs from
`a` and the others from `b`, both counts are linear in who is taken from which. With a sign of a half for each
participant, plus where `a` keeps its own, a ratio of the one mixture less that of the other is

    (N/2 + n) / (D/2 + d) - (N/2 - n) / (D/2 - d) = (n D - N d) / (D^2/4 - d^2)

where N and D are what both runs have together, and n and d the signed sums of what `a` has more than `b`. All are
counts: where they are small enough, single precision holds every sum exactly, and only the quotient needs the double.

Suffixes: B swaps, P rows (participants or volumes), G participants, R pairs, S seeds, K classes, T ratios.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octjob.evaluate.arrays import FloatArray, IntArray
from octjob.evaluate.intervals import participant_groups
from octjob.evaluate.predictions import ParticipantScores
from octjob.evaluate.threads import in_threads
from octjob.evaluate.weighted import quadratic_penalty

# Pairs at once: 0.5 MB for 2,048 swaps, of which three shall stay in a core's cache.
_PAIRS = 32
# Below, single precision holds a quarter of every whole number, which is what squares of halves are made of.
_EXACT = 2**22


@dataclass(frozen=True, eq=False)
class Ratios:
    """The ratios of one run, T sums over rows over T others; their mean over seeds, plus what no swap changes, is the
    metric over `scale`.

    numerator_PT, denominator_PT: what each row adds, whole numbers. base_T: what the denominators have whoever is
    predicted.
    """

    numerator_PT: FloatArray
    denominator_PT: FloatArray
    base_T: FloatArray
    scale: float


def _of_macro_f1(predicted_SP: IntArray, label_P: IntArray, num_classes: int) -> Ratios:
    """Of the classes that occur: the right ones over those predicted and those there are."""
    size_K = np.bincount(label_P, minlength=num_classes).astype(np.float64)
    classes_k = np.flatnonzero(size_K)
    chosen_PSk = predicted_SP.T[:, :, None] == classes_k
    right_PSk = chosen_PSk & (label_P[:, None, None] == classes_k)
    base_Sk = np.broadcast_to(size_K[classes_k], chosen_PSk.shape[1:])
    return Ratios(_flat(right_PSk * 1.0), _flat(chosen_PSk * 1.0), base_Sk.ravel(), 2 / len(classes_k))


def _of_quadratic_kappa(predicted_SP: IntArray, label_P: IntArray, num_classes: int) -> Ratios:
    """The penalty that is paid over the one that chance would pay, times the number of rows both."""
    penalty_KK = quadratic_penalty(num_classes)
    expected_K = np.bincount(label_P, minlength=num_classes) @ penalty_KK
    paid_PS = -len(label_P) * penalty_KK[label_P[:, None], predicted_SP.T]
    return Ratios(paid_PS, expected_K[predicted_SP.T], np.zeros(len(predicted_SP)), 1.0)


def _flat(x_PSk: FloatArray) -> FloatArray:
    return x_PSk.reshape(len(x_PSk), -1)


RATIOS: dict[str, Callable[[IntArray, IntArray, int], Ratios]] = {
    "macro_f1": _of_macro_f1,
    "quadratic_kappa": _of_quadratic_kappa,
}


@dataclass(frozen=True, eq=False)
class SwappedRatios:
    """Of R pairs the n D - N d of each participant, their d, and D^2/4, term by term (see the module's formula), in
    single precision where that is exact; and what the sum of the terms is multiplied with."""

    numerator_TGR: NDArray[np.floating[Any]]
    denominator_TGR: NDArray[np.floating[Any]]
    square_TR: NDArray[np.floating[Any]]
    scale_R: FloatArray

    def differences(self, sign_BG: NDArray[np.floating[Any]], of: slice = slice(None)) -> FloatArray:
        """The metric of the one mixture minus that of the other, [B, R]; NaN where it is undefined for one.

        sign_BG: a half where `a` keeps its own, minus a half where `b` has it. of: which pairs.
        """
        sign_BG = sign_BG.astype(self.square_TR.dtype, copy=False)
        total_BR = np.zeros((len(sign_BG), self.scale_R[of].size))
        ratio_BR = np.empty_like(total_BR)
        with np.errstate(divide="ignore", invalid="ignore"):
            for numerator_GR, denominator_GR, square_R in zip(
                self.numerator_TGR, self.denominator_TGR, self.square_TR, strict=True
            ):
                below_BR = sign_BG @ denominator_GR[:, of]
                np.multiply(below_BR, below_BR, out=below_BR)
                np.subtract(square_R[of], below_BR, out=below_BR)
                np.divide(sign_BG @ numerator_GR[:, of], below_BR, out=ratio_BR, dtype=np.float64)
                total_BR += ratio_BR
        total_BR *= self.scale_R[of]
        return total_BR


def far_from_zero(terms: SwappedRatios, sign_BG: FloatArray, least_R: FloatArray) -> IntArray:
    """How many of the swaps give each pair a difference of at least so much, either way, [R]."""
    exact_BG = sign_BG.astype(terms.square_TR.dtype)

    def of_block(of: slice) -> IntArray:
        difference_BR = terms.differences(exact_BG, of)
        np.abs(difference_BR, out=difference_BR)
        count: IntArray = (difference_BR >= least_R[of]).sum(axis=0, dtype=np.int64)
        return count

    blocks = [slice(r, r + _PAIRS) for r in range(0, len(least_R), _PAIRS)]
    return np.concatenate(in_threads(of_block, blocks) if len(blocks) > 1 else [of_block(blocks[0])])


def swapped_ratios(
    pairs: Sequence[tuple[ParticipantScores, ParticipantScores]], metric: str
) -> SwappedRatios:
    """What swaps need of pairs on as many participants each; ratios that a pair lacks are 0 / 1.

    Raises `KeyError` for a metric that is no sum of ratios.
    """
    parts = [_of_pair(a, b, metric) for a, b in pairs]
    most, num_participants = max(part.square_T.size for part in parts), len(parts[0].numerator_GT)
    numerator_TGR = np.zeros((most, num_participants, len(parts)))
    denominator_TGR = np.zeros_like(numerator_TGR)
    square_TR = np.ones((most, len(parts)))
    for r, part in enumerate(parts):
        own = slice(part.square_T.size)
        numerator_TGR[own, :, r], denominator_TGR[own, :, r] = part.numerator_GT.T, part.denominator_GT.T
        square_TR[own, r] = part.square_T
    is_exact = max(np.abs(numerator_TGR).sum(axis=1).max(), square_TR.max()) < _EXACT
    precision: type[np.floating[Any]] = np.float32 if is_exact else np.float64
    return SwappedRatios(
        numerator_TGR.astype(precision),
        denominator_TGR.astype(precision),
        square_TR.astype(precision),
        np.array([part.scale for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class _OfPair:
    """n D - N d and d of each participant, D^2/4, and the scale."""

    numerator_GT: FloatArray
    denominator_GT: FloatArray
    square_T: FloatArray
    scale: float


def _of_pair(a: ParticipantScores, b: ParticipantScores, metric: str) -> _OfPair:
    of_a, of_b = (RATIOS[metric](one.predicted_SP, one.label_P, one.num_classes) for one in (a, b))
    both_T = of_a.denominator_PT.sum(axis=0) + of_b.denominator_PT.sum(axis=0) + 2 * of_a.base_T
    above_T = of_a.numerator_PT.sum(axis=0) + of_b.numerator_PT.sum(axis=0)
    label_G, group_P = participant_groups(a)
    numerator_GT, denominator_GT = (
        _by_participant(x_PT, group_P, len(label_G))
        for x_PT in (of_a.numerator_PT - of_b.numerator_PT, of_a.denominator_PT - of_b.denominator_PT)
    )
    cross_GT = numerator_GT * both_T - above_T * denominator_GT
    return _OfPair(cross_GT, denominator_GT, both_T**2 / 4, of_a.scale / len(a.seed_S))


def _by_participant(x_PT: FloatArray, group_P: IntArray, num_participants: int) -> FloatArray:
    x_GT = np.zeros((num_participants, x_PT.shape[1]))
    np.add.at(x_GT, group_P, x_PT)
    return x_GT
