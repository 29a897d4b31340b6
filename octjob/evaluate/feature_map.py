"""Features of many volumes on two axes, and how much of their variance classes, devices and sites explain.

Shapes: N volumes, E features, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from octjob.evaluate.arrays import FloatArray, IntArray, StrArray

_Labels = IntArray | StrArray


@dataclass(frozen=True)
class Explained:
    """The share of the variance of all features that lies between groups; `expected` is its mean were the volumes
    dealt to groups of these sizes at random, (G - 1) / (N - 1)."""

    share: float
    expected: float
    num_groups: int


def principal_axes(x_NE: FloatArray) -> tuple[FloatArray, tuple[float, float]]:
    """The two first principal components [N, 2] of centred features, and each one's share of the variance.

    Each axis is turned so that its largest value is positive: the sign of a component means nothing. Shares of
    features that do not vary are 0, and their axes too.
    """
    centred_NE = x_NE - x_NE.mean(axis=0)
    total = float(np.square(centred_NE).sum())
    at_N2 = np.zeros((len(x_NE), 2))
    if total == 0:
        return at_N2, (0.0, 0.0)
    # The smaller of the two Gram matrices; both have the same eigenvalues but for zeros.
    wide = x_NE.shape[1] > x_NE.shape[0]
    gram = centred_NE @ centred_NE.T if wide else centred_NE.T @ centred_NE
    values, vectors = np.linalg.eigh(gram)
    first = np.argsort(values)[::-1][:2]
    for axis, which in enumerate(first):
        length = max(0.0, float(values[which]))
        column_N = vectors[:, which] * np.sqrt(length) if wide else centred_NE @ vectors[:, which]
        turned = -1.0 if column_N[np.abs(column_N).argmax()] < 0 else 1.0
        at_N2[:, axis] = turned * column_N
    shares = [max(0.0, float(values[which])) / total for which in first]
    return at_N2, (shares[0], shares[1] if len(shares) > 1 else 0.0)


def explained(x_NE: FloatArray, group_N: _Labels) -> Explained:
    """How much of the variance of the features the groups explain: the one-way R squared over all features."""
    centred_NE = x_NE - x_NE.mean(axis=0)
    total = float(np.square(centred_NE).sum())
    names, index_N, count_G = np.unique(group_N, return_inverse=True, return_counts=True)
    sum_GE = np.zeros((len(names), x_NE.shape[1]))
    np.add.at(sum_GE, index_N, centred_NE)
    between = float((np.square(sum_GE) / count_G[:, None]).sum())
    expected = (len(names) - 1) / (len(x_NE) - 1) if len(x_NE) > 1 else 0.0
    return Explained(between / total if total else 0.0, expected, len(names))


def explained_by(x_NE: FloatArray, groups: Mapping[str, _Labels]) -> dict[str, Explained]:
    """`explained`, by the groups' name."""
    return {name: explained(x_NE, group_N) for name, group_N in groups.items()}
