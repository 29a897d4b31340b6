"""Models and predictions whose truth is known, for the simulations in this folder.

Suffixes: N people, E features, K classes, P scored participants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from octjob.evaluate import ParticipantScores
from octjob.evaluate.arrays import FloatArray, IntArray

# AI-READI's validation participants per class: the original's 65, and all 159; its 255 training participants.
SCORED = {65: (17, 17, 20, 11), 159: (39, 40, 47, 33)}
TRAINED = (121, 62, 62, 10)
NUM_FEATURES = 6


def labels(counts: tuple[int, ...]) -> IntArray:
    """Class labels, class by class."""
    return np.repeat(np.arange(len(counts)), counts)


def as_scores(label_P: IntArray, probability_PK: FloatArray) -> ParticipantScores:
    """One pass over participants named by number."""
    return ParticipantScores(
        np.array([f"{i:06d}" for i in range(len(label_P))]), label_P, probability_PK[None]
    )


@dataclass(frozen=True, eq=False)
class Model:
    """A logistic regression trained on 255 people whose classes lie `separation` apart in Gaussian features."""

    mean_KE: FloatArray
    fitted: LogisticRegression

    @classmethod
    def train(cls, separation: float, weighted: bool, rng: np.random.Generator) -> Model:
        """weighted: with scikit-learn's `balanced` class weights."""
        directions_KE = np.linalg.qr(rng.normal(size=(NUM_FEATURES, 4)))[0].T
        mean_KE = separation * directions_KE
        label_N = labels(TRAINED)
        x_NE = mean_KE[label_N] + rng.normal(size=(len(label_N), NUM_FEATURES))
        weights = "balanced" if weighted else None
        return cls(mean_KE, LogisticRegression(class_weight=weights, max_iter=500).fit(x_NE, label_N))

    def score(self, counts: tuple[int, ...], rng: np.random.Generator) -> ParticipantScores:
        """Its predictions for new people."""
        label_P = labels(counts)
        x_PE = self.mean_KE[label_P] + rng.normal(size=(len(label_P), NUM_FEATURES))
        return as_scores(label_P, self.fitted.predict_proba(x_PE))


def equal_runs(
    num_runs: int, counts: tuple[int, ...], signal: float, shared: float, rng: np.random.Generator
) -> list[ParticipantScores]:
    """Runs that are equally good: logits raised by `signal` for the true class; `shared` of the noise is common."""
    label_P = labels(counts)
    common_PK = rng.normal(size=(len(label_P), 4))
    runs = []
    for _ in range(num_runs):
        noise_PK = np.sqrt(shared) * common_PK + np.sqrt(1 - shared) * rng.normal(size=common_PK.shape)
        exp_PK = np.exp(noise_PK + signal * np.eye(4)[label_P])
        runs.append(as_scores(label_P, exp_PK / exp_PK.sum(axis=1, keepdims=True)))
    return runs
