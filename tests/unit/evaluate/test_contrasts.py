"""Parts of the data against the rest: closed forms, and all intervals of a run together over simulated runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from octjob.evaluate import ParticipantScores
from octjob.evaluate.contrasts import Contrast, contrasts

LABELS = np.repeat(np.arange(4), (39, 40, 47, 33))
PEOPLE = np.array([f"{number:05d}" for number in range(len(LABELS))])


def halves(probability_PK: np.ndarray, inside_P: np.ndarray) -> Contrast:
    parts = (
        ParticipantScores(PEOPLE[part], LABELS[part], probability_PK[part][None])
        for part in (inside_P, ~inside_P)
    )
    return Contrast(*parts)


def guesses(seed: int, skill: float = 1.2) -> np.ndarray:
    odds = np.exp(np.random.default_rng(seed).normal(size=(len(LABELS), 4)) + skill * np.eye(4)[LABELS])
    return odds / odds.sum(axis=1, keepdims=True)


def accuracy(scores: ParticipantScores) -> np.ndarray:
    return scores.predicted_SP[0] == scores.label_P


def test_one_difference_of_accuracies_has_the_textbook_error() -> None:
    """Independent people: the variances of the two shares within the classes add up."""
    made = halves(guesses(0), np.arange(len(LABELS)) % 2 == 0)
    found = contrasts([made], "accuracy", num_draws=4000)[0]
    right = [accuracy(side) for side in (made.inside, made.outside)]
    assert found.difference == pytest.approx(right[0].mean() - right[1].mean(), abs=1e-12)
    error = np.sqrt(sum(one.var() / len(one) for one in right))
    width = (found.interval.high - found.interval.low) / 2
    assert width == pytest.approx(stats.t.ppf(0.975, made.smallest_class - 1) * error, rel=0.12)


def test_more_questions_widen_each_interval() -> None:
    probability_PK, rng = guesses(1), np.random.default_rng(0)
    many = [halves(probability_PK, rng.permutation(len(LABELS)) % 3 == 0) for _ in range(9)]
    alone, among = contrasts(many[:1], "macro_auroc", 500)[0], contrasts(many, "macro_auroc", 500)[0]
    assert among.difference == alone.difference
    assert among.interval.high - among.interval.low > 1.2 * (alone.interval.high - alone.interval.low)
    assert "max-T over 9 differences" in among.interval.method
    assert contrasts([], "macro_auroc") == []


def test_the_same_question_twice_is_one_question() -> None:
    made = halves(guesses(2), np.arange(len(LABELS)) % 2 == 0)
    once, twice = contrasts([made], "macro_auroc", 2000), contrasts([made, made], "macro_auroc", 2000)
    assert twice[0] == twice[1]
    width_once, width_twice = (one[0].interval.high - one[0].interval.low for one in (once, twice))
    assert width_twice == pytest.approx(width_once, rel=0.06)


def test_two_devices_of_the_same_people_are_compared_within_them() -> None:
    """The same scores for both volumes of everyone: no difference, and none that could be."""
    probability_PK = guesses(3)
    same = ParticipantScores(PEOPLE, LABELS, probability_PK[None])
    found = contrasts([Contrast(same, same)], "macro_auroc", 200)[0]
    assert (found.difference, found.interval.low, found.interval.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("metric", "guess", "lowest"), [("macro_auroc", 0.5, 0.0), ("quadratic_kappa", 0.0, -1.0)]
)
def test_two_perfect_parts_differ_by_nothing_as_far_as_so_many_can_tell(
    metric: str, guess: float, lowest: float
) -> None:
    """No draw of theirs varies; one wrong person would move either."""
    inside_P = np.arange(len(LABELS)) % 4 == 0
    made = halves(np.eye(4)[LABELS], inside_P)
    (found,) = contrasts([made], metric, 100)
    sizes = np.array([inside_P.sum(), (~inside_P).sum()]) + 0.5
    error = np.sqrt((0.5 * (guess - lowest) * (1 - guess) / sizes**2).sum())
    assert found.difference == 0
    assert found.interval.high == pytest.approx(stats.t.ppf(0.975, made.smallest_class - 1) * error)
    assert found.interval.low == -found.interval.high


def test_all_intervals_of_a_run_hold_together() -> None:
    """Nine parts that differ by nothing: with 95 % none of nine intervals misses zero; else in 1 of 3 one would."""
    all_held, rng = [], np.random.default_rng(4)
    for seed in range(120):
        probability_PK = guesses(seed)
        groups = [rng.permutation(len(LABELS)) % 3 for _ in range(3)]
        made = [halves(probability_PK, group == k) for group in groups for k in range(3)]
        found = contrasts(made, "balanced_accuracy", 200, seed)
        all_held.append(all(one.interval.low <= 0 <= one.interval.high for one in found))
    assert np.mean(all_held) > 0.90


def test_a_part_where_the_model_fails_is_found() -> None:
    probability_PK, bad_P = guesses(5, skill=3.0), np.arange(len(LABELS)) % 3 == 0
    probability_PK[bad_P] = guesses(6, skill=0.0)[bad_P]
    found = contrasts([halves(probability_PK, bad_P)], "macro_auroc", 500)[0]
    assert found.interval.high < 0
