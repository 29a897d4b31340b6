"""The convex probe against scikit-learn and its own optimality."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from octjob.data.participants import Participant
from octjob.train.logistic import C_GRID, fit_logistic


def samples(num_classes: int = 4, n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label_N = np.arange(n) % num_classes
    x_NE = rng.normal(size=(n, 5)) + np.eye(max(5, num_classes))[label_N, :5]
    return x_NE, label_N, rng.uniform(0.5, 2.0, n)


def people(label_N: np.ndarray) -> list[Participant]:
    return [Participant(str(i), "UW", "g", int(label), "train", True) for i, label in enumerate(label_N)]


def fit(x_NE: np.ndarray, label_N: np.ndarray, weight_N: np.ndarray, l2: float | str, num_classes: int = 4):  # type: ignore[no-untyped-def]
    groups = np.array([str(i) for i in range(len(label_N))])
    return fit_logistic(x_NE, label_N, weight_N, groups, people(label_N), num_classes, l2, 0, lambda: None)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_probabilities_are_scikit_learns(num_classes: int) -> None:
    x_NE, label_N, weight_N = samples(num_classes)
    model = fit(x_NE, label_N, weight_N, 2.0, num_classes)
    reference = LogisticRegression(C=0.5, tol=1e-6, max_iter=2000).fit(x_NE, label_N, sample_weight=weight_N)
    logits_NK = model.logits(x_NE)
    p_NK = np.exp(logits_NK - np.logaddexp.reduce(logits_NK, axis=1, keepdims=True))
    assert np.allclose(p_NK, reference.predict_proba(x_NE), atol=1e-10)
    assert model.used["converged"]


def test_auto_chooses_more_penalty_for_noise_than_for_signal() -> None:
    x_NE, label_N, weight_N = samples()
    signal = fit(x_NE * 3, label_N, weight_N, "auto")
    noise = fit(np.random.default_rng(1).normal(size=x_NE.shape), label_N, weight_N, "auto")
    assert noise.used["l2"] > signal.used["l2"]
    assert signal.used["l2"] in [pytest.approx(1 / c) for c in C_GRID]
    assert "folds of the training participants" in signal.used["l2_chosen_by"]


def test_it_can_be_stopped_between_fits() -> None:
    x_NE, label_N, weight_N = samples()

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_logistic(x_NE, label_N, weight_N, np.array([str(i) for i in range(len(label_N))]), people(label_N), 4,
                     "auto", 0, stop)  # fmt: skip
