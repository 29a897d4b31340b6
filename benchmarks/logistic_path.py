"""Choosing the penalty of a logistic regression: octjob's path over a loop of scikit-learn's fits, and accuracy.

76 fits: 15 penalties, 5 folds, and the last on all samples; 4 classes, class weights. Features are synthetic, with
variances that fall along their singular vectors as those of an encoder's features do. CPU seconds, one thread.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from benchmarks.figures import Figure, arguments, spent, tell
from octjob.data.participants import Participant
from octjob.data.sampling import class_weights, stratified_folds
from octjob.train.logistic import C_GRID, EigenBasis, Logistic, fit_logistic

Floats = npt.NDArray[np.float64]
NUM_CLASSES, NUM_FOLDS = 4, 5
# Participants and features: the demo's, and a base encoder's with the fewest and the most training participants.
SIZES = ((760, 96), (159, 768), (1000, 768))


@dataclass(frozen=True)
class Case:
    """Standardised features (N, E), labels and class weights (N,), folds (N,)."""

    x_NE: Floats
    label_N: npt.NDArray[np.int64]
    weight_N: Floats
    people: list[Participant]
    fold_N: npt.NDArray[np.int64]


def make_case(num: int, num_features: int, decay: float) -> Case:
    """Class shares of AI-READI's groups; standard deviations fall as the rank to the power -`decay`."""
    rng = np.random.default_rng(0)
    label_N = rng.choice(NUM_CLASSES, num, p=[0.4, 0.22, 0.3, 0.08])
    mean_KE = 0.3 * rng.normal(size=(NUM_CLASSES, num_features))
    length_E = np.arange(1, num_features + 1) ** -decay
    rotation_EE = np.linalg.qr(rng.normal(size=(num_features, num_features)))[0]
    x_NE = ((rng.normal(size=(num, num_features)) + mean_KE[label_N]) * length_E) @ rotation_EE
    x_NE = (x_NE - x_NE.mean(axis=0)) / x_NE.std(axis=0)
    weight_K = class_weights(label_N, NUM_CLASSES, "auto")
    assert weight_K is not None
    people = [Participant(str(i), "UW", "g", int(label), "train", True) for i, label in enumerate(label_N)]
    fold_of = stratified_folds(people, NUM_FOLDS, 0)
    fold_N = np.array([fold_of[person.id] for person in people])
    return Case(x_NE, label_N, weight_K[label_N], people, fold_N)


def ours(case: Case, l2: float | str) -> Logistic:
    """As `LogisticTrainer` does, the basis included."""
    groups = np.array([person.id for person in case.people])
    return fit_logistic(
        EigenBasis(case.x_NE),
        case.label_N,
        case.weight_N,
        groups,
        case.people,
        NUM_CLASSES,
        l2,
        0,
        lambda: None,
    )


def scikit_learn(
    case: Case, rows: npt.NDArray[np.bool_], c: float, tol: float, limit: int
) -> LogisticRegression:
    """L-BFGS from zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=c, max_iter=limit, tol=tol)
        return model.fit(case.x_NE[rows], case.label_N[rows], sample_weight=case.weight_N[rows])


def loop(case: Case) -> float:
    """What octjob did before, with its tolerance and its limit; the best C."""
    everyone, losses = np.ones(len(case.label_N), dtype=bool), []
    for c in C_GRID:
        loss = 0.0
        for fold in range(NUM_FOLDS):
            out_N = case.fold_N == fold
            log_p_NK = scikit_learn(case, ~out_N, c, 1e-6, 2000).predict_log_proba(case.x_NE[out_N])
            loss -= case.weight_N[out_N] @ log_p_NK[np.arange(len(log_p_NK)), case.label_N[out_N]]
        losses.append(loss)
    best = C_GRID[int(np.argmin(losses))]
    scikit_learn(case, everyone, best, 1e-6, 2000)
    return best


def gaps(case: Case, c: float) -> list[tuple[float, float]]:
    """Of octjob's fit on all samples, and of the loop's: how far the objective is above that of scikit-learn with
    tolerance 1e-10, relative, and the largest difference of a probability from its."""
    everyone, fitted = np.ones(len(case.label_N), dtype=bool), ours(case, 1 / c)
    models = [
        (m.coef_, m.intercept_)
        for m in (scikit_learn(case, everyone, c, *how) for how in ((1e-6, 2000), (1e-10, 50_000)))
    ]
    log_p, values = [], []
    for coef_KE, intercept_K in [(fitted.coef_KE, fitted.intercept_K), *models]:
        logits_NK = case.x_NE @ coef_KE.T + intercept_K
        log_p.append(logits_NK - np.logaddexp.reduce(logits_NK, axis=1, keepdims=True))
        loss = -case.weight_N @ log_p[-1][np.arange(len(logits_NK)), case.label_N]
        values.append(loss + (coef_KE**2).sum() / (2 * c))
    return [
        (values[i] / values[-1] - 1, float(abs(np.exp(log_p[i]) - np.exp(log_p[-1])).max())) for i in (0, 1)
    ]


def main() -> None:
    """Both, on one thread."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--decay",
        type=float,
        default=1.0,
        help="of the features: 1, which suits scikit-learn; the demo's have 2",
    )
    args: argparse.Namespace = parser.parse_args()
    with threadpool_limits(1):
        measure(args)


def measure(args: argparse.Namespace) -> None:
    """Both, on every size."""
    ours(make_case(200, 16, args.decay), "auto")
    figures, notes = [], []
    for num, num_features in SIZES:
        case = make_case(num, num_features, args.decay)
        with spent() as path:
            model = ours(case, "auto")
        with spent() as peer:
            best = loop(case)
        what = f"76 fits, {num} participants x {num_features} features"
        figures.append(
            Figure(
                what,
                "CPU s",
                path.cpu_s,
                peer.cpu_s,
                "scikit-learn, a loop",
                wanted=">= 6 x a loop over scikit-learn",
            )
        )
        notes.append(f"{num} x {num_features}: C {1 / model.used['l2']:.3g}, the loop's {best:.3g}.")
        for c in (1.0, 100.0):
            (gap, difference), (peer_gap, peer_difference) = gaps(case, c)
            notes[-1] += (
                f"\n  C {c:g}: objective above scikit-learn's at tolerance 1e-10 by {gap:.0e} of it (the loop's fits"
                f" {peer_gap:.0e}); probabilities differ by up to {difference:.0e} ({peer_difference:.0e})"
            )
    tell(args, "The penalty of a logistic regression", figures, notes)


if __name__ == "__main__":
    main()
