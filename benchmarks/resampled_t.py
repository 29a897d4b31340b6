"""How often the corrected resampled t-test sees a difference between two learners that have none.

    python -m benchmarks.resampled_t [--simulations 500]

In each simulation n people of four classes at three sites get two sets of Gaussian features that say equally much
about the class; half of the noise is common to both, so that both learners err on the same people. One learner is a
linear discriminant on the first set, the other the same on the second. Folds are a sweep's (5 repeats of 5),
the metric is macro AUROC. Printed: the share of simulations with p < 0.05 by the corrected test, and by the ordinary
t-test on the same differences, which takes overlapping training sets for independent ones.

The correction assumes that two training sets' differences correlate as much as the sets' overlap alone would make
them. They correlate less where a learner hardly depends on whom it was trained on, and more where it hardly learns.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from octjob.data.participants import Participant
from octjob.data.sampling import stratified_folds
from octjob.evaluate import corrected_t
from octjob.evaluate.arrays import BoolArray, FloatArray, IntArray
from octjob.evaluate.weighted import macro_auroc

# People to their number per class, as in AI-READI's validation split by one device and by all.
COUNTS = {65: (17, 17, 20, 11), 159: (39, 40, 47, 33)}
FOLDS, REPEATS, SHARED = 5, 5, 0.5


@dataclass(frozen=True)
class Learner:
    """separation: standard deviation of the class means, in that of the noise. shrinkage: of the covariance, 1 takes
    the nearest class mean."""

    name: str
    num_features: int
    separation: float
    shrinkage: float


LEARNERS = (
    Learner("nearest mean", 6, 0.6, 1.0),
    Learner("LDA", 6, 0.6, 0.0),
    Learner("LDA", 24, 0.3, 0.0),
    Learner("shrunk LDA", 64, 0.25, 0.1),
)


def simulate(learner: Learner, label_N: IntArray, rng: np.random.Generator) -> list[FloatArray]:
    """Two sets of features (N, E)."""
    shape = (len(label_N), learner.num_features)
    mean_NE = learner.separation * rng.normal(size=(4, learner.num_features))[label_N]
    shared_NE = np.sqrt(SHARED) * rng.normal(size=shape)
    return [mean_NE + shared_NE + np.sqrt(1 - SHARED) * rng.normal(size=shape) for _ in range(2)]


def scores(learner: Learner, x_NE: FloatArray, label_N: IntArray, train_N: BoolArray) -> FloatArray:
    """Class probabilities (N, 4) of a linear discriminant with equal priors."""
    mean_KE = np.stack([x_NE[train_N & (label_N == k)].mean(axis=0) for k in range(4)])
    rest_NE = x_NE[train_N] - mean_KE[label_N[train_N]]
    covariance_EE = rest_NE.T @ rest_NE / (len(rest_NE) - 4)
    sphere_EE = np.eye(learner.num_features) * np.trace(covariance_EE) / learner.num_features
    covariance_EE = (1 - learner.shrinkage) * covariance_EE + learner.shrinkage * sphere_EE
    weight_KE = np.linalg.solve(covariance_EE, mean_KE.T).T
    logits_NK = x_NE @ weight_KE.T - 0.5 * (mean_KE * weight_KE).sum(axis=1)
    exp_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    probability_NK: FloatArray = exp_NK / exp_NK.sum(axis=1, keepdims=True)
    return probability_NK


def auroc_J(learner: Learner, x_NE: FloatArray, label_N: IntArray, deals: list[IntArray]) -> FloatArray:
    """Macro AUROC within each fold of each deal."""
    values = []
    for fold_N in deals:
        for fold in range(FOLDS):
            test_N = fold_N == fold
            probability_NK = scores(learner, x_NE, label_N, ~test_N)[test_N]
            values.append(macro_auroc(probability_NK, label_N[test_N], np.ones((1, test_N.sum())))[0])
    return np.array(values)


def deal(label_N: IntArray, seed: int) -> list[IntArray]:
    """The fold of each person, by repeat."""
    people = [
        Participant(f"{i:04}", ("UW", "UAB", "UCSD")[i % 3], "", int(label), "train", True)
        for i, label in enumerate(label_N)
    ]
    folds = [stratified_folds(people, FOLDS, seed, repeat) for repeat in range(REPEATS)]
    return [np.array([fold_of[person.id] for person in people]) for fold_of in folds]


def main() -> None:
    """Print one line per size and learner."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=500)
    num = parser.parse_args().simulations
    print(f"p < 0.05 without a difference, {num} simulations\n")
    print("  n  learner       features  AUROC  corrected t  ordinary t")
    for n, counts in COUNTS.items():
        label_N = np.repeat(np.arange(4), counts)
        dealt = [deal(label_N, seed) for seed in range(num)]
        for learner in LEARNERS:
            rng = np.random.default_rng(n)
            a_BJ, b_BJ = np.array(
                [[auroc_J(learner, x, label_N, d) for x in simulate(learner, label_N, rng)] for d in dealt]
            ).transpose(1, 0, 2)
            ratios = (1 / (FOLDS - 1), 0.0)
            corrected, ordinary = (
                100 * np.mean([corrected_t(d_J, ratio)[1] < 0.05 for d_J in a_BJ - b_BJ]) for ratio in ratios
            )
            print(
                f"{n:>3}  {learner.name:<12}  {learner.num_features:>8}  {a_BJ.mean():.3f}"
                f"  {corrected:>10.1f}%  {ordinary:>9.1f}%"
            )


if __name__ == "__main__":
    main()
