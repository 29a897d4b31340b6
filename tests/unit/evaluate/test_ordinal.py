"""Class against the rest, and the order of the classes: scikit-learn and scipy, and how often the truth is held."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from octjob.evaluate import ParticipantScores
from octjob.evaluate.ordinal import auroc_against_rest, expected_rank, somers_d
from octjob.evaluate.weighted import auroc

COUNTS = (17, 17, 20, 11)


def scores(
    seed: int, counts: tuple[int, ...] = COUNTS, passes: int = 1, skill: float = 1.0
) -> ParticipantScores:
    """Standard normal logits plus `skill` for the true class."""
    label_P = np.repeat(np.arange(len(counts)), counts)
    rng = np.random.default_rng(seed)
    logits_SPK = rng.normal(size=(passes, len(label_P), len(counts))) + skill * np.eye(len(counts))[label_P]
    odds_SPK = np.exp(logits_SPK)
    people = np.array([f"{number:05d}" for number in range(len(label_P))])
    return ParticipantScores(people, label_P, odds_SPK / odds_SPK.sum(axis=2, keepdims=True))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), passes=st.integers(1, 3), positive=st.integers(0, 3))
def test_a_class_against_the_summed_others_is_scikit_learns_auroc(
    seed: int, passes: int, positive: int
) -> None:
    made = scores(seed, passes=passes)
    others = [np.delete(one_PK, positive, axis=1).sum(axis=1) for one_PK in made.probability_SPK]
    expected = np.mean([roc_auc_score(made.label_P != positive, other_P) for other_P in others])
    found = auroc_against_rest(made, positive, num_draws=20)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.interval.low <= found.value <= found.interval.high


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), passes=st.integers(1, 3), tied=st.booleans())
def test_order_is_scipys_somers_d_given_the_label(seed: int, passes: int, tied: bool) -> None:
    made = scores(seed, counts=(5, 4, 6, 3), passes=passes)
    if tied:
        coarse_SPK = made.probability_SPK.round(1) + 0.1
        coarse_SPK /= coarse_SPK.sum(axis=2, keepdims=True)
        made = ParticipantScores(made.participant_P, made.label_P, coarse_SPK)
    rank_SP = expected_rank(made.probability_SPK).round(12)
    expected = np.mean([stats.somersd(made.label_P, rank_P).statistic for rank_P in rank_SP])
    assert somers_d(made, num_draws=20).value == pytest.approx(expected, abs=1e-12)


def test_of_two_classes_order_and_auroc_say_the_same() -> None:
    made = scores(3, counts=(30, 20))
    assert somers_d(made).value == pytest.approx(2 * auroc_against_rest(made, 1).value - 1, abs=1e-12)


def test_the_order_of_the_rows_and_ties_of_everyone_do_not_matter() -> None:
    made = scores(5)
    turned = ParticipantScores(made.participant_P[::-1], made.label_P[::-1], made.probability_SPK[:, ::-1])
    assert somers_d(made, num_draws=50) == somers_d(turned, num_draws=50)
    assert auroc_against_rest(made, 3, num_draws=50) == auroc_against_rest(turned, 3, num_draws=50)
    alike = ParticipantScores(made.participant_P, made.label_P, np.full((1, 65, 4), 0.25))
    assert (somers_d(alike).value, auroc_against_rest(alike, 0).value) == (0.0, 0.5)


def test_volumes_of_one_participant_are_drawn_together() -> None:
    """Every volume twice is no more people: the interval stays about as wide."""
    made = scores(6)
    twice = ParticipantScores(
        np.repeat(made.participant_P, 2),
        np.repeat(made.label_P, 2),
        np.repeat(made.probability_SPK, 2, axis=1),
        volume_P=np.tile(["OD", "OS"], 65),
    )
    for one, other in (
        (somers_d(made), somers_d(twice)),
        (auroc_against_rest(made, 0), auroc_against_rest(twice, 0)),
    ):
        assert other.value == pytest.approx(one.value, abs=1e-12)
        assert other.interval.low == pytest.approx(one.interval.low, abs=1e-9)


def test_intervals_hold_the_truth_about_nineteen_times_in_twenty() -> None:
    large = scores(99, tuple(60 * count for count in COUNTS))
    truth = auroc(large.probability_SPK[0, :, 3], large.label_P == 3, np.ones((1, len(large.label_P))))[0]
    order = stats.somersd(large.label_P[::3], expected_rank(large.probability_SPK)[0, ::3]).statistic
    held = np.zeros(2)
    for seed in range(150):
        made = scores(seed)
        found = (auroc_against_rest(made, 3, num_draws=150), somers_d(made, num_draws=150))
        held += [
            one.interval.low <= true <= one.interval.high
            for one, true in zip(found, (truth, order), strict=True)
        ]
    assert (held / 150 > 0.90).all()
    assert (held / 150 < 1.0).all()


def test_a_class_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="class 4 of 4"):
        auroc_against_rest(scores(0), 4)
