"""Slope, intercepts and Brier skill: scikit-learn and scipy as oracles; what cannot be estimated is said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from octjob.evaluate import ParticipantScores
from octjob.evaluate.recalibration import recalibration
from octjob.evaluate.skill import at_shares, brier_skill

COUNTS = (17, 17, 20, 11)


def of(label_P: np.ndarray, probability_SPK: np.ndarray) -> ParticipantScores:
    return ParticipantScores(np.array([f"{k:05d}" for k in range(len(label_P))]), label_P, probability_SPK)


def calibrated(
    seed: int, counts: tuple[int, ...] = COUNTS, steep: float = 1.0, passes: int = 1, separation: float = 1.2
) -> ParticipantScores:
    """The true probabilities of normal features about one mean a class, their log-odds times `steep`."""
    label_P, num_classes = np.repeat(np.arange(len(counts)), counts), len(counts)
    rng = np.random.default_rng(seed)
    x_SPK = rng.normal(size=(passes, len(label_P), num_classes)) + separation * np.eye(num_classes)[label_P]
    log_SPK = separation * x_SPK + np.log(np.array(counts) / sum(counts))
    return of(label_P, special.softmax(steep * log_SPK, axis=2))


def test_two_classes_are_scikit_learns_logistic_regression() -> None:
    made = calibrated(0, (40, 25), steep=2.0)
    odds_P1 = np.log(made.probability_SPK[0, :, 1:] / made.probability_SPK[0, :, :1])
    fitted = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(odds_P1, made.label_P)
    found = recalibration(made)
    assert found.slope is not None
    assert found.slope.value == pytest.approx(float(fitted.coef_[0, 0]), abs=1e-5)
    # The intercept at slope 1, of mean 0: half the root of the score.
    root = optimize.brentq(lambda a: (special.expit(a + odds_P1[:, 0]) - made.label_P).sum(), -9, 9)
    assert [one.value for one in found.intercept] == pytest.approx([-root / 2, root / 2], abs=1e-9)


def test_four_classes_maximise_the_likelihood() -> None:
    made = calibrated(1, steep=1.7)
    log_PK = np.log(made.probability_SPK[0])

    def loss(value: np.ndarray) -> float:
        logits = np.concatenate([[0.0], value[:3]]) + value[3] * log_PK
        return -float(special.log_softmax(logits, axis=1)[np.arange(65), made.label_P].sum())

    best = optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-8})
    found = recalibration(made)
    assert found.slope is not None
    assert found.slope.value == pytest.approx(best.x[3], abs=1e-5)
    assert found.slope.interval.low < found.slope.value < found.slope.interval.high
    assert sum(one.value for one in found.intercept) == pytest.approx(0, abs=1e-9)


def test_no_class_is_a_reference() -> None:
    made = calibrated(2)
    turned = of(3 - made.label_P, made.probability_SPK[:, :, ::-1])
    one, other = recalibration(made), recalibration(turned)
    assert one.slope is not None
    assert other.slope is not None
    assert other.slope.interval.high == pytest.approx(one.slope.interval.high, abs=1e-7)
    for a, b in zip(one.intercept, reversed(other.intercept), strict=True):
        assert (b.value, b.interval.low) == pytest.approx((a.value, a.interval.low), abs=1e-7)


def test_passes_that_agree_count_once() -> None:
    made = calibrated(3)
    thrice = of(made.label_P, np.tile(made.probability_SPK, (3, 1, 1)))
    one, other = recalibration(made).slope, recalibration(thrice).slope
    assert one is not None
    assert other is not None
    assert (other.value, other.interval.low) == pytest.approx((one.value, one.interval.low), abs=1e-9)


def test_intervals_hold_slope_and_intercepts_about_nineteen_times_in_twenty() -> None:
    held = np.zeros(5)
    for seed in range(120):
        slope = recalibration(calibrated(seed, steep=1 / 0.7)).slope
        assert slope is not None
        intercept = recalibration(calibrated(seed)).intercept
        held += [
            slope.interval.low <= 0.7 <= slope.interval.high,
            *(one.interval.low <= 0 <= one.interval.high for one in intercept),
        ]
    assert (held / 120 > 0.91).all()


def test_what_cannot_be_estimated_is_said() -> None:
    label_P = np.repeat(np.arange(4), COUNTS)
    sure = of(label_P, np.full((1, 65, 4), 0.01) + 0.96 * np.eye(4)[label_P])
    assert recalibration(sure).slope is None
    assert "separate the classes" in recalibration(sure).reason
    alike = of(label_P, np.full((1, 65, 4), 0.25))
    assert recalibration(alike).slope is None
    assert recalibration(alike).reason == "the probabilities are the same for everyone"
    # Their intercepts say how often each class occurs.
    shares = np.array([one.value for one in recalibration(alike).intercept])
    assert special.softmax(shares) == pytest.approx(np.array(COUNTS) / 65, abs=1e-9)
    few = calibrated(0, (20, 20, 20, 4))
    found = recalibration(few, class_names=("a", "b", "c", "insulin"))
    assert (found.slope, found.intercept) == (None, ())
    assert found.reason == "insulin has 4 participants; 5 are needed"
    mixed = of(label_P, np.concatenate([sure.probability_SPK, calibrated(0).probability_SPK]))
    assert recalibration(mixed).reason.endswith("in 1 of 2 passes")


def test_brier_skill_is_one_less_scikit_learns_scores() -> None:
    made, shares = calibrated(4, passes=2), (0.4, 0.3, 0.2, 0.1)
    own = np.mean(
        [
            brier_score_loss(made.label_P, p_PK, labels=[0, 1, 2, 3], scale_by_half=False)
            for p_PK in made.probability_SPK
        ]
    )
    always = brier_score_loss(
        made.label_P, np.tile(shares, (65, 1)), labels=[0, 1, 2, 3], scale_by_half=False
    )
    found = brier_skill(made, shares, num_draws=200)
    assert found.value == pytest.approx(1 - own / always, abs=1e-12)
    assert found.interval.low < found.value < found.interval.high
    prior = of(made.label_P, np.tile(shares, (1, 65, 1)))
    assert brier_skill(prior, shares, num_draws=50).value == pytest.approx(0, abs=1e-12)


def test_a_weighted_loss_is_brought_back_to_the_training_shares() -> None:
    """Bayes: what equal shares would have answered, and the training shares did."""
    made = calibrated(5, (40, 30, 20, 10))
    shares = (0.4, 0.3, 0.2, 0.1)
    equal_SPK = made.probability_SPK / np.array(shares)
    equal = of(made.label_P, equal_SPK / equal_SPK.sum(axis=2, keepdims=True))
    back = at_shares(equal, (0.25,) * 4, shares)
    assert back.probability_SPK == pytest.approx(made.probability_SPK, abs=1e-12)
    assert brier_skill(back, shares).value > brier_skill(equal, shares).value
    assert at_shares(made, shares, shares).probability_SPK == pytest.approx(made.probability_SPK, abs=1e-12)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.5, 0.5, 0.5, 0.5), (1.2, -0.2, 0.0, 0.0)])
def test_what_are_no_shares_is_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="are no shares of 4 classes"):
        brier_skill(calibrated(0), shares)
