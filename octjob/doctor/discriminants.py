"""How well features tell groups apart: linear discriminants, cross-validated.

Suffixes: P points, E features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from octjob.evaluate.arrays import FloatArray, IntArray

_FOLDS = 5
# Principal axes, of more features: the cost is that of their cube, and no label is looked at.
_MAX_AXES = 256


def standard_error(counts: Sequence[int]) -> float:
    """Of the mean AUROC over the pairs of groups of these sizes, whose scores mean nothing. The pairs' are at most
    as far from 0.5 together as those of so many that share no group."""
    variance = float(np.mean([(m + n + 1) / (12 * m * n) for m, n in combinations(counts, 2)]))
    return math.sqrt(variance / (len(counts) - 1))


def auroc(x_PE: FloatArray, group_P: IntArray, person_P: IntArray | None = None) -> float:
    """The mean AUROC over the pairs of groups 0, 1, ... of points left out. person_P: whose points are left out
    together; none where every point is somebody else's. Features that do not vary tell nothing: 0.5."""
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict

    if not (x_PE != x_PE[0]).any():
        return 0.5
    if min(x_PE.shape) > _MAX_AXES:
        x_PE = PCA(_MAX_AXES, svd_solver="randomized", random_state=0).fit_transform(x_PE)
    splitter = StratifiedKFold if person_P is None else StratifiedGroupKFold
    folds = splitter(_FOLDS, shuffle=True, random_state=0)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    said_PG = cross_val_predict(model, x_PE, group_P, groups=person_P, cv=folds, method="predict_proba")
    if said_PG.shape[1] == 2:
        return float(roc_auc_score(group_P, said_PG[:, 1]))
    return float(roc_auc_score(group_P, said_PG, multi_class="ovo"))
