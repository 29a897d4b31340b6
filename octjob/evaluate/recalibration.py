"""What would bring probabilities to how often the classes occur: one slope for all log-odds, one intercept a class.

Suffixes: P rows, G participants, S passes, K classes, F parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octjob.evaluate.arrays import FloatArray, IntArray
from octjob.evaluate.distributions import normal_quantile
from octjob.evaluate.intervals import Interval, participant_groups, smallest_class, t_factor
from octjob.evaluate.ordinal import Estimated
from octjob.evaluate.predictions import ParticipantScores

# A logistic regression on fewer of a class says nothing.
MIN_PARTICIPANTS = 5
_MAX_STEPS, _TOLERANCE = 100, 1e-9
# Log-odds that differ by less are alike.
_RANK = 1e-6
# Below it a probability is taken for float64's smallest difference from 0.
_EPSILON = float(np.finfo(np.float64).eps)
METHOD = "multinomial logistic regression, sandwich by participant, Student"


@dataclass(frozen=True)
class Recalibration:
    """slope: of the log-odds; 1 is well calibrated, below 1 too sure of itself. None where `reason` says why.

    intercept: at slope 1, one a class, of mean 0: by how much the log-odds of the class are above what the
    probabilities say; 0 is well calibrated. Empty where not estimable, see `reason`.
    """

    slope: Estimated | None
    intercept: tuple[Estimated, ...]
    reason: str = ""


def recalibration(
    scores: ParticipantScores, level: float = 0.95, class_names: Sequence[str] | None = None
) -> Recalibration:
    """P(label = k) ~ exp(a_k + b log p_k), the multinomial recalibration of van Hoorde et al. (2014) with one slope
    for all classes, so that it does not matter which class is the reference; mean over passes.

    The variance is the sandwich over participants, of the mean over passes: a participant counts once.
    class_names: serve the wording of `reason`.
    """
    scores = scores.ordered()
    label_G, group_P = participant_groups(scores)
    counts_K = np.bincount(label_G, minlength=scores.num_classes)
    if counts_K.min() < MIN_PARTICIPANTS:
        return Recalibration(None, (), too_few(int(counts_K.argmin()), int(counts_K.min()), class_names))
    log_SPK = np.log(np.maximum(scores.probability_SPK, _EPSILON))
    class_KF = np.eye(scores.num_classes)[:, 1:]
    quantile = t_factor(smallest_class(label_G), level) * normal_quantile((1 + level) / 2)

    fits = [
        _fit(np.broadcast_to(class_KF, (*z_PK.shape, class_KF.shape[1])), z_PK, scores.label_P)
        for z_PK in log_SPK
    ]
    value_F, covariance_FF = _combined(fits, group_P)
    centred_KF = class_KF - class_KF.mean(axis=0)
    errors_K = np.sqrt(np.einsum("kf,fg,kg->k", centred_KF, covariance_FF, centred_KF))
    intercept = tuple(
        _estimated(float(value), float(error) * quantile, level)
        for value, error in zip(centred_KF @ value_F, errors_K, strict=True)
    )
    designs = [_with_slope(z_PK, class_KF) for z_PK in log_SPK]
    reasons = [_why_not(x_PKF, scores.label_P) for x_PKF in designs]
    if any(reasons):
        first = next(reason for reason in reasons if reason)
        passes = f" in {sum(map(bool, reasons))} of {len(reasons)} passes" if len(reasons) > 1 else ""
        return Recalibration(None, intercept, f"{first}{passes}")
    fits = [_fit(x_PKF, np.zeros(x_PKF.shape[:2]), scores.label_P) for x_PKF in designs]
    value_F, covariance_FF = _combined(fits, group_P)
    slope = _estimated(float(value_F[-1]), float(np.sqrt(covariance_FF[-1, -1])) * quantile, level)
    return Recalibration(slope, intercept)


def too_few(
    label: int, count: int, class_names: Sequence[str] | None = None, needed: int = MIN_PARTICIPANTS
) -> str:
    """That a class has too few participants."""
    name = class_names[label] if class_names is not None and label < len(class_names) else f"class {label}"
    return f"{name} has {count} participant{'' if count == 1 else 's'}; {needed} are needed"


def _estimated(value: float, half_width: float, level: float) -> Estimated:
    return Estimated(value, Interval(value - half_width, value + half_width, level, METHOD))


def _with_slope(z_PK: FloatArray, class_KF: FloatArray) -> FloatArray:
    classes_PKF = np.broadcast_to(class_KF, (*z_PK.shape, class_KF.shape[1]))
    return np.concatenate([classes_PKF, z_PK[:, :, None]], axis=2)


def _why_not(x_PKF: FloatArray, label_P: IntArray) -> str:
    """Why the maximum of the likelihood does not exist or is not one; empty where it is.

    It does not where some direction of the parameters never makes the label of any row less likely (Albert and
    Anderson, 1984), which a linear program finds.
    """
    from scipy.optimize import linprog

    rows = np.arange(len(label_P))
    lead_PKF = x_PKF[rows, label_P][:, None, :] - x_PKF
    others_PK = np.arange(x_PKF.shape[1]) != label_P[:, None]
    lead_QF = lead_PKF[others_PK]
    scale_F = np.abs(lead_QF).max(axis=0)
    alike = np.linalg.matrix_rank(lead_QF / np.maximum(scale_F, _EPSILON), tol=_RANK) < x_PKF.shape[2]
    if alike:
        return "the probabilities are the same for everyone"
    found = linprog(
        -(lead_QF / scale_F).sum(axis=0), A_ub=-lead_QF / scale_F, b_ub=np.zeros(len(lead_QF)), bounds=(-1, 1)
    )
    separated = found.fun is not None and -found.fun > 1e-7
    return "the probabilities separate the classes, so no slope is too large" if separated else ""


@dataclass(frozen=True, eq=False)
class _Fit:
    """value_F: of the largest likelihood. score_PF: each row's gradient there. inverse_FF: of the information."""

    value_F: FloatArray
    score_PF: FloatArray
    inverse_FF: FloatArray


def _fit(x_PKF: FloatArray, offset_PK: FloatArray, label_P: IntArray) -> _Fit:
    """By Newton's method with halved steps; the likelihood is concave, and was tested to have a maximum."""
    rows, value_F = np.arange(len(label_P)), np.zeros(x_PKF.shape[2])
    own_PF = x_PKF[rows, label_P]

    def logs(at_F: FloatArray) -> FloatArray:
        logits_PK = offset_PK + x_PKF @ at_F
        top_P1 = logits_PK.max(axis=1, keepdims=True)
        log_PK: FloatArray = (
            logits_PK - top_P1 - np.log(np.exp(logits_PK - top_P1).sum(axis=1, keepdims=True))
        )
        return log_PK

    for _ in range(_MAX_STEPS):
        p_PK = np.exp(logs(value_F))
        mean_PF = np.einsum("pk,pkf->pf", p_PK, x_PKF)
        score_PF = own_PF - mean_PF
        information_FF = np.einsum("pk,pkf,pkg->fg", p_PK, x_PKF, x_PKF) - mean_PF.T @ mean_PF
        inverse_FF = np.linalg.pinv(information_FF, hermitian=True)
        step_F = inverse_FF @ score_PF.sum(axis=0)
        if np.abs(step_F).max() < _TOLERANCE:
            break
        before, size = logs(value_F)[rows, label_P].sum(), 1.0
        while logs(value_F + size * step_F)[rows, label_P].sum() < before - 1e-9 and size > 1e-6:
            size /= 2
        value_F = value_F + size * step_F
    return _Fit(value_F, score_PF, inverse_FF)


def _combined(fits: list[_Fit], group_P: IntArray) -> tuple[FloatArray, FloatArray]:
    """The mean over passes and its covariance: of the participants' summed influence."""
    value_F: FloatArray = np.mean([fit.value_F for fit in fits], axis=0)
    influence_PF = np.mean([fit.score_PF @ fit.inverse_FF for fit in fits], axis=0)
    num = int(group_P.max()) + 1
    influence_GF = np.zeros((num, influence_PF.shape[1]))
    np.add.at(influence_GF, group_P, influence_PF)
    covariance_FF: FloatArray = influence_GF.T @ influence_GF * (num / (num - 1))
    return value_F, covariance_FF
