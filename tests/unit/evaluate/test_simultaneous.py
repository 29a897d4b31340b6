"""Rank ranges, letters and the winner's worth: closed forms, simulation, and what a reader may conclude."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from octjob.evaluate import rank_ranges, selection_corrected
from octjob.evaluate.power import detectable_difference, participants_needed
from octjob.evaluate.simultaneous import PairErrors, beats, compact_letters

DRAWS = 2000


def independent(values: list[float], error: float, seed: int = 0) -> tuple[dict, dict]:
    rng = np.random.default_rng(seed)
    names = [f"run{i}" for i in range(len(values))]
    draws = {name: value + error * rng.normal(size=DRAWS) for name, value in zip(names, values, strict=True)}
    return dict(zip(names, values, strict=True)), draws


def test_runs_far_apart_have_single_ranks_and_letters_of_their_own() -> None:
    ranks = rank_ranges(*independent([0.9, 0.7, 0.5], 0.01), smallest_class=200)
    assert [str(one) for one in ranks.values()] == ["1", "2", "3"]
    assert [one.letters for one in ranks.values()] == ["a", "b", "c"]
    assert ranks["run0"].p_best == 1


def test_runs_that_cannot_be_told_apart_share_a_range_and_a_letter() -> None:
    ranks = rank_ranges(*independent([0.70, 0.69, 0.68, 0.30], 0.02), smallest_class=200)
    assert [str(one) for one in ranks.values()] == ["1-3", "1-3", "1-3", "4"]
    assert [one.letters for one in ranks.values()] == ["a", "a", "a", "b"]
    assert sum(one.p_best for one in ranks.values()) == pytest.approx(1)


def test_a_middle_run_shares_letters_with_both_sides() -> None:
    ranks = rank_ranges(*independent([0.75, 0.68, 0.61], 0.03), smallest_class=200)
    assert [one.letters for one in ranks.values()] == ["a", "ab", "b"]
    assert [str(one) for one in ranks.values()] == ["1-2", "1-3", "2-3"]


def test_twins_never_beat_each_other_and_one_run_is_first() -> None:
    value, draw = independent([0.7], 0.02)
    twins = rank_ranges(
        {"a": 0.7, "b": 0.7 + 1e-15}, {"a": draw["run0"], "b": draw["run0"] + 1e-15}, smallest_class=10
    )
    assert [(str(one), one.p_best) for one in twins.values()] == [("1-2", 0.5), ("1-2", 0.5)]
    assert str(rank_ranges(value, draw, smallest_class=10)["run0"]) == "1"
    assert rank_ranges({}, {}, smallest_class=10) == {}


def test_two_runs_are_told_apart_at_the_two_sided_five_percent() -> None:
    """With one pair max-T is the ordinary z-test: 1.96 standard errors and Student's factor."""
    rng = np.random.default_rng(0)
    draw_RB = rng.normal(size=(2, 400_000)) / np.sqrt(2)
    critical = stats.t.ppf(0.975, 29)
    assert not beats(np.array([critical * 0.98, 0.0]), PairErrors(draw_RB), smallest_class=30).any()
    assert beats(np.array([critical * 1.02, 0.0]), PairErrors(draw_RB), smallest_class=30).tolist() == [
        [False, True],
        [False, False],
    ]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 7).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))))
    )
)
def test_runs_share_a_letter_exactly_where_they_are_alike(case: tuple[int, set[tuple[int, int]]]) -> None:
    n, different = case
    alike_RR = np.ones((n, n), dtype=np.bool_)
    for i, j in different:
        if i != j:
            alike_RR[i, j] = alike_RR[j, i] = False
    letters = compact_letters(alike_RR, list(range(n)))
    for i in range(n):
        assert letters[i]
        for j in range(n):
            assert bool(set(letters[i]) & set(letters[j])) == bool(alike_RR[i, j])


def test_the_picked_winner_is_worth_what_all_are() -> None:
    """18 equal runs: the best looks better than it is; scored on who was not drawn, it does not."""
    rng = np.random.default_rng(5)
    corrected, naive = [], []
    for _ in range(60):
        value_RN = rng.normal(0.7, 0.5, size=(18, 60))
        weight_BN = rng.multinomial(59, np.full(60, 1 / 60), size=400)
        left_BN = (weight_BN == 0).astype(float)
        in_bag_RB = value_RN @ weight_BN.T / 59
        out_RB = value_RN @ left_BN.T / left_BN.sum(axis=1)
        one = selection_corrected(in_bag_RB, out_RB)
        assert one is not None
        corrected.append(one.value)
        naive.append(value_RN.mean(axis=1).max())
    assert np.mean(naive) > 0.8
    assert np.mean(corrected) == pytest.approx(0.7, abs=0.02)


def test_undefined_draws_are_left_out_and_nothing_to_pick_from_is_none() -> None:
    in_bag = np.array([[0.7, 0.9, np.nan], [0.6, 0.5, 0.4]])
    out = np.array([[0.5, 0.6, 0.7], [0.1, np.nan, 0.3]])
    one = selection_corrected(in_bag, out)
    assert one is not None
    assert one.value == 0.5
    assert selection_corrected(np.empty((0, 3)), np.empty((0, 3))) is None


def test_the_detectable_difference_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    found = np.abs(rng.normal(detectable_difference(1.0), 1.0, 200_000)) > 1.959964
    assert found.mean() == pytest.approx(0.8, abs=0.005)
    assert participants_needed(100, 0.05, 0.05) == 785
    assert participants_needed(100, 0.0, 0.05) is None
