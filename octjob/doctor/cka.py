"""How alike two encoders' features of the same volumes are: linear CKA, debiased.

Shapes: N volumes, E and F features, G groups of volumes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from octjob.evaluate.arrays import FloatArray, IntArray

# Below it the estimator is not defined.
MIN_VOLUMES = 4
# Below, leaving out one group after the other says too little of how far the value may be.
_MIN_GROUPS = 8


@dataclass(frozen=True)
class Cka:
    """low, high: the 95 % interval by the jackknife over groups of volumes; NaN for few groups."""

    value: float
    low: float
    high: float
    num_volumes: int


def debiased_linear_cka(x_NE: FloatArray, y_NF: FloatArray) -> float:
    """Linear CKA from the unbiased estimator of HSIC (Song et al., 2012); about 0 for independent features, 1 for
    those that differ by a rotation and a scale, and somewhat below 0 by chance. NaN where features do not vary.

    It costs N^2 (E + F) and holds two N x N matrices.

    Raises:
        ValueError: fewer than `MIN_VOLUMES` volumes, or not the same number.
    """
    if len(x_NE) != len(y_NF) or len(x_NE) < MIN_VOLUMES:
        raise ValueError(
            f"{len(x_NE)} and {len(y_NF)} volumes; needed are {MIN_VOLUMES} or more, as many of each"
        )
    k_NN, l_NN = _gram(x_NE), _gram(y_NF)
    norm = _hsic(k_NN, k_NN) * _hsic(l_NN, l_NN)
    return _hsic(k_NN, l_NN) / math.sqrt(norm) if norm > 0 else math.nan


def cka_interval(x_NE: FloatArray, y_NF: FloatArray, group_N: IntArray) -> Cka:
    """`debiased_linear_cka` with its interval. group_N: whose each volume is, as volumes of one participant are no
    two. The values without each group follow from the sums over its rows and columns; nothing is computed anew.

    Raises `ValueError` as `debiased_linear_cka` does.
    """
    value, n = debiased_linear_cka(x_NE, y_NF), len(x_NE)
    _, index_N, count_G = np.unique(group_N, return_inverse=True, return_counts=True)
    if len(count_G) < _MIN_GROUPS or n - count_G.max() < MIN_VOLUMES or math.isnan(value):
        return Cka(value, math.nan, math.nan, n)
    order = np.argsort(index_N, kind="stable")
    starts_G = np.concatenate([[0], np.cumsum(count_G)[:-1]])
    k_NN, l_NN = (_gram(x[order]) for x in (x_NE, y_NF))
    kl_G, kk_G, ll_G = (_hsic_without(*pair, starts_G) for pair in ((k_NN, l_NN), (k_NN, k_NN), (l_NN, l_NN)))
    with np.errstate(invalid="ignore"):
        without_G = kl_G / np.sqrt(kk_G * ll_G)
    G = len(count_G)
    error = math.sqrt((G - 1) / G * float(np.square(without_G - without_G.mean()).sum()))
    reach = float(student_t.ppf(0.975, G - 1)) * error
    return Cka(value, value - reach, min(1.0, value + reach), n)


def _hsic_without(k_NN: FloatArray, l_NN: FloatArray, starts_G: IntArray) -> FloatArray:
    """`_hsic` without the rows and columns of each group in turn; groups are consecutive."""
    n, size_G = len(k_NN), np.diff([*starts_G, len(k_NN)])
    is_in_NG = np.repeat(np.eye(len(starts_G)), size_G, axis=0)
    both_NN, k_N, l_N = k_NN * l_NN, k_NN.sum(axis=1), l_NN.sum(axis=1)

    def left_G(x_NN: FloatArray, x_N: FloatArray) -> FloatArray:
        block_NG = np.add.reduceat(x_NN, starts_G, axis=1)
        own_G = (block_NG * is_in_NG).sum(axis=0)
        left: FloatArray = x_N.sum() - 2 * np.add.reduceat(x_N, starts_G) + own_G
        return left

    product_NG = (k_N[:, None] - np.add.reduceat(k_NN, starts_G, axis=1)) * (
        l_N[:, None] - np.add.reduceat(l_NN, starts_G, axis=1)
    )
    rows_G = (product_NG * (1 - is_in_NG)).sum(axis=0)
    n_G = n - size_G
    means_G = left_G(k_NN, k_N) * left_G(l_NN, l_N) / ((n_G - 1) * (n_G - 2)) - 2 / (n_G - 2) * rows_G
    found_G: FloatArray = (left_G(both_NN, both_NN.sum(axis=1)) + means_G) / (n_G * (n_G - 3))
    return found_G


def _gram(x_NE: FloatArray) -> FloatArray:
    """Inner products of centred features, without those with themselves. Centring changes nothing but rounding."""
    centred_NE = np.asarray(x_NE, np.float64) - np.mean(x_NE, axis=0, dtype=np.float64)
    gram_NN: FloatArray = centred_NE @ centred_NE.T
    np.fill_diagonal(gram_NN, 0.0)
    return gram_NN


def _hsic(k_NN: FloatArray, l_NN: FloatArray) -> float:
    """Of matrices with zero diagonals."""
    n = len(k_NN)
    k_N, l_N = k_NN.sum(axis=1), l_NN.sum(axis=1)
    mean_terms = k_N.sum() * l_N.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * float(k_N @ l_N)
    return (float((k_NN * l_NN).sum()) + float(mean_terms)) / (n * (n - 3))
