"""Minima of the L2-penalised multinomial cross-entropy, for several fits on the same samples at once.

Shapes: N samples, R coordinates of which the last is one, F fits, K classes, D contrasts of them (C is a second D),
M = F N, X = D C F.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# How far above its minimum the objective may stay by Newton's estimate: relative to it, and for each fit in nats.
# Below the second, rounding decides.
_GAP, _ROUNDING = 1e-9, 1e-14
_MAX_ITERATIONS = 500


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where a search ended, how many Newton steps it took, and whether it arrived."""

    coef_DFR: Floats
    iterations: int
    converged: bool


@dataclass(frozen=True, eq=False)
class _Point:
    """Coefficients, and the sum of the fits' objectives there."""

    coef_DFR: Floats
    value: float
    gradient_DFR: Floats
    probability_KFN: Floats


class Problem:
    """F fits that differ in the weights of their samples.

    Each minimises what scikit-learn's `LogisticRegression` with C = 1/l2 does: the weighted mean of the
    cross-entropy, plus l2 / (2 * sum of weights) times the squared norm of the coefficients, the intercept's left
    out.

    z_NR: samples in an orthogonal basis, so that curvatures along different coordinates hardly mix; the last column
    is one. weight_FN: none negative, with a sum above zero in each fit.
    """

    def __init__(
        self, z_NR: Floats, label_N: npt.NDArray[np.int64], weight_FN: Floats, num_classes: int
    ) -> None:
        # Both orders are kept: a product of few rows with a matrix is up to twice as fast along its rows.
        self._z_NR, self._z_RN = np.ascontiguousarray(z_NR), np.ascontiguousarray(z_NR.T)
        self._squared_NR = self._z_NR**2
        self._sum_F = weight_FN.sum(axis=1)
        self._weight_FN = weight_FN / self._sum_F[:, None]
        self._is_KFN = (np.arange(num_classes)[:, None] == label_N)[:, None, :]
        self.contrast_KD = contrasts(num_classes)
        self._num_fits, (self._num_samples, self._num_coordinates) = len(weight_FN), z_NR.shape

    @property
    def zeros(self) -> Floats:
        """Coefficients (D, F, R) under which all classes are equally likely."""
        return np.zeros((self.contrast_KD.shape[1], self._num_fits, self._num_coordinates))

    def logits(self, coef_DFR: Floats) -> Floats:
        """Unnormalised log-probabilities (K, F, N) of all samples, whatever their weight."""
        # Samples come last, so that sums over classes run along whole rows.
        contrast_DFN = coef_DFR.reshape(-1, self._num_coordinates) @ self._z_RN
        logits_KM = self.contrast_KD @ contrast_DFN.reshape(len(coef_DFR), -1)
        return logits_KM.reshape(-1, self._num_fits, self._num_samples)

    def minimum(self, l2: float, start_DFR: Floats) -> Minimum:
        """Search from `start_DFR` on, by scipy: Newton's method, conjugate gradients in a trust region.

        It is done in units in which the curvature along each coordinate is one, so that conjugate gradients need few
        rounds. The curvature changes on the way: that at its end says whether the search has arrived.
        """
        from scipy.optimize import minimize

        penalty_FR = np.repeat(l2 / self._sum_F[:, None], self._num_coordinates, axis=1)
        penalty_FR[:, -1] = 0.0
        point, iterations = self.at(start_DFR, penalty_FR), 0
        while True:
            search = _Search(self, penalty_FR, point)
            goal = math.sqrt(2 * (_GAP * point.value + _ROUNDING * self._num_fits))
            converged = float(np.linalg.norm(search.value_and_gradient(search.start)[1])) <= goal
            if converged or iterations >= _MAX_ITERATIONS:
                return Minimum(point.coef_DFR, iterations, converged)
            found = minimize(
                search.value_and_gradient,
                search.start,
                jac=True,
                hessp=search.curve,
                method="trust-ncg",
                options={"gtol": goal / 2, "maxiter": _MAX_ITERATIONS - iterations},
            )
            point, iterations = search.at(found.x), iterations + int(found.nit)

    def at(self, coef_DFR: Floats, penalty_FR: Floats) -> _Point:
        """The objectives' sum and its gradient."""
        logits_KFN = self.logits(coef_DFR)
        top_FN = logits_KFN.max(axis=0)
        odds_KFN = np.exp(logits_KFN - top_FN)
        sum_FN = odds_KFN.sum(axis=0)
        probability_KFN = odds_KFN / sum_FN
        loss_FN = top_FN + np.log(sum_FN) - (logits_KFN * self._is_KFN).sum(axis=0)
        value = float((self._weight_FN * loss_FN).sum() + (penalty_FR * coef_DFR**2).sum() / 2)
        gradient_DFR = self._back((probability_KFN - self._is_KFN) * self._weight_FN) + penalty_FR * coef_DFR
        return _Point(coef_DFR, value, gradient_DFR, probability_KFN)

    def curve(self, point: _Point, penalty_FR: Floats, step_DFR: Floats) -> Floats:
        """The second derivative at a point, times a step."""
        change_KFN = point.probability_KFN * self.logits(step_DFR)
        change_KFN -= point.probability_KFN * change_KFN.sum(axis=0)
        return self._back(change_KFN * self._weight_FN) + penalty_FR * step_DFR

    def curvatures(self, point: _Point, penalty_FR: Floats) -> Floats:
        """The second derivative's blocks (F, R, D, D) on its diagonal, one for each fit and coordinate."""
        num = self.contrast_KD.shape[1]
        p_KM = point.probability_KFN.reshape(len(self.contrast_KD), -1)
        mean_DM = self.contrast_KD.T @ p_KM
        product_KDC = self.contrast_KD[:, :, None] * self.contrast_KD[:, None, :]
        covariance_DCM = (product_KDC.reshape(len(p_KM), -1).T @ p_KM).reshape(num, num, -1)
        covariance_DCM -= mean_DM[:, None] * mean_DM
        covariance_DCFN = covariance_DCM.reshape(num, num, *self._weight_FN.shape) * self._weight_FN
        curvature_XR = covariance_DCFN.reshape(-1, self._num_samples) @ self._squared_NR
        curvature_DCFR = curvature_XR.reshape(num, num, *penalty_FR.shape)
        blocks_FRDC = np.moveaxis(curvature_DCFR, (0, 1), (2, 3))
        return np.asarray(blocks_FRDC + penalty_FR[:, :, None, None] * np.eye(num))

    def _back(self, residual_KFN: Floats) -> Floats:
        contrast_DM = self.contrast_KD.T @ residual_KFN.reshape(len(residual_KFN), -1)
        coef_XR = contrast_DM.reshape(-1, self._num_samples) @ self._z_NR
        return coef_XR.reshape(-1, self._num_fits, self._num_coordinates)


class _Search:
    """A problem as scipy sees it: a function of one vector, which is zero at `origin`."""

    def __init__(self, problem: Problem, penalty_FR: Floats, origin: _Point) -> None:
        self._problem = problem
        self._penalty_FR = penalty_FR
        self._origin = origin
        self._unit_DCFR = _units(problem.curvatures(origin, penalty_FR))
        self.start = np.zeros(origin.coef_DFR.size)
        self._last = self.start, origin

    def at(self, x: Floats) -> _Point:
        # scipy asks for value, gradient and curvature of one place one after the other.
        if not np.array_equal(self._last[0], x):
            coef_DFR = self._origin.coef_DFR + self._coef(x)
            self._last = x.copy(), self._problem.at(coef_DFR, self._penalty_FR)
        return self._last[1]

    def value_and_gradient(self, x: Floats) -> tuple[float, Floats]:
        point = self.at(x)
        return point.value, self._slope(point.gradient_DFR)

    def curve(self, x: Floats, step: Floats) -> Floats:
        return self._slope(self._problem.curve(self.at(x), self._penalty_FR, self._coef(step)))

    def _coef(self, x: Floats) -> Floats:
        """Units to coefficients."""
        x_DFR = x.reshape(self._origin.coef_DFR.shape)
        return np.asarray((self._unit_DCFR * x_DFR[:, None]).sum(axis=0))

    def _slope(self, gradient_CFR: Floats) -> Floats:
        """What a gradient by coefficients is by units."""
        return np.asarray((self._unit_DCFR * gradient_CFR).sum(axis=1).ravel())


def _units(curvature_FRDD: Floats) -> Floats:
    """(D, C, F, R): for each fit and coordinate, D steps along which its curvature is one, unmixed."""
    num = curvature_FRDD.shape[-1]
    # An intercept has next to none where a class has no weight, or where no sample is in doubt.
    least_FR = 1e-12 * np.trace(curvature_FRDD, axis1=2, axis2=3) + np.finfo(float).tiny
    root_FRDD = np.linalg.cholesky(curvature_FRDD + least_FR[:, :, None, None] * np.eye(num))
    return np.ascontiguousarray(np.moveaxis(np.linalg.inv(root_FRDD), (2, 3), (0, 1)))


def contrasts(num_classes: int) -> Floats:
    """(K, D) that makes logits of K classes of D contrasts; the penalty is on the contrasts.

    Of two classes, the second against the first, as scikit-learn does. Of more, an orthonormal basis of what sums to
    zero over the classes, as penalised coefficients do at the minimum: a dimension less to search.
    """
    if num_classes == 2:
        return np.array([[0.0], [1.0]])
    ones_first = np.eye(num_classes)
    ones_first[:, 0] = 1.0
    return np.asarray(np.linalg.qr(ones_first)[0][:, 1:])
