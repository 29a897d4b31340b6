"""AUROC of many draws and of many swaps as matrix products: the same numbers as one by one."""

from __future__ import annotations

import numpy as np
import pytest

from octjob.evaluate import ParticipantScores
from octjob.evaluate.draws import SharedDraws
from octjob.evaluate.metrics import mean_over_seeds
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
