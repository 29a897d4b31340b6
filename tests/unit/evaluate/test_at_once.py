"""Statistics of all runs at once: the same numbers as the plain formulas, run by run, pair by pair, draw by draw."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from octjob import catalog
from octjob.evaluate import ParticipantScores
from octjob.evaluate.distributions import (
    fair_coin_beyond,
    mid_ranks,
    normal_quantile,
    student_beyond,
    student_quantile,
)
from octjob.evaluate.identical import identical_predictions
from octjob.evaluate.metrics import mean_over_seeds
from octjob.evaluate.relabelled import reached
from octjob.evaluate.simultaneous import PairErrors, _largest_ratio
from octjob.evaluate.swapped import swap_p_values, swapped_difference

LABEL_P = np.repeat(np.arange(3), (7, 5, 4))
ONCE = np.ones((1, len(LABEL_P)))
IDS = np.array([f"{i:02d}" for i in range(len(LABEL_P))])


def run(seed: int, num_seeds: int = 1) -> ParticipantScores:
    """Coarse, so that there are ties."""
    coarse = np.round(np.random.default_rng(seed).dirichlet(np.ones(3), (num_seeds, len(LABEL_P))), 1) + 1e-3
    return ParticipantScores(IDS, LABEL_P, coarse / coarse.sum(axis=2, keepdims=True))


@pytest.mark.parametrize("metric", catalog.RANKING)
def test_permuted_labels_are_counted_as_if_each_were_scored(metric: str) -> None:
    runs = [run(0), run(1, 2), run(2)]
    label_BG = np.stack([np.random.default_rng(b).permutation(LABEL_P) for b in range(80)])
    value_R, count_R = reached(runs, metric, label_BG)
    for r, one in enumerate(runs):
        plain = [
            mean_over_seeds([metric], ParticipantScores(IDS, label_P, one.probability_SPK), ONCE)[metric][0]
            for label_P in (LABEL_P, *label_BG)
        ]
        assert value_R[r] == pytest.approx(plain[0], abs=1e-12)
        assert count_R[r] == np.sum(np.array(plain[1:]) >= plain[0] - 1e-12)


@pytest.mark.parametrize("metric", catalog.RANKING)
def test_swaps_of_many_pairs_are_counted_as_if_each_were_scored(metric: str) -> None:
    pairs = [(run(0, 2), run(1, 2)), (run(2), run(3))]
    keep_BG = np.random.default_rng(5).integers(0, 2, (300, len(LABEL_P))).astype(np.float64)
    for pair, p_value in zip(pairs, swap_p_values(pairs, metric, 300, seed=5), strict=True):
        observed = swapped_difference(*pair, ONCE, metric)[0]
        extreme = np.abs(swapped_difference(*pair, keep_BG, metric)) >= abs(observed) - 1e-12
        assert p_value == (1 + extreme.sum()) / 301


def test_errors_and_ratios_of_pairs_are_those_of_their_differences() -> None:
    draw_RB = np.random.default_rng(0).normal(size=(70, 50))
    draw_RB[1] = draw_RB[0]
    errors, largest_B = PairErrors(draw_RB), np.zeros(50)
    plain = {}
    for i, j in combinations(range(70), 2):
        difference_B = draw_RB[i] - draw_RB[j]
        plain[i, j] = difference_B.std(ddof=1)
        assert errors.between(j, i) == pytest.approx(plain[i, j], abs=1e-7)
        if plain[i, j] > 0:
            largest_B = np.maximum(largest_B, np.abs(difference_B - difference_B.mean()) / plain[i, j])
    assert _largest_ratio(errors) == pytest.approx(largest_B, abs=1e-12)
    assert errors.median() == pytest.approx(np.median(list(plain.values())), abs=1e-12)


def test_distributions_are_those_of_scipy() -> None:
    for df in (1, 4, 24, 400):
        for t in (0.0, -1.3, 6.0):
            assert student_beyond(t, df) == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-12)
        assert student_quantile(0.975, df) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-12)
    assert normal_quantile(0.975) == pytest.approx(stats.norm.ppf(0.975), rel=1e-14)
    for tosses in (1, 7, 40):
        for heads in range(tosses + 1):
            expected = stats.binomtest(heads, tosses, 0.5).pvalue
            assert fair_coin_beyond(heads, tosses) == pytest.approx(expected, rel=1e-12)
    value = np.random.default_rng(0).integers(0, 5, (3, 12, 4)).astype(np.float64)
    for axis in (0, 1, 2):
        assert (mid_ranks(value, axis) == stats.rankdata(value, axis=axis)).all()


def test_runs_of_the_same_probabilities_are_found_among_many_that_answer_alike() -> None:
    constant_PK = np.tile([0.8, 0.1, 0.1], (len(LABEL_P), 1))
    runs = {}
    for i in range(40):
        shift = (i % 20) * 1e-4
        moved_PK = constant_PK + np.array([-shift, shift, 0]) + (1e-11 if i >= 20 else 0)
        runs[f"r{i}"] = ParticipantScores(IDS, LABEL_P, moved_PK[None])
    (group,) = identical_predictions(runs)
    assert group.same_probabilities == tuple((f"r{i}", f"r{i + 20}") for i in range(20))
