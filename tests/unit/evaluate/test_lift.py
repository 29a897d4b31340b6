"""The lift over untrained encoders: exact where it has a closed form, and honest where nothing was learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from doubles.sweep_results import from_logits, labels
from scipy import stats

from benchmarks.lift import Process, sweeps
from octjob.errors import DataError
from octjob.evaluate import ParticipantScores, by_participant, compute_metrics
from octjob.evaluate.draws import SharedDraws
from octjob.evaluate.lift import lift_of_draws, lift_over

VALUES = np.array([0.55, 0.58, 0.61, 0.57, 0.60])


def drawn(rng: np.random.Generator, error: float, shape: tuple[int, ...]) -> Any:
    return error * rng.normal(size=shape)


def scores(skill: float, seed: int, counts: tuple[int, ...] = (17, 17, 20, 11)) -> ParticipantScores:
    label_P = labels(counts)
    noise_PK = np.random.default_rng(seed).normal(size=(len(label_P), 4))
    return by_participant(from_logits(label_P, noise_PK + skill * np.eye(4)[label_P]))


def test_without_errors_of_its_own_it_is_the_prediction_interval_of_one_more_value() -> None:
    rng = np.random.default_rng(0)
    common_B = drawn(rng, 0.05, (1, 4000))
    found = lift_of_draws(0.7, VALUES, common_B[0], common_B + drawn(rng, 0.01, (5, 4000)), smallest=11)
    half_width = stats.t.ppf(0.975, 4) * VALUES.std(ddof=1) * np.sqrt(1 + 1 / 5)
    assert found.value == pytest.approx(0.7 - VALUES.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half_width)
    assert found.degrees == pytest.approx(4)
    t = found.value / (VALUES.std(ddof=1) * np.sqrt(6 / 5))
    assert found.p_value == pytest.approx(2 * stats.t.sf(t, 4))


def test_errors_of_its_own_come_on_top() -> None:
    rng = np.random.default_rng(0)
    own_B, others_IB = drawn(rng, 0.04, (100_000,)), drawn(rng, 0.01, (5, 100_000))
    found = lift_of_draws(0.7, VALUES, own_B, others_IB, smallest=11)
    among = VALUES.var(ddof=1) * 6 / 5
    participants = 0.04**2 + 0.01**2 / 5
    beyond = participants - 6 / 5 * 0.01**2
    assert found.error**2 == pytest.approx(among + beyond, rel=0.02)
    assert found.participants_error == pytest.approx(np.sqrt(participants), rel=0.01)
    assert found.initialisations_error == pytest.approx(
        np.sqrt(6 / 5 * (VALUES.var(ddof=1) - 0.01**2)), rel=0.01
    )
    assert found.degrees == pytest.approx((among + beyond) ** 2 / (among**2 / 4 + beyond**2 / 10), rel=0.02)


@pytest.mark.parametrize("apart", [1e-9, 0.001, 0.02, 0.1])
def test_it_is_never_surer_than_the_prediction_interval_of_one_more_value(apart: float) -> None:
    """Two initialisations that are near each other by chance do not know how far a third may be."""
    rng, values = np.random.default_rng(1), np.array([0.6, 0.6 + apart])
    found = lift_of_draws(0.7, values, drawn(rng, 0.03, (500,)), drawn(rng, 0.02, (2, 500)), smallest=11)
    one_more = stats.t.ppf(0.975, 1) * np.sqrt(values.var(ddof=1) * 3 / 2)
    assert (found.high - found.low) / 2 >= one_more * (1 - 1e-12)
    assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, found.degrees) * found.error)
    assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)


def test_from_scores_it_is_that_of_their_metrics_and_shared_draws() -> None:
    run, others = scores(1.5, 0), [scores(0.3, seed) for seed in range(1, 6)]
    found = lift_over(run, others, "balanced_accuracy", num_draws=200, seed=3)
    value, *values = (compute_metrics(one)["balanced_accuracy"] for one in (run, *others))
    assert found.value == pytest.approx(value - np.mean(values))
    draws = SharedDraws(run, 200, 3)
    in_bag, *of_others = (draws.in_bag(one, "balanced_accuracy") for one in (run, *others))
    assert found == lift_of_draws(value, np.array(values), in_bag, np.array(of_others), smallest=11)
    assert found.low > 0
    assert found.num_initialisations == 5


def test_what_cannot_be_told_is_refused() -> None:
    run = scores(1.0, 0)
    with pytest.raises(ValueError, match="two initialisations"):
        lift_over(run, [scores(0.3, 1)], num_draws=50)
    with pytest.raises(DataError, match="different participants"):
        lift_over(run, [scores(0.3, 1), scores(0.3, 2, (17, 17, 20, 10))], num_draws=50)


def test_initialisations_that_are_all_alike_leave_the_participants() -> None:
    rng = np.random.default_rng(0)
    own_B = drawn(rng, 0.04, (5000,))
    found = lift_of_draws(0.7, np.full(5, 0.5), own_B, np.full((5, 5000), 0.5), smallest=11)
    assert found.error == pytest.approx(own_B.std(ddof=1))
    assert found.degrees == pytest.approx(10)
    assert found.initialisations_error == 0
    same = lift_of_draws(0.5, np.full(5, 0.5), np.full(9, 0.5), np.full((5, 9), 0.5), smallest=11)
    assert (same.low, same.high, same.p_value) == (0, 0, 1)


def test_where_the_metric_is_undefined_so_is_the_lift() -> None:
    rng = np.random.default_rng(0)
    drawn_IB = drawn(rng, 0.01, (5, 100))
    drawn_IB[2, 7] = np.nan
    found = lift_of_draws(0.7, VALUES, drawn(rng, 0.04, (100,)), drawn_IB, smallest=11)
    assert np.isnan([found.low, found.high, found.error, found.p_value]).all()


@pytest.mark.parametrize(("spread", "num_initialisations"), [(0.05, 5), (0.25, 5), (0.25, 10)])
def test_one_more_initialisation_is_taken_for_better_or_worse_one_time_in_twenty(
    spread: float, num_initialisations: int
) -> None:
    """Where pretraining did nothing, a checkpoint is that."""
    process = Process((17, 17, 20, 11), spread, 0.5, num_initialisations)
    found = [one.lift(11) for one in sweeps(process, 500, seed=1, num_draws=60)]
    assert 0.03 <= np.mean([not one.low <= 0 <= one.high for one in found]) <= 0.07


def test_two_initialisations_are_no_excuse() -> None:
    """As above, at the fewest that there may be: of 30 people, whom all encoders know alike."""
    found = [one.lift(6) for one in sweeps(Process((8, 7, 9, 6), 0.25, 0.9, 2), 300, seed=7, num_draws=60)]
    assert np.mean([not one.low <= 0 <= one.high for one in found]) <= 0.07
