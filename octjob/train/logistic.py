"""The convex probe: L2 logistic regression to convergence, along the penalties' path.

Shapes: N samples, E features, R coordinates, K classes; F fits and D contrasts as in `octjob.train.multinomial`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from octjob.data.participants import Participant
from octjob.data.sampling import stratified_folds
from octjob.errors import DataError
from octjob.train.multinomial import Floats, Problem

Labels = npt.NDArray[np.int64]

# C = 1 / l2, a decade and a half around scikit-learn's default either way, as in DINOv2's probe but coarser.
C_GRID = tuple(float(c) for c in np.logspace(-5, 2, 15))
_INNER_FOLDS = 5


class EigenBasis:
    """Features (N, E) about their mean, in the basis of their right singular vectors.

    The penalty does not feel a rotation, so the fits are the same; they have min(N, E) coordinates instead of E,
    along which the features do not correlate. `z_NR` holds them, and a last one that is 1, for the intercept.
    """

    def __init__(self, x_NE: Floats) -> None:
        self.mean_E = x_NE.mean(axis=0)
        u_NR, length_R, self.axes_RE = np.linalg.svd(x_NE - self.mean_E, full_matrices=False)
        self.z_NR = np.concatenate([u_NR * length_R, np.ones((len(x_NE), 1))], axis=1)

    def on_features(self, coef_KR: Floats) -> tuple[Floats, Floats]:
        """The same coefficients of the features themselves (K, E), and intercepts (K,)."""
        coef_KE = coef_KR[:, :-1] @ self.axes_RE
        return coef_KE, coef_KR[:, -1] - coef_KE @ self.mean_E


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
    basis: EigenBasis,
    label_N: Labels,
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

    Raises `DataError` where the samples, or those outside a fold, lack a class, or a class has too few for "auto".
    """
    _require_classes(label_N, num_classes)
    whole = Problem(basis.z_NR, label_N, weight_N[None], num_classes)
    if l2 != "auto":
        used: dict[str, Any] = {"l2": float(l2), "l2_chosen_by": "config"}
        return _fit(basis, whole, float(l2), whole.zeros, used)
    _require_enough(people)
    fold_of = stratified_folds(people, _INNER_FOLDS, seed)
    fold_N = np.array([fold_of[str(group)] for group in group_N])
    loss_C, coef_CDFR = _path(basis, label_N, weight_N, fold_N, num_classes, check)
    best = int(np.argmin(loss_C))
    used = {
        "l2": 1.0 / C_GRID[best],
        "l2_chosen_by": f"log-loss over {_INNER_FOLDS} folds of the training participants",
        "l2_at_edge": best in (0, len(C_GRID) - 1),
    }
    # From the folds' mean on: each of them has seen four fifths of the samples.
    return _fit(basis, whole, used["l2"], coef_CDFR[best].mean(axis=1, keepdims=True), used)


def _fit(basis: EigenBasis, whole: Problem, l2: float, start_DFR: Floats, used: dict[str, Any]) -> Logistic:
    minimum = whole.minimum(l2, start_DFR)
    coef_KE, intercept_K = basis.on_features(whole.contrast_KD @ minimum.coef_DFR[:, 0])
    used = {**used, "iterations": minimum.iterations, "converged": minimum.converged}
    return Logistic(coef_KE, intercept_K, used)


def _path(
    basis: EigenBasis,
    label_N: Labels,
    weight_N: Floats,
    fold_N: Labels,
    num_classes: int,
    check: Callable[[], None],
) -> tuple[list[float], list[Floats]]:
    """For each C of the grid, the log-loss of the samples left out and the coefficients (D, F, R), a fit for a fold.

    All folds are fitted at once; each C begins where a straight line through the two before it leads.
    """
    inside_FN = fold_N != np.arange(_INNER_FOLDS)[:, None]
    for inside_N in inside_FN:
        _require_classes(label_N[inside_N], num_classes)
    problem = Problem(basis.z_NR, label_N, weight_N * inside_FN, num_classes)
    before_DFR, coef_DFR = problem.zeros, problem.zeros
    losses, path = [], []
    for c in C_GRID:
        check()
        before_DFR, coef_DFR = coef_DFR, problem.minimum(1.0 / c, 2 * coef_DFR - before_DFR).coef_DFR
        logits_KN = problem.logits(coef_DFR)[:, fold_N, np.arange(len(fold_N))]
        log_p_KN = logits_KN - np.logaddexp.reduce(logits_KN, axis=0)
        losses.append(-float(weight_N @ log_p_KN[label_N, np.arange(len(label_N))]) / float(weight_N.sum()))
        path.append(coef_DFR)
    return losses, path


def _require_enough(people: Sequence[Participant]) -> None:
    for label, count in sorted(Counter(person.label for person in people).items()):
        if count < _INNER_FOLDS:
            raise DataError(
                f"train.l2: auto compares penalties over {_INNER_FOLDS} folds of the training participants, and class"
                f" {label} has {count} of them",
                "Widen the selection, or give train.l2 a number.",
            )


def _require_classes(label_N: Labels, num_classes: int) -> None:
    if (num_seen := len(np.unique(label_N))) != num_classes:
        raise DataError(
            f"training samples hold {num_seen} of {num_classes} classes",
            "Widen the selection, or use fewer folds.",
        )
