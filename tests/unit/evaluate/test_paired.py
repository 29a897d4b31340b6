"""Two runs compared on the same participants."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk

from octjob.errors import DataError
from octjob.evaluate import ParticipantScores, holm, paired_difference


def run(rng: np.random.Generator, size: int, signal: float, num_seeds: int = 1) -> ParticipantScores:
    label = np.arange(size) % 3
    logits = rng.normal(size=(num_seeds, size, 3)) + signal * np.eye(3)[label]
    probability = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    return ParticipantScores(np.array([f"{i:04d}" for i in range(size)]), label, probability)


def from_predicted(label: list[int], predicted: list[int], num_classes: int = 2) -> ParticipantScores:
    probability_PK: NDArray[np.float64] = np.eye(num_classes)[predicted]
    return ParticipantScores(
        np.array([str(i) for i in range(len(label))]), np.array(label), probability_PK[None]
    )


def some(scores: ParticipantScores, rows: NDArray[np.int64]) -> ParticipantScores:
    return ParticipantScores(
        scores.participant_P[rows], scores.label_P[rows], scores.probability_SPK[:, rows], scores.seed_S
    )


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_auroc", "log_loss"])
def test_a_run_does_not_differ_from_itself(metric: str) -> None:
    scores = run(np.random.default_rng(0), 30, 0.5, num_seeds=2)
    result = paired_difference(scores, scores, metric, num_draws=100, num_permutations=100)
    assert result.difference == 0
    assert (result.interval.low, result.interval.high) == (0, 0)
    assert result.p_value == 1


def test_participants_are_aligned_by_id_not_by_position() -> None:
    rng = np.random.default_rng(1)
    a, b = run(rng, 30, 1.0), run(rng, 30, 0.0)
    straight = paired_difference(a, b, num_draws=100, num_permutations=100)
    shuffled = paired_difference(a, some(b, rng.permutation(30)), num_draws=100, num_permutations=100)
    assert shuffled == straight
    expected = [sk.balanced_accuracy_score(x.label_P, x.predicted_SP[0]) for x in (a, b)]
    assert straight.difference == pytest.approx(expected[0] - expected[1], abs=1e-12)


def test_a_better_run_is_told_from_a_worse_one_and_the_sign_is_a_minus_b() -> None:
    rng = np.random.default_rng(2)
    good, poor = run(rng, 150, 2.0), run(rng, 150, 0.0)
    forward, backward = paired_difference(good, poor), paired_difference(poor, good)
    assert forward.interval.low > 0.2
    assert forward.p_value == 1 / 2001
    assert backward.difference == -forward.difference
    assert backward.interval.high == -forward.interval.low


def test_the_permutation_p_value_tends_to_the_one_from_every_permutation() -> None:
    label = [0, 0, 0, 0, 1, 1, 1, 1]
    a = from_predicted(label, [0, 0, 0, 0, 1, 1, 1, 0])
    b = from_predicted(label, [0, 1, 0, 1, 1, 1, 0, 1])
    observed = paired_difference(a, b, "accuracy", num_permutations=20_000)
    right = np.stack([a.predicted_SP[0] == label, b.predicted_SP[0] == label]).astype(int)
    change = right[0] - right[1]
    all_sums = [abs(np.dot(signs, change)) for signs in itertools.product((-1, 1), repeat=8)]
    exact = np.mean(np.array(all_sums) >= abs(change.sum()))
    assert 0.1 < exact < 0.9
    assert observed.p_value == pytest.approx(exact, abs=0.02)


def test_permuting_equals_swapping_the_rows_by_hand() -> None:
    """Six participants have 64 swaps: the p-value tends to the one from counting them with scikit-learn."""
    rng = np.random.default_rng(5)
    a, b = run(rng, 6, 0.5), run(rng, 6, 0.0)
    # Each run's scores as ranks among its own.
    a_PK, b_PK = (stats.rankdata(x.probability_SPK[0], axis=0) for x in (a, b))

    def auroc(probability_PK: NDArray[np.float64]) -> float:
        return float(np.mean([sk.roc_auc_score(a.label_P == k, probability_PK[:, k]) for k in range(3)]))

    observed = abs(auroc(a_PK) - auroc(b_PK))
    differences = []
    for keep in itertools.product((True, False), repeat=6):
        mask = np.array(keep)[:, None]
        differences.append(abs(auroc(np.where(mask, a_PK, b_PK)) - auroc(np.where(mask, b_PK, a_PK))))
    exact = np.mean(np.array(differences) >= observed - 1e-12)
    result = paired_difference(a, b, "macro_auroc", num_draws=10, num_permutations=20_000)
    assert result.p_value == pytest.approx(exact, abs=0.02)


def test_under_the_null_small_p_values_are_rare() -> None:
    rng = np.random.default_rng(3)
    p_values = [
        paired_difference(run(rng, 60, 0.7), run(rng, 60, 0.7), num_draws=1, num_permutations=200).p_value
        for _ in range(150)
    ]
    # 150 trials at 5 %: 7.5 expected, 16 is over three standard errors above.
    assert sum(p <= 0.05 for p in p_values) <= 16


def test_mcnemar_counts_the_discordant_participants() -> None:
    label = [0] * 10
    a = from_predicted(label, [0] * 8 + [1, 1])
    b = from_predicted(label, [1] * 6 + [0, 0] + [0, 1])
    (test,) = paired_difference(a, b, "accuracy", num_draws=10, num_permutations=10).mcnemar
    assert (test.only_a_right, test.only_b_right) == (6, 1)
    assert test.p_value == pytest.approx(2 * (1 + 7) / 2**7)
    assert paired_difference(a, b, "macro_f1", num_draws=10, num_permutations=10).mcnemar == ()


def test_runs_that_cannot_be_paired_are_refused_with_counts() -> None:
    rng = np.random.default_rng(4)
    a = run(rng, 30, 1.0)
    with pytest.raises(DataError, match=r"20 only in the first, 0 only in the second, 10 in both"):
        paired_difference(a, some(a, np.arange(10)))
    relabelled = ParticipantScores(a.participant_P, np.roll(a.label_P, 1), a.probability_SPK)
    with pytest.raises(DataError, match="different labels for 0000"):
        paired_difference(a, relabelled)


def test_runs_with_unequal_numbers_of_seeds_are_paired_by_repeating_the_fewer() -> None:
    rng = np.random.default_rng(4)
    one, two = run(rng, 30, 1.0), run(rng, 30, 0.5, num_seeds=2)
    twice = ParticipantScores(one.participant_P, one.label_P, np.tile(one.probability_SPK, (2, 1, 1)))
    assert paired_difference(one, two, num_draws=50) == paired_difference(twice, two, num_draws=50)


def test_holm_steps_down_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
        holm([float("nan")])


def test_holm_is_never_stricter_than_bonferroni_and_never_laxer_than_benjamini_hochberg() -> None:
    p_values = np.random.default_rng(6).random(20) ** 3
    adjusted = np.array(holm(p_values.tolist()))
    assert (adjusted <= np.minimum(p_values * 20, 1) + 1e-15).all()
    assert (adjusted >= stats.false_discovery_control(p_values) - 1e-15).all()
