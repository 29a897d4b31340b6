"""What the same probabilities answer once the training prior is divided out.

A model trained on 12 : 1 answers the frequent class because it is frequent. Dividing its probabilities by the prior
it was trained with, and taking the largest, tells at once whether class weights could have helped (Saerens, Latinne
and Decaestecker, 2002, with a uniform target prior).

Suffixes: P participants, S seeds, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octjob.evaluate.arrays import FloatArray
from octjob.evaluate.predictions import ParticipantScores
from octjob.evaluate.weighted import balanced_accuracy, confusion_matrices


@dataclass(frozen=True)
class PriorCorrected:
    """prior: the one divided out, per class. prediction_counts: per class, summed over seeds.

    balanced_accuracy: of the corrected answers, mean over seeds.
    """

    prior: tuple[float, ...]
    prediction_counts: tuple[int, ...]
    balanced_accuracy: float


def effective_prior(
    train_counts: Sequence[int], class_weights: Sequence[float] | None = None
) -> tuple[float, ...]:
    """The class shares that a loss weighted by class really sees: counts x weights, normalised."""
    seen_K = np.asarray(train_counts, np.float64) * (
        1.0 if class_weights is None else np.array(class_weights)
    )
    shares: list[float] = (seen_K / seen_K.sum()).tolist()
    return tuple(shares)


def prior_corrected(scores: ParticipantScores, prior: Sequence[float]) -> PriorCorrected:
    """The answers with `prior` divided out; a class without training samples is never answered.

    Raises:
        ValueError: not one share per class.
    """
    prior_K: FloatArray = np.asarray(prior, np.float64)
    if prior_K.shape != (scores.num_classes,):
        raise ValueError(f"{len(prior_K)} shares for {scores.num_classes} classes")
    seen_K = prior_K > 0
    odds_SPK = np.where(seen_K, scores.probability_SPK / np.where(seen_K, prior_K, 1.0), -1.0)
    answer_SP = odds_SPK.argmax(axis=2)
    once_BP = np.ones((1, len(scores.label_P)))
    per_seed = [
        confusion_matrices(scores.label_P, answer_P, once_BP, scores.num_classes) for answer_P in answer_SP
    ]
    counts: list[int] = np.bincount(answer_SP.ravel(), minlength=scores.num_classes).tolist()
    return PriorCorrected(
        prior=tuple(float(share) for share in prior_K),
        prediction_counts=tuple(counts),
        balanced_accuracy=float(np.mean([balanced_accuracy(one_BKK)[0] for one_BKK in per_seed])),
    )
