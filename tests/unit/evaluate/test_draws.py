"""AUROC of many draws and of many swaps as matrix products: the same numbers as one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, f1_score

from octjob.evaluate import ParticipantScores
from octjob.evaluate.draws import SharedDraws
from octjob.evaluate.metrics import mean_over_seeds
from octjob.evaluate.ratios import RATIOS, swapped_ratios
from octjob.evaluate.swapped import swap_contributions, swapped_difference

LABEL_P = np.repeat(np.arange(4), (9, 7, 5, 3))


def run(seed: int, num_seeds: int) -> ParticipantScores:
    rng = np.random.default_rng(seed)
    # A coarse grid gives ties within a class and across classes.
    coarse = np.round(rng.dirichlet(np.ones(4), (num_seeds, 24)), 1) + 1e-3
    ids = np.array([f"{i:02d}" for i in rng.permutation(24)])
    return ParticipantScores(ids, LABEL_P, coarse / coarse.sum(axis=2, keepdims=True))


@pytest.mark.parametrize("metric", ["macro_auroc", "balanced_accuracy"])
def test_values_of_draws_are_the_weighted_metrics_of_each_seed(metric: str) -> None:
    scores = run(1, num_seeds=3)
    other = ParticipantScores(scores.participant_P, LABEL_P, run(2, num_seeds=1).probability_SPK)
    draws = SharedDraws(other, 40, seed=7)
    draw_BG, ours = draws.draw_BG, draws.values(scores, metric)
    ordered = scores.ordered()
    for values_B, weight_BP in ((ours.in_bag_B, draw_BG), (ours.out_of_bag_B, (draw_BG == 0) * 1.0)):
        expected_B = mean_over_seeds([metric], ordered, weight_BP)[metric]
        assert values_B == pytest.approx(expected_B, abs=1e-12)


def test_everyone_is_drawn_or_left_out_and_a_class_is_never_left_out_whole() -> None:
    draw_BG = SharedDraws(run(1, 1), 200, seed=0).draw_BG
    for k in range(4):
        of_class_BG = draw_BG[:, run(1, 1).ordered().label_P == k]
        assert (of_class_BG == 0).any(axis=1).all()
        assert (of_class_BG > 0).any(axis=1).all()


@pytest.mark.parametrize("num_seeds", [1, 4])
@pytest.mark.parametrize("metric", ["macro_auroc", "accuracy", "balanced_accuracy"])
def test_differences_of_swaps_are_linear_in_the_choice(metric: str, num_seeds: int) -> None:
    a, b = run(1, num_seeds).ordered(), run(2, num_seeds)
    b = ParticipantScores(a.participant_P, a.label_P, b.probability_SPK)
    from_a_BP = np.random.default_rng(3).integers(0, 2, (50, 24)).astype(np.float64)
    expected_B = swapped_difference(a, b, from_a_BP, metric)
    assert (from_a_BP - 0.5) @ swap_contributions(a, b, metric) == pytest.approx(expected_B, abs=1e-12)


@pytest.mark.parametrize("num_rows", [40, 3000])
@pytest.mark.parametrize("metric", sorted(RATIOS))
def test_differences_of_swaps_by_ratios_are_the_plain_ones_however_many_are_scored(
    metric: str, num_rows: int
) -> None:
    """Of many the counts are too large for single precision."""
    rng = np.random.default_rng(num_rows)
    ids, label_P = np.array([f"{i:04d}" for i in range(num_rows)]), rng.integers(0, 4, num_rows)
    a, b = (ParticipantScores(ids, label_P, rng.dirichlet(np.ones(4), (2, num_rows))) for _ in "ab")
    from_a_BP = rng.integers(0, 2, (20, num_rows)).astype(np.float64)
    ours_B = swapped_ratios([(a, b)], metric).differences(from_a_BP - 0.5)[:, 0]
    assert ours_B == pytest.approx(swapped_difference(a, b, from_a_BP, metric), abs=1e-12)


@st.composite
def pairs_of_runs(draw: st.DrawFn) -> tuple[ParticipantScores, ParticipantScores]:
    """Two runs on the same rows, volumes of participants, some classes perhaps without any."""
    num_classes, num_seeds = draw(st.integers(2, 4)), draw(st.integers(1, 2))
    label_G = draw(st.lists(st.integers(0, num_classes - 1), min_size=3, max_size=8).filter(_has_two))
    group_P = np.repeat(np.arange(len(label_G)), [1 + g % 2 for g in range(len(label_G))])
    label_P, shape = np.array(label_G)[group_P], (num_seeds, len(group_P))
    ids = np.array([f"{g}" for g in group_P])
    volume_P = np.array([f"{p}" for p in range(len(group_P))])
    runs = []
    for _ in "ab":
        answers = st.lists(
            st.integers(0, num_classes - 1), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]
        )
        predicted_SP = np.array(draw(answers)).reshape(shape)
        runs.append(
            ParticipantScores(ids, label_P, np.eye(num_classes)[predicted_SP], volume_P=volume_P).ordered()
        )
    return runs[0], runs[1]


def _has_two(labels: list[int]) -> bool:
    return len(set(labels)) > 1


def of_scikit_learn(metric: str, label_P: np.ndarray, predicted_P: np.ndarray, num_classes: int) -> float:
    if metric == "quadratic_kappa":
        classes = list(range(num_classes))
        return float(cohen_kappa_score(label_P, predicted_P, labels=classes, weights="quadratic"))
    there = sorted(set(label_P.tolist()))
    return float(f1_score(label_P, predicted_P, labels=there, average="macro", zero_division=0))


@pytest.mark.parametrize("metric", sorted(RATIOS))
@given(runs=pairs_of_runs(), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_differences_of_swaps_by_ratios_are_scikit_learns_of_the_two_mixtures(
    metric: str, runs: tuple[ParticipantScores, ParticipantScores], seed: int
) -> None:
    a, b = runs
    names, group_P = np.unique(a.participant_P, return_inverse=True)
    keep_BG = np.random.default_rng(seed).integers(0, 2, (4, len(names))).astype(bool)
    ours_B = swapped_ratios([(a, b)], metric).differences(keep_BG - 0.5)[:, 0]
    for ours, keep_P in zip(ours_B, keep_BG[:, group_P], strict=True):
        first_SP = np.where(keep_P, a.predicted_SP, b.predicted_SP)
        second_SP = np.where(keep_P, b.predicted_SP, a.predicted_SP)
        expected = np.mean(
            [
                of_scikit_learn(metric, a.label_P, first_P, a.num_classes)
                - of_scikit_learn(metric, a.label_P, second_P, a.num_classes)
                for first_P, second_P in zip(first_SP, second_SP, strict=True)
            ]
        )
        assert ours == pytest.approx(expected, abs=1e-12)
