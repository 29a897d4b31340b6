"""Classification metrics of many weightings of the same rows at once.

A bootstrap draw is a weighting: how often each row was drawn. Computing a metric for all draws in one array
operation is what makes 2,000 draws cheap; the plain metric is the same code with every weight one. Counts are
small integers in float64, so sums of weights are exact and independent of the order of the rows.

Suffixes: B weightings (draws), P rows (participants or volumes), K classes (in a confusion matrix: true, then
predicted), T groups of rows with tied scores, S passes, I positives and J negatives of a class.

A class without weight among the labels has no recall, F1, AUROC or average precision: its entry is NaN and
macro averages run over the other classes. Class k is at index k whichever classes occur.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from octjob.catalog import METRICS
from octjob.evaluate.arrays import BoolArray, FloatArray, IntArray

NUM_ECE_BINS = 15

OfConfusion = Callable[[FloatArray], FloatArray]
OfProbability = Callable[[FloatArray, IntArray, FloatArray], FloatArray]
# The metrics of the catalogue by what they are made of; the functions below put themselves in.
OF_CONFUSION: dict[str, OfConfusion] = {}
OF_PROBABILITY: dict[str, OfProbability] = {}


def of_confusion(function: OfConfusion) -> OfConfusion:
    """Registers a metric of confusion matrices [B, K, K], each the weight of (true, predicted)."""
    OF_CONFUSION[function.__name__] = function
    return function


def of_probability(function: OfProbability) -> OfProbability:
    """Registers a metric of probabilities [P, K], labels [P] and weightings [B, P]."""
    OF_PROBABILITY[function.__name__] = function
    return function


def divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Elementwise quotient, NaN where the denominator is zero."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    quotient: FloatArray = np.divide(
        numerator, denominator, out=np.full(shape, np.nan), where=denominator != 0
    )
    return quotient


def mean_defined(values_BK: FloatArray) -> FloatArray:
    """Mean over the classes that have a value, [B]; NaN where none has."""
    defined_BK = ~np.isnan(values_BK)
    return divide(np.where(defined_BK, values_BK, 0.0).sum(axis=1), defined_BK.sum(axis=1).astype(np.float64))


def confusion_matrices(
    label_P: IntArray, predicted_P: IntArray, weight_BP: FloatArray, num_classes: int
) -> FloatArray:
    """Weight of each (true, predicted) pair, [B, K, K]."""
    cell_P = label_P * num_classes + predicted_P
    indicator_PC = (cell_P[:, None] == np.arange(num_classes**2)).astype(np.float64)
    cells_BC: FloatArray = weight_BP @ indicator_PC
    return cells_BC.reshape(len(weight_BP), num_classes, num_classes)


@of_confusion
def accuracy(confusion_BKK: FloatArray) -> FloatArray:
    """Share of rows predicted right, [B]."""
    right_B = np.trace(confusion_BKK, axis1=1, axis2=2)
    return divide(right_B, confusion_BKK.sum(axis=(1, 2)))


def recall_per_class(confusion_BKK: FloatArray) -> FloatArray:
    """Recall, [B, K]."""
    return divide(np.diagonal(confusion_BKK, axis1=1, axis2=2), confusion_BKK.sum(axis=2))


@of_confusion
def balanced_accuracy(confusion_BKK: FloatArray) -> FloatArray:
    """Mean recall over the classes that occur, [B]."""
    return mean_defined(recall_per_class(confusion_BKK))


def f1_per_class(confusion_BKK: FloatArray) -> FloatArray:
    """F1, [B, K]; 0 for a class that occurs and is never predicted, NaN for one that does not occur."""
    support_BK = confusion_BKK.sum(axis=2)
    right_BK = np.diagonal(confusion_BKK, axis1=1, axis2=2)
    f1_BK = divide(2 * right_BK, support_BK + confusion_BKK.sum(axis=1))
    return np.where(support_BK > 0, f1_BK, np.nan)


@of_confusion
def macro_f1(confusion_BKK: FloatArray) -> FloatArray:
    """Mean F1 over the classes that occur, [B]."""
    return mean_defined(f1_per_class(confusion_BKK))


def quadratic_penalty(num_classes: int) -> FloatArray:
    """What taking one class for another costs, [K, K]: the squared distance of their numbers."""
    classes_K = np.arange(num_classes, dtype=np.float64)
    penalty_KK: FloatArray = (classes_K[:, None] - classes_K[None, :]) ** 2
    return penalty_KK


@of_confusion
def quadratic_kappa(confusion_BKK: FloatArray) -> FloatArray:
    """Cohen's kappa with quadratic weights, [B]; NaN if labels and predictions are one and the same class."""
    penalty_KK = quadratic_penalty(confusion_BKK.shape[1])
    true_BK, predicted_BK = confusion_BKK.sum(axis=2), confusion_BKK.sum(axis=1)
    expected_BKK = divide(true_BK[:, :, None] * predicted_BK[:, None, :], true_BK.sum(axis=1)[:, None, None])
    observed_B = (penalty_KK * confusion_BKK).sum(axis=(1, 2))
    return 1 - divide(observed_B, (penalty_KK * expected_BKK).sum(axis=(1, 2)))


def _tied_weights(
    score_P: FloatArray, positive_P: BoolArray, weight_BP: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Weight of positives and of negatives in each group of tied scores, best score first, both [B, T]."""
    order_P = np.argsort(-score_P, kind="stable")
    starts_T = np.flatnonzero(np.concatenate([[True], np.diff(score_P[order_P]) != 0]))
    ordered_BP = weight_BP[:, order_P]
    positive_BT = np.add.reduceat(ordered_BP * positive_P[order_P], starts_T, axis=1)
    return positive_BT, np.add.reduceat(ordered_BP, starts_T, axis=1) - positive_BT


def auroc(score_P: FloatArray, positive_P: BoolArray, weight_BP: FloatArray) -> FloatArray:
    """Probability that a positive outranks a negative, ties counting half, [B]; NaN without both kinds.

    This is the Mann-Whitney form of the area (Hanley and McNeil, 1982); it equals the trapezoidal one.
    """
    positive_BT, negative_BT = _tied_weights(score_P, positive_P, weight_BP)
    num_positive_B, num_negative_B = positive_BT.sum(axis=1), negative_BT.sum(axis=1)
    below_BT = num_negative_B[:, None] - np.cumsum(negative_BT, axis=1) + 0.5 * negative_BT
    return divide((positive_BT * below_BT).sum(axis=1), num_positive_B * num_negative_B)


def pairs_won(positive_SI: FloatArray, negative_SJ: FloatArray) -> FloatArray:
    """How often a positive outranks a negative, ties counting half, mean over passes, [I, J]."""
    won_IJ = np.zeros((positive_SI.shape[1], negative_SJ.shape[1]))
    for positive_I, negative_J in zip(positive_SI, negative_SJ, strict=True):
        difference_IJ = positive_I[:, None] - negative_J[None, :]
        won_IJ += (difference_IJ > 0) + 0.5 * (difference_IJ == 0)
    return won_IJ / len(positive_SI)


def average_precision(score_P: FloatArray, positive_P: BoolArray, weight_BP: FloatArray) -> FloatArray:
    """Area under the precision-recall steps (scikit-learn's definition), [B]; NaN without positives."""
    positive_BT, negative_BT = _tied_weights(score_P, positive_P, weight_BP)
    found_BT = np.cumsum(positive_BT, axis=1)
    precision_BT = divide(found_BT, found_BT + np.cumsum(negative_BT, axis=1))
    area_B = (positive_BT * np.nan_to_num(precision_BT)).sum(axis=1)
    return divide(area_B, positive_BT.sum(axis=1))


def auroc_per_class(probability_PK: FloatArray, label_P: IntArray, weight_BP: FloatArray) -> FloatArray:
    """One-vs-rest AUROC, [B, K]."""
    classes = range(probability_PK.shape[1])
    return np.stack([auroc(probability_PK[:, k], label_P == k, weight_BP) for k in classes], axis=1)


@of_probability
def macro_auroc(probability_PK: FloatArray, label_P: IntArray, weight_BP: FloatArray) -> FloatArray:
    """Unweighted mean of the one-vs-rest AUROCs, [B]."""
    return mean_defined(auroc_per_class(probability_PK, label_P, weight_BP))


def auprc_per_class(probability_PK: FloatArray, label_P: IntArray, weight_BP: FloatArray) -> FloatArray:
    """One-vs-rest average precision, [B, K]; what chance reaches is the class's share of the labels."""
    classes = range(probability_PK.shape[1])
    per_class = [average_precision(probability_PK[:, k], label_P == k, weight_BP) for k in classes]
    return np.stack(per_class, axis=1)


@of_probability
def macro_auprc(probability_PK: FloatArray, label_P: IntArray, weight_BP: FloatArray) -> FloatArray:
    """Unweighted mean of the one-vs-rest average precisions, [B]."""
    return mean_defined(auprc_per_class(probability_PK, label_P, weight_BP))


@of_probability
def log_loss(probability_PK: FloatArray, label_P: IntArray, weight_BP: FloatArray) -> FloatArray:
    """Mean negative log likelihood in nats, clipped at float64 epsilon as scikit-learn does, [B]."""
    epsilon = np.finfo(np.float64).eps
    given_P = probability_PK[np.arange(len(label_P)), label_P]
    return divide(weight_BP @ -np.log(np.clip(given_P, epsilon, 1 - epsilon)), weight_BP.sum(axis=1))


@of_probability
def brier(probability_PK: FloatArray, label_P: IntArray, weight_BP: FloatArray) -> FloatArray:
    """Mean squared distance to the one-hot label, summed over classes (Brier, 1950), 0 to 2, [B]."""
    error_PK = probability_PK - np.eye(probability_PK.shape[1])[label_P]
    return divide(weight_BP @ (error_PK**2).sum(axis=1), weight_BP.sum(axis=1))


@of_probability
def ece(probability_PK: FloatArray, label_P: IntArray, weight_BP: FloatArray) -> FloatArray:
    """Expected calibration error: of the top label, 15 equal bins closed on the right (Guo et al., 2017), [B]."""
    confidence_P = probability_PK.max(axis=1)
    gap_P = (probability_PK.argmax(axis=1) == label_P) - confidence_P
    bin_P = np.digitize(confidence_P, np.linspace(0, 1, NUM_ECE_BINS + 1)[1:-1], right=True)
    gap_in_bin_PM = np.where(bin_P[:, None] == np.arange(NUM_ECE_BINS), gap_P[:, None], 0.0)
    return divide(np.abs(weight_BP @ gap_in_bin_PM).sum(axis=1), weight_BP.sum(axis=1))


def weighted_metrics(
    names: Sequence[str], probability_PK: FloatArray, label_P: IntArray, weight_BP: FloatArray
) -> dict[str, FloatArray]:
    """Each named metric for each weighting, [B]. The predicted class is the most probable, lowest on a tie.

    Raises:
        ValueError: a name that is not in the catalogue.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"unknown metrics {unknown}; known are {list(METRICS)}")
    num_classes = probability_PK.shape[1]
    confusion_BKK = confusion_matrices(label_P, probability_PK.argmax(axis=1), weight_BP, num_classes)
    return {
        name: OF_CONFUSION[name](confusion_BKK)
        if name in OF_CONFUSION
        else OF_PROBABILITY[name](probability_PK, label_P, weight_BP)
        for name in names
    }
