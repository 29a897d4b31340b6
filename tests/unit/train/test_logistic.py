"""The convex probe against scikit-learn and its own optimality."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from octjob.data.cohort import Volume
from octjob.data.manifest import VolumeRecord
from octjob.data.participants import Participant
from octjob.data.sampling import stratified_folds
from octjob.errors import DataError
from octjob.spec.experiment import Experiment
from octjob.train import trainers
from octjob.train.logistic import C_GRID, EigenBasis, Logistic, fit_logistic
from octjob.train.scoring import Scorer
from octjob.train.trainers import LogisticTrainer
from octjob.train.units import Unit, make_units


def samples(
    num_classes: int = 4, n: int = 120, seed: int = 0, num_features: int = 5, signal: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlated features, whose variances along their singular vectors fall as those of an encoder do."""
    rng = np.random.default_rng(seed)
    label_N = np.arange(n) % num_classes
    x_NE = rng.normal(size=(n, num_features))
    x_NE += signal * np.eye(max(num_features, num_classes))[label_N, :num_features]
    x_NE = (
        x_NE / np.arange(1, num_features + 1) @ np.linalg.qr(rng.normal(size=(num_features, num_features)))[0]
    )
    return x_NE, label_N, rng.uniform(0.5, 2.0, n)


def people(label_N: np.ndarray) -> list[Participant]:
    return [Participant(str(i), "UW", "g", int(label), "train", True) for i, label in enumerate(label_N)]


def fit(
    x_NE: np.ndarray, label_N: np.ndarray, weight_N: np.ndarray, l2: float | str, num_classes: int = 4
) -> Logistic:
    groups = np.array([str(i) for i in range(len(label_N))])
    basis = EigenBasis(x_NE)
    return fit_logistic(basis, label_N, weight_N, groups, people(label_N), num_classes, l2, 0, lambda: None)


def scikit_learn(x_NE: np.ndarray, label_N: np.ndarray, weight_N: np.ndarray, c: float) -> LogisticRegression:
    """To its last digits, by Newton's method on all features: the slow way that has no trouble with their scales."""
    with warnings.catch_warnings():
        # It says so where it cannot get below rounding errors.
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=c, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
        return model.fit(x_NE, label_N, sample_weight=weight_N)


def probabilities(logits_NK: np.ndarray) -> np.ndarray:
    return np.exp(logits_NK - np.logaddexp.reduce(logits_NK, axis=1, keepdims=True))


def objective(
    coef: np.ndarray, intercept: np.ndarray, c: float, x: np.ndarray, label: np.ndarray, weight: np.ndarray
) -> float:
    """scikit-learn's, of coefficients of K classes, or of the second of two."""
    logits_NK = x @ coef.T + intercept
    if logits_NK.shape[1] == 1:
        logits_NK = np.concatenate([np.zeros_like(logits_NK), logits_NK], axis=1)
    log_p_NK = logits_NK - np.logaddexp.reduce(logits_NK, axis=1, keepdims=True)
    return float(-weight @ log_p_NK[np.arange(len(label)), label] + (coef**2).sum() / (2 * c))


@pytest.mark.parametrize("num_classes", [2, 3, 4])
@pytest.mark.parametrize(("n", "num_features"), [(120, 5), (60, 90)])
@pytest.mark.parametrize("c", [1e-5, 0.5, 1.0, 100.0])
def test_probabilities_are_scikit_learns(num_classes: int, n: int, num_features: int, c: float) -> None:
    case = samples(num_classes, n, num_features=num_features)
    x_NE = case[0]
    model = fit(*case, 1 / c, num_classes)
    reference = scikit_learn(*case, c)
    expected = objective(reference.coef_, reference.intercept_, c, *case)
    assert objective(model.coef_KE, model.intercept_K, c, *case) <= expected * (1 + 1e-7)
    p_NK = probabilities(model.logits(x_NE))
    assert np.allclose(p_NK, reference.predict_proba(x_NE), atol=1e-4 if c <= 1 else 1e-3)
    assert model.used == {
        "l2": 1 / c, "l2_chosen_by": "config", "iterations": model.used["iterations"], "converged": True,
    }  # fmt: skip


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_classes=st.integers(2, 4),
    n=st.integers(8, 30),
    num_features=st.integers(1, 20),
    c=st.sampled_from([1e-5, 1e-2, 1.0, 100.0]),
    constant=st.booleans(),
    twice=st.booleans(),
    repeated_rows=st.booleans(),
    exponent=st.integers(-3, 4),
    offset=st.sampled_from([0.0, 1e4]),
    weights=st.sampled_from(["equal", "uneven", "some zero"]),
    signal=st.sampled_from([0.0, 1.0, 30.0]),
)
def test_the_minimum_is_reached_whatever_the_features(
    seed: int, num_classes: int, n: int, num_features: int, c: float, constant: bool, twice: bool,
    repeated_rows: bool, exponent: int, offset: float, weights: str, signal: float,
) -> None:  # fmt: skip
    """Constant, repeated and huge features, fewer samples than features, samples of no weight, separable classes."""
    x_NE, label_N, weight_N = samples(num_classes, n, seed, num_features, signal)
    x_NE[:, ::2] *= 10.0**exponent
    x_NE = x_NE + offset
    if constant:
        x_NE[:, 0] = 7.0
    if twice:
        x_NE = np.concatenate([x_NE, x_NE], axis=1)
    if weights == "equal":
        weight_N = np.ones(n)
    elif weights == "some zero":
        weight_N[num_classes::2] = 0.0
    if repeated_rows:
        x_NE, label_N, weight_N = (np.concatenate([values, values]) for values in (x_NE, label_N, weight_N))
    model = fit(x_NE, label_N, weight_N, 1 / c, num_classes)
    assert model.used["converged"]
    reached = objective(model.coef_KE, model.intercept_K, c, x_NE, label_N, weight_N)
    # Newton's method of scikit-learn loses digits to an offset: the optimum is the same without.
    middle_E = x_NE.mean(axis=0)
    reference = scikit_learn(x_NE - middle_E, label_N, weight_N, c)
    expected = objective(reference.coef_, reference.intercept_, c, x_NE - middle_E, label_N, weight_N)
    assert reached <= expected * (1 + 1e-7) + 1e-12 * weight_N.sum()


def test_a_class_without_weight_becomes_impossible() -> None:
    x_NE, label_N, weight_N = samples()
    weight_N[label_N == 3] = 0.0
    model = fit(x_NE, label_N, weight_N, 1.0)
    assert model.used["converged"]
    assert probabilities(model.logits(x_NE))[:, 3].max() < 1e-6


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize(("n", "num_features"), [(120, 5), (60, 90)])
def test_auto_chooses_as_a_loop_over_scikit_learn(num_classes: int, n: int, num_features: int) -> None:
    x_NE, label_N, weight_N = samples(num_classes, n, num_features=num_features)
    model = fit(x_NE, label_N, weight_N, "auto", num_classes)
    fold_of = stratified_folds(people(label_N), 5, 0)
    fold_N = np.array([fold_of[str(i)] for i in range(n)])
    losses = []
    for c in C_GRID:
        loss = 0.0
        for fold in range(5):
            inside, out = fold_N != fold, fold_N == fold
            log_p_NK = scikit_learn(x_NE[inside], label_N[inside], weight_N[inside], c).predict_log_proba(
                x_NE[out]
            )
            loss -= float(weight_N[out] @ log_p_NK[np.arange(len(log_p_NK)), label_N[out]])
        losses.append(loss / weight_N.sum())
    best = C_GRID[int(np.argmin(losses))]
    assert model.used["l2"] == 1 / best
    assert model.used["l2_at_edge"] == (best in (C_GRID[0], C_GRID[-1]))
    assert "folds of the training participants" in model.used["l2_chosen_by"]
    expected_NK = scikit_learn(x_NE, label_N, weight_N, best).predict_proba(x_NE)
    assert np.allclose(probabilities(model.logits(x_NE)), expected_NK, atol=1e-4)


def test_auto_chooses_more_penalty_for_noise_than_for_signal() -> None:
    x_NE, label_N, weight_N = samples()
    signal = fit(x_NE * 3, label_N, weight_N, "auto")
    noise = fit(np.random.default_rng(1).normal(size=x_NE.shape), label_N, weight_N, "auto")
    assert noise.used["l2"] > signal.used["l2"]


def test_the_same_again_is_the_same_bit_for_bit() -> None:
    x_NE, label_N, weight_N = samples(num_features=60)
    one, two = (fit(x_NE, label_N, weight_N, "auto") for _ in range(2))
    assert np.array_equal(one.coef_KE, two.coef_KE)
    assert np.array_equal(one.intercept_K, two.intercept_K)


def test_it_can_be_stopped_between_fits() -> None:
    x_NE, label_N, weight_N = samples()
    groups, calls = np.array([str(i) for i in range(len(label_N))]), 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == len(C_GRID):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_logistic(EigenBasis(x_NE), label_N, weight_N, groups, people(label_N), 4, "auto", 0, stop)


@pytest.mark.parametrize("l2", [1.0, "auto"])
@pytest.mark.parametrize(("num_classes", "kept"), [(4, 3), (2, 1)])
def test_a_missing_class_is_an_error_of_the_data(l2: float | str, num_classes: int, kept: int) -> None:
    x_NE, label_N, weight_N = samples(kept, 30)
    with pytest.raises(DataError, match=f"training samples hold {kept} of {num_classes} classes"):
        fit(x_NE, label_N, weight_N, l2, num_classes)


def test_a_class_that_the_samples_outside_a_fold_lack_is_an_error_of_the_data() -> None:
    """Five participants of the class, of whom one has all of its samples."""
    x_NE, label_N, weight_N = samples(4, 40)
    groups = np.array([str(i) for i in range(40)])
    groups[label_N == 3] = "3"
    with pytest.raises(DataError, match="training samples hold 3 of 4 classes"):
        fit_logistic(EigenBasis(x_NE), label_N, weight_N, groups, people(label_N), 4, "auto", 0, lambda: None)


@dataclass
class Looking:
    """A watch that notes which units began."""

    begun: list[str] = field(default_factory=list)

    def begin(self, units: Sequence[Unit], name: str) -> None:
        self.begun.append(name)

    def check_stop(self) -> None:
        """Nobody asks to stop."""


def volumes_of(label_N: np.ndarray) -> list[Volume]:
    record = {"device": "d", "manufacturer": "m", "model": "m", "region": "r", "imaging": "OCT", "laterality": "L",
              "height": 1, "width": 1, "num_frames": 1, "key": "k", "protocol": ""}  # fmt: skip
    return [
        Volume(VolumeRecord(participant=person.id, sop_instance_uid=f"1.{person.id}", **record), person)
        for person in people(label_N)
    ]


@pytest.mark.parametrize("l2", [1.0, "auto"])
def test_seeds_that_train_on_the_same_volumes_share_the_features_basis_and_change_nothing(
    monkeypatch: pytest.MonkeyPatch, l2: float | str
) -> None:
    x_NE, label_N, _ = samples(n=160, num_features=20)
    experiment = Experiment.model_validate(
        {"train": {"optimizer": "LBFGS", "l2": l2, "class_weights": "auto", "standardize": True}}
    )
    volumes = volumes_of(label_N)
    units = make_units(volumes, experiment, [(1, 0), (2, 0), (2, 1)], folds=2)
    x_VNE = torch.from_numpy(np.stack([x_NE, x_NE + 0.1])).float()
    trainer = LogisticTrainer(experiment, Scorer(volumes, experiment), x_VNE)
    bases: list[EigenBasis] = []

    def counted(features_NE: np.ndarray) -> EigenBasis:
        bases.append(EigenBasis(features_NE))
        return bases[-1]

    alone = {unit.name: one for unit in units for ((_, one),) in trainer.train([unit], Looking())}
    monkeypatch.setattr(trainers, "EigenBasis", counted)
    looking = Looking()
    together = [one for done in trainer.train(units, looking) for one in done]
    # Two folds of two repeats; the first repeat has two seeds.
    assert len(bases) == 4
    assert [unit.name for unit, _ in together] == looking.begun
    assert sorted(looking.begun) == sorted(alone)
    for unit, trained in together:
        assert np.array_equal(trained.eval_logits_NK, alone[unit.name].eval_logits_NK)
        assert trained.used == alone[unit.name].used


def test_too_few_of_a_class_for_the_choice_of_a_penalty_are_told_as_such() -> None:
    """Who wrote no folds is not told to use fewer."""
    x_NE, label_N, weight_N = samples(4, 40)
    kept = (label_N != 3) | (np.cumsum(label_N == 3) <= 4)
    with pytest.raises(DataError, match=r"train.l2: auto .* 5 folds .* class 3 has 4 of them") as caught:
        fit(x_NE[kept], label_N[kept], weight_N[kept], "auto")
    assert caught.value.hint == "Widen the selection, or give train.l2 a number."
    assert fit(x_NE[kept], label_N[kept], weight_N[kept], 1.0).used["l2"] == 1.0
