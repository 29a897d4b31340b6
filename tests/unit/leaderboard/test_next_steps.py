"""What to do next: computed from the same numbers as the sentence, and what it says to type exists."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from doubles.boards import predictions
from doubles.sweep_results import constant, entry, labels, outcome, spec_of, sweep

from octjob.cli import cli
from octjob.evaluate import Predictions, VarianceSources
from octjob.leaderboard.board import Leaderboard, build_leaderboard
from octjob.leaderboard.next_steps import Known, NextStep, next_steps
from octjob.leaderboard.outcome import Outcome, StoredSpec
from octjob.records.openings import Opening
from octjob.records.schema import RunEntry

TEST_SPLIT = {
    "coverage": {"cells": [{"site": "UW", "split": "test", "expected": 40, "found": 40}]},
    "participants": {"val": [17, 17, 20, 11]},
}


def made_of(
    checkpoint: str, config: str, made: Predictions, data: Mapping[str, Any] = TEST_SPLIT, **said: Any
) -> Outcome:
    run = entry(checkpoint, config)
    one = outcome(run, made)
    assert one.scored is not None
    report = {**one.scored.result.checkpoint_report, "uri": f"gs://bucket/{checkpoint}.pt", **said}
    result = one.scored.result.model_copy(update={"data": dict(data), "checkpoint_report": report})
    spec = StoredSpec("0" * 64, spec_of(run, "gs://bucket/octjob/demo"))
    return replace(one, scored=replace(one.scored, result=result), spec=spec)


def board(outcomes: Sequence[Outcome], baseline: str | None = "b", **more: Any) -> Leaderboard:
    entries = [one.entry for one in outcomes]
    return build_leaderboard(sweep(entries, baseline), outcomes, num_draws=500, **more)


def steps(made: Leaderboard) -> dict[str, NextStep]:
    return {step.kind: step for step in made.next_steps}


def test_a_tie_says_how_many_participants_would_show_the_lead_that_was_seen() -> None:
    made = board([made_of("a", "x", predictions(1.0, 1)), made_of("b", "x", predictions(0.9, 2))])
    assert made.headline.certainty == "checkpoints tied"
    step = steps(made)["participants"]
    (behind,) = [row.vs_leader for row in made.rows if row.vs_leader]
    assert made.headline.detectable is not None
    exact = 65 * (made.headline.detectable / behind.difference) ** 2
    assert step.number is not None
    assert exact <= step.number < exact * 1.1
    assert f"about {step.number} participants instead of 65" in step.text
    assert f"the one seen over b.x, {behind.difference:.3f}," in step.text
    assert "test split" not in steps(made)


def test_the_number_is_that_at_which_the_lead_would_be_recognised() -> None:
    """As many copies of the same people have that much smaller an error: there the lead equals what is recognised."""
    few = board([made_of("a", "x", predictions(1.0, 1)), made_of("b", "x", predictions(0.9, 2))])
    number = steps(few)["participants"].number
    assert number is not None
    times = math.ceil(number / 65)

    def copies(skill: float, seed: int) -> Predictions:
        one = predictions(skill, seed)
        columns: dict[str, list[Any]] = {
            name: [] for name in ("participant", "eye", "device", "split", "fold", "seed")
        }
        for copy in range(times):
            columns["participant"] += [f"{copy}-{name}" for name in one.participant.tolist()]
            for name in ("eye", "device", "split", "fold", "seed"):
                columns[name] += getattr(one, name).tolist()
        return Predictions.from_columns(
            {**columns, "label": np.tile(one.label, times), "logits": np.tile(one.logits_NK, (times, 1))}
        )

    many = board([made_of("a", "x", copies(1.0, 1)), made_of("b", "x", copies(0.6, 2))])
    (behind,) = [row.vs_leader for row in many.rows if row.vs_leader]
    assert many.headline.detectable is not None
    assert behind.difference >= 0.9 * many.headline.detectable


def test_what_no_recruiting_would_tell_apart_is_taken_for_equal() -> None:
    made = board([made_of("a", "x", predictions(1.0, 1)), made_of("b", "x", predictions(1.0, 1))])
    assert "Take the two for equal" in steps(made)["equal"].text
    assert "participants" not in steps(made)


def test_a_clear_leader_goes_to_the_test_split_once() -> None:
    outcomes = [made_of("a", "x", predictions(2.5, 1)), made_of("b", "x", predictions(0.6, 2))]
    step = steps(board(outcomes))["test split"]
    assert (
        step.command
        == f'octjob open-test gs://bucket/octjob/demo {outcomes[0].entry.run_id} --reason "final number"'
    )
    assert step.text.startswith("Now that it is decided")
    assert "folds" in steps(board(outcomes))
    opened = [Opening(outcomes[0].entry.run_id, 1, None, True)]
    assert "test split" not in steps(board(outcomes, openings=opened))
    without = [made_of("a", "x", predictions(2.5, 1), {}), made_of("b", "x", predictions(0.6, 2), {})]
    assert "test split" not in steps(board(without))


def test_a_leader_that_is_not_ahead_of_a_control_is_no_matter_for_the_test_split() -> None:
    runs = [made_of("a", "x", predictions(2.5, 1)), made_of("b", "x", predictions(0.6, 2))]
    for skill, wanted in ((4.0, False), (0.3, True)):
        entry_of_control = RunEntry(
            run_id="control.pixel_pca-1", checkpoint="control", config="pixel_pca", control="pixel_pca"
        )
        made = board([*runs, outcome(entry_of_control, predictions(skill, 7), weights="none")])
        assert (made.headline.control is None) is wanted
        assert ("test split" in steps(made)) is wanted


def test_tied_configurations_are_a_matter_of_cost() -> None:
    made = board(
        [made_of("a", "x", predictions(2.5, 1)), made_of("a", "y", predictions(2.4, 5)),
         made_of("b", "x", predictions(0.6, 2)), made_of("b", "y", predictions(0.5, 6))]
    )  # fmt: skip
    assert made.headline.certainty == "configurations tied"
    assert "Any of y or x will do for a: take the cheapest." in steps(made)["choose"].text
    assert steps(made)["test split"].text.startswith("When you have decided")


def test_of_tied_configurations_a_probe_is_the_cheaper() -> None:
    tuned = {"model": {"freeze_encoder": False}}
    made_up = (("a", "x", 2.5, 1), ("a", "y", 2.4, 5), ("b", "x", 0.6, 2))
    outcomes = [
        made_of(checkpoint, config, predictions(skill, k)) for checkpoint, config, skill, k in made_up
    ]
    leading = next(one for one in outcomes if one.entry.config == "y")
    spec = StoredSpec("0" * 64, spec_of(leading.entry, "gs://bucket/octjob/demo", tuned))
    made = board([replace(one, spec=spec) if one is leading else one for one in outcomes])
    assert "take x, which trains no encoder." in steps(made)["choose"].text


def test_folds_that_would_score_enough_are_named() -> None:
    def told(train: list[int]) -> str:
        data = {"participants": {"train": train, "val": [17, 17, 20, 11]}}
        made = board(
            [made_of("a", "x", predictions(1.0, 1), data), made_of("b", "x", predictions(0.9, 2), data)]
        )
        return steps(made)["participants"].text

    assert told([50, 40, 40, 20]).endswith(
        "`evaluate: {protocol: folds}` in the sweep scores all 215 of train and val: enough."
    )
    assert told([5, 5, 5, 5]).endswith("scores all 85 of train and val: nearer, if not enough.")


def test_where_nothing_is_above_chance_the_checkpoints_are_looked_at() -> None:
    weights = {"epoch": 1, "fingerprint": {"verdict": "barely trained"}}
    made = board(
        [made_of("a", "x", constant(labels()), **weights), made_of("b", "x", predictions(0.0, 3), epoch=40)]
    )
    step = steps(made)["inspect"]
    assert "a is of epoch 1, barely trained; b is of epoch 40, unknown" in step.text
    assert step.command == "octjob checkpoint inspect gs://bucket/a.pt"
    assert steps(made)["diagnose"].command == "octjob doctor gs://bucket/octjob/demo"
    assert "participants" not in steps(made)


def test_an_untrained_baseline_is_no_news_but_another_checkpoint_is() -> None:
    untrained = {"epoch": 0, "fingerprint": {"verdict": "untrained"}}
    outcomes = [made_of("a", "x", predictions(2.5, 1)), made_of("b", "x", predictions(0.6, 2), **untrained)]
    assert "inspect" not in steps(board(outcomes, "b"))
    assert "compare it only if that is the epoch you meant" in steps(board(outcomes, "a"))["inspect"].text
    assert "baseline" in steps(board(outcomes, None))


@pytest.mark.parametrize(
    ("sources", "kind", "number"),
    [
        (VarianceSources("macro_auroc", 0.01, seeds=0.05), "seeds", 100),
        (VarianceSources("macro_auroc", 0.05, seeds=0.01), "folds", None),
        (VarianceSources("macro_auroc", 0.02, training_sets=0.03), "training sets", 9),
        (VarianceSources("macro_auroc", 0.02, seeds_and_training_sets=0.04), "training sets", 16),
    ],
)
def test_training_that_moves_more_than_who_was_scored(
    sources: VarianceSources, kind: str, number: int | None
) -> None:
    """number: at which training's share of the error is half of theirs."""
    made = board([made_of("a", "x", predictions(2.5, 1)), made_of("b", "x", predictions(0.9, 2))])
    details = [replace(one, variance=sources) for one in made.details]
    known = Known(made.rows, made.headline, made.methods, None, {}, details, "b")
    found = {step.kind: step for step in next_steps(known)}
    assert found[kind].number == number  # type: ignore[index]
    assert {"seeds", "training sets", "folds"} & set(found) == {kind} | (
        {"folds"} if kind == "seeds" else set()
    )


def test_a_configuration_of_constants_is_left_out_and_missing_runs_are_finished() -> None:
    late = Outcome(entry("c", "x"))
    made = board(
        [made_of("a", "x", predictions(2.5, 1)), made_of("b", "x", predictions(0.6, 2)),
         made_of("a", "bad", constant(labels())), made_of("b", "bad", constant(labels(), 1)), late]
    )  # fmt: skip
    found = steps(made)
    assert found["leave out"].text.startswith("Leave out bad:")
    assert found["finish"].text.startswith("1 run of 5 has no result.")
    assert found["finish"].command == "octjob status gs://bucket/octjob/demo"
    assert made.next_steps[0].kind == "finish"


def test_what_is_to_be_typed_is_a_command() -> None:
    outcomes = [
        made_of("a", "x", predictions(2.5, 1)),
        made_of("b", "x", predictions(0.6, 2), fingerprint={"verdict": "untrained"}),
        Outcome(entry("c", "x")),
    ]
    commands = [step.command for step in board(outcomes, "a").next_steps if step.command]
    assert len(commands) == 3
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "octjob"
        with cli.make_context("octjob", [], resilient_parsing=True) as context:
            name, sub, rest = cli.resolve_command(context, list(words))
            assert sub is not None
            if name == "checkpoint":
                name, sub, rest = sub.resolve_command(context, rest)  # type: ignore[attr-defined]
            assert sub is not None
            sub.make_context(name, rest, parent=context)
