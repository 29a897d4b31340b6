"""The corrected resampled t-test against its closed form, baycomp and a simulation of its size."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from octjob.evaluate import Predictions, corrected_t, fold_values, resampled_difference
from octjob.evaluate.predictions import softmax

# (folds, differences, posterior probability that the mean is at most 0), from baycomp 1.0.3's
# CorrelatedTTest(x, 0, runs=len(x) / folds).probs(): its Student posterior's tail is the one-sided p-value.
BAYCOMP: list[tuple[int, list[float], float]] = [
    (5, [0.021, 0.061, 0.057, 0.005, 0.011], 0.07644597351467197),
    (
        5,
        [
            0.004,
            0.037,
            0.018,
            0.042,
            -0.035,
            0.067,
            0.017,
            0.04,
            0.016,
            0.009,
            0.034,
            0.045,
            0.014,
            0.015,
            0.041,
            -0.006,
            -0.025,
            0.032,
            0.0,
            -0.038,
            -0.004,
            0.006,
            -0.016,
            -0.025,
            0.021,
        ],
        0.20107063929070834,
    ),
    (
        2,
        [
            0.047,
            0.013,
            -0.002,
            0.032,
            0.042,
            0.011,
            0.036,
            0.051,
            0.014,
            -0.004,
            0.03,
            0.027,
            0.053,
            -0.019,
            0.0,
            -0.005,
            -0.032,
            0.024,
            0.036,
            -0.002,
        ],
        0.24130211673046498,
    ),
]


@pytest.mark.parametrize(("folds", "difference_J", "tail"), BAYCOMP)
def test_twice_the_tail_of_baycomps_posterior(folds: int, difference_J: list[float], tail: float) -> None:
    _, p_value = corrected_t(np.array(difference_J), 1 / (folds - 1))
    assert p_value == pytest.approx(2 * tail, abs=1e-12)


def test_by_hand() -> None:
    # mean 2, variance 1, J = 3: the error is sqrt(1/3 + 1/2), with 2 degrees of freedom.
    interval, p_value = corrected_t(np.array([1.0, 2.0, 3.0]), 0.5)
    error = math.sqrt(5 / 6)
    t = 2 / error
    assert p_value == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-12)  # Student's t with 2 degrees
    assert (interval.low + interval.high) / 2 == pytest.approx(2)
    assert (interval.high - interval.low) / 2 == pytest.approx(4.302652729911275 * error)


def test_without_overlap_it_is_the_ordinary_t_test() -> None:
    difference_J = np.random.default_rng(0).normal(0.3, 1.0, 12)
    _, p_value = corrected_t(difference_J, 0.0)
    assert p_value == pytest.approx(stats.ttest_1samp(difference_J, 0).pvalue, abs=1e-12)


def table(
    seed: int, num_seeds: int = 1, folds: int = 3, repeats: int = 2, signal: float = 1.0
) -> Predictions:
    """30 participants of two classes, dealt to folds with both classes in each; `seed` moves the logits."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for repeat in range(repeats):
        fold_P = np.random.default_rng(100 + repeat).permutation(15) % folds
        for training_seed in range(num_seeds):
            rows += [
                {
                    "participant": f"p{i:02}",
                    "eye": "OD",
                    "device": "d",
                    "split": "cv",
                    "fold": int(fold_P[i // 2]),
                    "seed": training_seed,
                    "label": i % 2,
                    "repeat": repeat,
                    "logits": [0.0, signal * (i % 2) + rng.normal()],
                }
                for i in range(30)
            ]
    return Predictions.from_columns({name: [row[name] for row in rows] for name in rows[0]})


def test_values_are_those_within_each_test_fold_averaged_over_seeds() -> None:
    predictions = table(1, num_seeds=2)
    values = fold_values(predictions)
    expected = []
    for repeat, fold in [(r, f) for r in (0, 1) for f in (0, 1, 2)]:
        of_seeds = []
        for seed in (0, 1):
            here = (predictions.repeat == repeat) & (predictions.fold == fold) & (predictions.seed == seed)
            rows = predictions.rows(here)
            of_seeds.append(roc_auc_score(rows.label, softmax(rows.logits_NK)[:, 1]))
        expected.append(np.mean(of_seeds))
    assert values.value_J == pytest.approx(np.array(expected), abs=1e-12)
    assert values.test_over_train == pytest.approx(10 / 20)


def test_sites_of_different_sizes_leave_less_to_train_on_than_folds() -> None:
    """Of 20, 6 and 4 participants left out in turn; 1 / (3 - 1) would say half as many scored as trained on."""
    one = table(1, num_seeds=2)
    number_N = np.unique(one.participant, return_inverse=True)[1]
    found = fold_values(replace(one, fold=np.digitize(number_N, (20, 26))))
    assert found.test_over_train == pytest.approx(np.mean([20 / 10, 6 / 24, 4 / 26]))
    assert found.test_over_train > 0.5


def test_the_difference_of_two_runs() -> None:
    a, b = fold_values(table(1, num_seeds=2, signal=2.0)), fold_values(table(2))
    found = resampled_difference(a, b)
    interval, p_value = corrected_t(a.value_J - b.value_J, 0.5)
    assert (found.interval, found.p_value, found.num_training_sets) == (interval, p_value, 6)
    assert found.difference == pytest.approx((a.value_J - b.value_J).mean())
    turned = resampled_difference(b, a)
    assert turned.p_value == found.p_value
    assert turned.difference == -found.difference
    assert "Nadeau and Bengio" in found.p_method
    assert found.reason == ""


def test_no_test_without_folds() -> None:
    split = table(1, folds=1, repeats=1)
    found = resampled_difference(fold_values(split), fold_values(split))
    assert found.p_value is None
    assert "one training set" in found.reason


def test_no_test_where_the_two_were_dealt_differently() -> None:
    found = resampled_difference(fold_values(table(1)), fold_values(table(2, folds=5)))
    assert found.p_value is None
    assert "not scored on the same folds" in found.reason


def test_no_test_without_variation() -> None:
    values = fold_values(table(1))
    found = resampled_difference(values, values)
    assert (found.difference, found.p_value) == (0.0, None)
    assert "same in every fold" in found.reason


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("macro_auroc", "class 1 has no participant in fold 2 of repeat 1"),
        ("balanced_accuracy", "class 1 has no participant in fold 2 of repeat 1"),
        ("quadratic_kappa", "undefined in fold 2 of repeat 1"),
        ("log_loss", ""),
    ],
)
def test_a_fold_without_a_class_is_named(metric: str, reason: str) -> None:
    def without(seed: int) -> Predictions:
        predictions = table(seed)
        return predictions.rows(
            (predictions.repeat != 1) | (predictions.fold != 2) | (predictions.label != 1)
        )

    def always_class_0(predictions: Predictions) -> Predictions:
        predictions.logits_NK[(predictions.repeat == 1) & (predictions.fold == 2), 1] = -9.0
        return predictions

    a, b = (fold_values(always_class_0(without(seed)), metric) for seed in (1, 2))
    found = resampled_difference(a, b)
    assert found.reason == reason
    assert (found.p_value is None) == bool(reason)
