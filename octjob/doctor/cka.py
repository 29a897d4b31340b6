"""How alike two encoders' features of the same volumes are: linear CKA, debiased.

Shapes: N volumes, E and F features.
"""

from __future__ import annotations

import math

import numpy as np

from octjob.evaluate.arrays import FloatArray

# Below it the estimator is not defined.
MIN_VOLUMES = 4


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
