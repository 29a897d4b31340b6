"""The sentence about checkpoints: each of its forms, from predictions whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from doubles.boards import predictions
from doubles.sweep_results import constant, entry, labels, outcome, sweep

from octjob.evaluate import Predictions
from octjob.evaluate.lead import Lead
from octjob.leaderboard.board import Leaderboard, build_leaderboard
from octjob.leaderboard.headline import told


def board(runs: Sequence[tuple[str, str, Predictions]], baseline: str | None = None) -> Leaderboard:
    entries = [entry(checkpoint, config) for checkpoint, config, _ in runs]
    outcomes = [outcome(one, made) for one, (_, _, made) in zip(entries, runs, strict=True)]
    return build_leaderboard(sweep(entries, baseline), outcomes, num_draws=500)


def test_clear() -> None:
    made = board(
        [("a", "x", predictions(2.5, 1)), ("b", "x", predictions(0.6, 2)), ("c", "x", predictions(0.6, 3))]
    )
    assert made.headline.certainty == "clear"
    assert made.headline.text.startswith("a is best, and these data can tell: macro AUROC 0.9")
    assert "with x, ahead of c.x, the best run of any other checkpoint, by 0." in made.headline.text
    lead = next(row for row in made.rows if row.run_id == made.headline.rival).vs_leader
    assert lead is not None
    assert lead.low > 0
    assert made.headline.order == "a has the highest value under x."


def test_configurations_tied() -> None:
    made = board(
        [("a", "x", predictions(2.5, 1)), ("a", "y", predictions(2.4, 5)), ("b", "x", predictions(0.6, 2)),
         ("b", "y", predictions(0.5, 6))]
    )  # fmt: skip
    assert made.headline.certainty == "configurations tied"
    assert made.headline.text.endswith("Which of its configurations is best they cannot: x is tied with it.")


def test_checkpoints_tied() -> None:
    made = board([("a", "x", predictions(1.0, 1)), ("b", "x", predictions(0.9, 2))])
    assert made.headline.certainty == "checkpoints tied"
    assert made.headline.text.startswith("These data cannot tell which checkpoint is best. ")
    assert made.headline.text.endswith(", which includes none at all.")
    (tied,) = [row for row in made.rows if row.vs_leader]
    assert tied.vs_leader is not None
    assert tied.vs_leader.tied
    assert tied.vs_leader.low <= 0 < tied.vs_leader.high


def test_a_bound_near_zero_shows_its_side() -> None:
    lead = Lead(0.13, -0.0004, 0.27, tied=True)
    assert told(lead) == "0.13 [\u22120.0004, 0.27]"
    assert told(Lead(0.13, -0.004, 0.27, tied=True)) == "0.13 [\u22120.004, 0.27]"
    assert told(Lead(0.13, 0.002, 0.27, tied=False)) == "0.13 [0.002, 0.27]"
    assert told(Lead(0.0, 0.0, 0.0, tied=True)) == "0.00 [0.00, 0.00]"


def test_tied_means_what_the_ranks_say() -> None:
    skills = {"a": 2.0, "b": 1.6, "c": 1.2, "d": 0.9, "e": 0.7, "f": 0.5}
    made = board([(name, "x", predictions(skill, k)) for k, (name, skill) in enumerate(skills.items())])
    ranked = [row for row in made.rows if row.rank is not None and row.vs_leader is not None]
    assert {row.vs_leader.tied for row in ranked} == {True, False}  # type: ignore[union-attr]
    leader = made.headline.leader
    num_beaten = sum(not row.vs_leader.tied for row in ranked)  # type: ignore[union-attr]
    (first,) = [row for row in made.rows if row.run_id == leader]
    assert first.rank is not None
    assert first.rank.worst == len(ranked) + 1 - num_beaten


def test_no_signal_and_no_result() -> None:
    made = board([("a", "x", constant(labels())), ("b", "x", predictions(0.0, 3))])
    assert made.headline.certainty == "no signal"
    assert made.headline.text == "Nothing is above chance: none of 2 runs has a signal in macro AUROC."
    empty = build_leaderboard(sweep([]), [])
    assert (empty.headline.certainty, empty.headline.text) == ("no result", "No run has a result yet.")


def test_one_run_one_checkpoint_and_one_with_a_signal() -> None:
    one = board([("a", "x", predictions(2, 1))]).headline
    assert (one.certainty, one.leader) == ("one run", "a.x-0000abcd")
    configs = board([("a", "x", predictions(2, 1)), ("a", "y", predictions(1.9, 2))]).headline
    assert configs.certainty == "one checkpoint"
    assert "1 of 1 other ranked configuration cannot be told apart from it." in configs.text
    alone = board([("a", "x", predictions(2, 1)), ("b", "x", constant(labels()))]).headline
    assert alone.text.startswith("Only a has a signal: ")


@pytest.mark.slow
@pytest.mark.parametrize("num_checkpoints", [2, 4])
def test_equal_checkpoints_are_seldom_told_apart(num_checkpoints: int) -> None:
    """40 sweeps of equal checkpoints under two configurations; `benchmarks.headline` counts 500."""
    told, skill = 0, 1.2
    rng = np.random.default_rng(num_checkpoints)
    for _ in range(40):
        runs = [
            (f"c{number}", config, predictions(skill, int(rng.integers(1 << 30))))
            for number in range(num_checkpoints)
            for config in ("x", "y")
        ]
        told += board(runs).headline.certainty in ("clear", "configurations tied")
    assert told <= 2
