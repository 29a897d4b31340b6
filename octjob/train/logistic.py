"""The convex probe: L2 logistic regression to convergence, by scikit-learn.

Shapes: N samples, E features, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from octjob.data.participants import Participant
from octjob.data.sampling import stratified_folds
from octjob.errors import DataError

Floats = npt.NDArray[np.float64]

# C = 1 / l2, a decade and a half around scikit-learn's default either way, as in DINOv2's probe but coarser.
C_GRID = tuple(float(c) for c in np.logspace(-5, 2, 15))
_INNER_FOLDS = 5
_MAX_ITERATIONS = 2000


class Logistic:
    """A fitted logistic regression: `coef_KE`, `intercept_K`, the penalty used and how it was chosen."""

    def __init__(self, coef_KE: Floats, intercept_K: Floats, used: dict[str, Any]) -> None:
        self.coef_KE = coef_KE
        self.intercept_K = intercept_K
        self.used = used

    def logits(self, x_NE: Floats) -> Floats:
        """Unnormalised log-probabilities (N, K)."""
        return x_NE @ self.coef_KE.T + self.intercept_K


def fit_logistic(
    x_NE: Floats,
    label_N: npt.NDArray[np.int64],
    weight_N: Floats,
    group_N: npt.NDArray[np.str_],
    people: Sequence[Participant],
    num_classes: int,
    l2: float | str,
    seed: int,
    check: Callable[[], None],
) -> Logistic:
    """Fit on weighted samples; `check` is called between fits and may raise to stop.

    l2: the penalty 1/C of scikit-learn's objective, or "auto": the C of `C_GRID` with the least log-loss over
    five folds of the training participants (`group_N` holds their ids, `people` the participants).
    """
    if l2 != "auto":
        used: dict[str, Any] = {"l2": float(l2), "l2_chosen_by": "config"}
        return _fit(x_NE, label_N, weight_N, num_classes, 1.0 / float(l2), used)
    fold_of = stratified_folds(people, _INNER_FOLDS, seed)
    fold_N = np.array([fold_of[str(group)] for group in group_N])
    losses = []
    for c in C_GRID:
        check()
        losses.append(_cv_loss(x_NE, label_N, weight_N, fold_N, num_classes, c))
    best = C_GRID[int(np.argmin(losses))]
    used = {
        "l2": 1.0 / best,
        "l2_chosen_by": f"log-loss over {_INNER_FOLDS} folds of the training participants",
        "l2_at_edge": best in (C_GRID[0], C_GRID[-1]),
    }
    return _fit(x_NE, label_N, weight_N, num_classes, best, used)


def _fit(
    x_NE: Floats,
    label_N: npt.NDArray[np.int64],
    weight_N: Floats,
    num_classes: int,
    c: float,
    used: dict[str, Any],
) -> Logistic:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c, max_iter=_MAX_ITERATIONS, tol=1e-6)
    with warnings.catch_warnings():
        # Recorded as `converged` below, and said once for the fit that counts.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x_NE, label_N, sample_weight=weight_N)
    if len(model.classes_) != num_classes:
        raise DataError(
            f"training samples hold {len(model.classes_)} of {num_classes} classes",
            "Widen the selection, or use fewer folds.",
        )
    coef_KE, intercept_K = np.asarray(model.coef_), np.asarray(model.intercept_)
    if num_classes == 2:
        coef_KE = np.concatenate([np.zeros_like(coef_KE), coef_KE])
        intercept_K = np.array([0.0, intercept_K[0]])
    iterations = int(np.max(model.n_iter_))
    used = {**used, "iterations": iterations, "converged": iterations < _MAX_ITERATIONS}
    return Logistic(coef_KE, intercept_K, used)


def _cv_loss(
    x_NE: Floats,
    label_N: npt.NDArray[np.int64],
    weight_N: Floats,
    fold_N: npt.NDArray[np.int64],
    num_classes: int,
    c: float,
) -> float:
    total, weight = 0.0, 0.0
    for fold in range(_INNER_FOLDS):
        inside, out = fold_N != fold, fold_N == fold
        model = _fit(x_NE[inside], label_N[inside], weight_N[inside], num_classes, c, {})
        logits_NK = model.logits(x_NE[out])
        log_p_NK = logits_NK - np.logaddexp.reduce(logits_NK, axis=1, keepdims=True)
        total -= float((weight_N[out] * log_p_NK[np.arange(len(log_p_NK)), label_N[out]]).sum())
        weight += float(weight_N[out].sum())
    return total / weight
