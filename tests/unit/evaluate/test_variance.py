"""Sources of variance against simulated predictions whose components are known.

The log-loss of one participant is minus the logarithm of the true class's probability: a sum of the effects of
participant, seed and repeat stays a sum in the mean.
"""

from __future__ import annotations

import numpy as np
import pytest

from octjob.evaluate import ParticipantScores, variance_sources

NUM = 40


def scores(
    participant_P: np.ndarray, effect_RT: np.ndarray, seed_RT: np.ndarray | None = None
) -> ParticipantScores:
    """Passes with log-loss 1 + participant + effect: rows of `effect_RT` are repeats, columns seeds."""
    repeats, seeds = np.indices(effect_RT.shape)
    seeds = seeds if seed_RT is None else seed_RT
    true_SP = np.exp(-(1 + participant_P + effect_RT.reshape(-1, 1)))
    return ParticipantScores(
        np.array([f"p{i:03}" for i in range(len(participant_P))]),
        np.zeros(len(participant_P), dtype=np.int64),
        np.stack([true_SP, 1 - true_SP], axis=2),
        tuple(seeds.ravel().tolist()),
        repeat_S=tuple(repeats.ravel().tolist()),
    )


def test_participants_are_what_the_bootstrap_of_a_mean_gives() -> None:
    participant_P = np.random.default_rng(0).normal(0, 0.1, NUM)
    found = variance_sources(scores(participant_P, np.zeros((1, 1))), "log_loss", num_draws=20000)
    assert found.participants == pytest.approx(participant_P.std() / np.sqrt(NUM), rel=0.03)
    assert (found.seeds, found.training_sets, found.seeds_and_training_sets) == (None, None, None)
    assert "one seed" in found.reasons["seeds"]
    assert "one training set" in found.reasons["training_sets"]


def test_seeds_on_one_split() -> None:
    effect_T = np.random.default_rng(0).normal(0, 0.02, 5)
    found = variance_sources(scores(np.zeros(NUM), effect_T[None]), "log_loss", num_draws=10)
    assert found.seeds == pytest.approx(effect_T.std(ddof=1))
    assert found.training_sets is None
    assert set(found.reasons) == {"training_sets"}


def test_components_are_recovered_on_average() -> None:
    rng = np.random.default_rng(0)
    repeat, seed, both = 0.03, 0.02, 0.01
    squares = []
    for _ in range(300):
        effect_RT = rng.normal(0, repeat, (5, 1)) + rng.normal(0, seed, (1, 4)) + rng.normal(0, both, (5, 4))
        found = variance_sources(scores(np.zeros(4), effect_RT), "log_loss", num_draws=2)
        assert found.reasons == {}
        assert found.seeds is not None
        assert found.training_sets is not None
        squares.append((found.seeds**2, found.training_sets**2))
    seeds2, training_sets2 = np.mean(squares, axis=0)
    assert seeds2 == pytest.approx(seed**2 + both**2, rel=0.15)
    assert training_sets2 == pytest.approx(repeat**2, rel=0.15)


def test_without_an_effect_of_the_repeats_there_is_none() -> None:
    effect_RT = np.broadcast_to(np.array([0.0, 0.1, 0.3]), (4, 3))
    found = variance_sources(scores(np.zeros(NUM), effect_RT), "log_loss", num_draws=2)
    assert found.training_sets == pytest.approx(0, abs=1e-9)
    assert found.seeds == pytest.approx(np.std([0.0, 0.1, 0.3], ddof=1))


@pytest.mark.parametrize("seed_RT", [np.array([[0], [1], [2]]), np.array([[7], [7], [7]])])
def test_a_seed_for_each_repeat_cannot_be_told_from_its_training_set(seed_RT: np.ndarray) -> None:
    effect_RT = np.array([[0.0], [0.02], [0.07]])
    found = variance_sources(scores(np.zeros(NUM), effect_RT, seed_RT), "log_loss", num_draws=2)
    assert (found.seeds, found.training_sets) == (None, None)
    assert found.seeds_and_training_sets == pytest.approx(effect_RT.std(ddof=1))
    assert set(found.reasons) == {"seeds", "training_sets"}
