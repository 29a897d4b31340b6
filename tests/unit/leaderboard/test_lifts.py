"""Untrained encoders and shuffled labels on the table: the lift, what has none and why, and the sentence."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from doubles.boards import predictions
from doubles.sweep_results import (
    constant,
    entry,
    finish,
    from_logits,
    labels,
    outcome,
    skilled,
    submit,
    sweep,
)

from octjob.catalog import RANKING
from octjob.errors import DataError
from octjob.evaluate.lift import lift_over
from octjob.leaderboard.board import Leaderboard, build_leaderboard
from octjob.leaderboard.collect import collect, publish
from octjob.leaderboard.export import to_csv, to_json
from octjob.leaderboard.latex import to_latex
from octjob.leaderboard.outcome import Outcome
from octjob.leaderboard.rows import Row
from octjob.leaderboard.stored import KEY, read_leaderboard
from octjob.leaderboard.terminal import to_text
from octjob.records.schema import RunEntry
from octjob.report.page import to_html
from octjob.storage import ObjectStore

AUROC = "macro_auroc"
BETTER = [outcome(entry("a", "x"), predictions(2.5, 1)), outcome(entry("b", "x"), predictions(0.9, 2))]
SIZES = {"num_parameters": 300, "geometry": {"volume_size": [16, 64, 64], "embed_dim": 48}}


def untrained_entry(number: int, config: str = "x") -> RunEntry:
    name = f"random_init-{number}"
    return entry(name, config).model_copy(update={"control": "random_init"})


def untrained(config: str = "x", skill: float = 0.4, num: int = 5) -> list[Outcome]:
    return [outcome(untrained_entry(k, config), predictions(skill, 20 + k)) for k in range(num)]


def of_architecture(made: Outcome, **changes: Any) -> Outcome:
    assert made.scored is not None
    report = {**made.scored.result.checkpoint_report, **SIZES, **changes}
    result = made.scored.result.model_copy(update={"checkpoint_report": report})
    return replace(made, scored=replace(made.scored, result=result))


def board(outcomes: Sequence[Outcome]) -> Leaderboard:
    return build_leaderboard(sweep([one.entry for one in outcomes]), outcomes, num_draws=500)


def row_of(made: Leaderboard, checkpoint: str, config: str = "x") -> Row:
    (row,) = [row for row in made.rows if (row.checkpoint, row.config) == (checkpoint, config)]
    return row


def test_a_run_has_the_lift_of_its_scores_over_those_of_the_initialisations() -> None:
    others = untrained()
    made = board([*BETTER, *others])
    run, *of_others = (one.scored.scores for one in (BETTER[0], *others) if one.scored is not None)
    expected = lift_over(run, of_others, num_draws=500, seed=0)
    found = row_of(made, "a").lift
    assert found is not None
    assert replace(found, p_holm=None) == expected
    assert found.low > 0
    second = row_of(made, "b").lift
    assert second is not None
    assert found.p_holm == pytest.approx(min(1, 2 * found.p_value))
    assert second.p_holm is not None
    assert second.p_holm >= second.p_value


def test_initialisations_are_one_row_with_their_range_and_change_no_other_number() -> None:
    others = untrained()
    made, plain = board([*BETTER, *others]), board(BETTER)
    row = row_of(made, "random_init")
    assert row.members == tuple(one.entry.run_id for one in others)
    assert row.shown_checkpoint == "random_init (5)"
    assert (row.rank, row.verdict, row.num_models, row.lift) == (None, "control", 10, None)
    for name in RANKING:
        values = [one.scored.values[name] for one in others if one.scored is not None]
        estimate = row.metric(name)
        assert estimate is not None
        assert estimate.value == pytest.approx(np.mean(values))
        assert (estimate.low, estimate.high) == (min(values), max(values))
    assert sum(row.prediction_counts) == 5 * 2 * 65
    runs = [row for row in made.rows if row.control is None]
    assert [replace(row, lift=None) for row in runs] == list(plain.rows)
    assert made.warnings == plain.warnings
    # Without them, and without a baseline, they are asked for.
    assert [step.kind for step in plain.next_steps if step not in made.next_steps] == ["baseline"]


def test_each_configuration_has_its_own_and_what_is_unfinished_is_told() -> None:
    waiting = replace(outcome(untrained_entry(2, "y"), constant(labels())), scored=None)
    outcomes = [*BETTER, outcome(entry("a", "y"), predictions(1.2, 3)), *untrained(), *untrained("y", num=2)]
    made = board([*outcomes, waiting])
    shown = [row.shown_checkpoint for row in made.rows if row.control]
    assert sorted(shown[:2]) == ["random_init (2)", "random_init (5)"]
    assert shown[2:] == ["random_init-2"]
    lifts = [row_of(made, "a", config).lift for config in "xy"]
    assert [one.num_initialisations for one in lifts if one] == [5, 2]


def reason(made: Leaderboard, checkpoint: str = "a") -> str:
    row = row_of(made, checkpoint)
    assert row.lift is None
    return row.reasons[-1]


def test_without_a_lift_there_is_a_reason() -> None:
    assert reason(board([*BETTER, *untrained("y")])) == (
        "no lift: no untrained encoder has a result under x; it takes 2, better 5"
    )
    assert reason(board([*BETTER, *untrained(num=1)])).startswith("no lift: one untrained encoder alone has")
    fewer = [outcome(untrained_entry(k), skilled(labels((17, 17, 20, 10)), 0.4, k)) for k in range(5)]
    assert reason(board([*BETTER, *fewer])) == (
        "no lift: the untrained encoders under x scored other participants, labels or classes"
    )


def test_another_architecture_gives_no_lift() -> None:
    others = [of_architecture(one) for one in untrained()]
    same, bigger = of_architecture(BETTER[0]), of_architecture(BETTER[1], num_parameters=400)
    made = board([same, bigger, *others])
    assert row_of(made, "a").lift is not None
    assert reason(made, "b") == (
        "no lift: the untrained encoders under x are of another architecture (num_parameters 300 against 400)"
    )
    wider = of_architecture(BETTER[1], geometry={"volume_size": [16, 64, 128], "embed_dim": 48})
    assert reason(board([same, wider, *others]), "b").endswith(
        "(volume_size (16, 64, 64) against (16, 64, 128))"
    )


def first_sentence(made: Leaderboard) -> str:
    return made.headline.text.split(". ")[0]


def test_a_lift_is_in_the_headline() -> None:
    made, plain = board([*BETTER, *untrained()]), board(BETTER)
    assert made.headline.text.startswith(plain.headline.text)
    assert made.headline.text.removeprefix(plain.headline.text).startswith(" a is +0.3")
    assert made.headline.text.endswith("] above five untrained encoders.")
    assert "not above" not in made.headline.text


def test_a_leader_that_is_not_above_untrained_encoders_is_told_so_first() -> None:
    """Not above where the interval says so; where it includes zero, nothing is shown."""
    made = board([*BETTER, *untrained(skill=2.5)])
    assert first_sentence(made).startswith(
        "a, which leads, is not shown to be above five untrained encoders (lift "
    )
    below = board([BETTER[1], *untrained(skill=4.0)])
    assert first_sentence(below).startswith(
        "b, which leads, is not above five untrained encoders (lift \u2212"
    )
    site = entry("control", "site_device").model_copy(update={"control": "site_device"})
    both = board([*BETTER, *untrained(skill=2.5), outcome(site, predictions(3.5, 7), weights="none")])
    assert "encoders (lift " in first_sentence(both)
    assert ") and not shown to be ahead of site_device, which sees no image (lead \u2212" in first_sentence(
        both
    )
    assert both.headline.leader == made.headline.leader


def shuffles(checkpoint: str, num: int = 20, config: str = "x") -> Outcome:
    """Each a seed, at chance."""
    label_P, rng = labels(), np.random.default_rng(5)
    parts = [from_logits(label_P, rng.normal(size=(len(label_P), 4))) for _ in range(num)]
    columns = {
        name: np.concatenate([getattr(one, name) for one in parts])
        for name in ("participant", "eye", "device", "split", "fold", "label")
    }
    columns["seed"] = np.repeat(np.arange(num), len(label_P))
    columns["logits"] = np.concatenate([one.logits_NK for one in parts])
    made = type(parts[0]).from_columns(columns)
    of = entry(f"shuffled_labels-{checkpoint}", config).model_copy(update={"control": "shuffled_labels"})
    return outcome(of, made)


def test_shuffles_are_one_row_with_the_interval_of_their_values() -> None:
    of_shuffles = shuffles("b")
    chance = outcome(entry("b", "x"), predictions(0.0, 4))
    made = board([BETTER[0], chance, of_shuffles])
    row = row_of(made, "shuffled_labels-b")
    assert of_shuffles.scored is not None
    scores = of_shuffles.scored.scores
    values = [
        of_shuffles.scored.metric_of(
            replace(scores, probability_SPK=one[None], seed_S=(), repeat_S=()), "macro_auroc"
        )
        for one in scores.probability_SPK
    ]
    estimate = row.metric(AUROC)
    assert estimate is not None
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (np.mean(values), *np.quantile(values, [0.025, 0.975]))
    )
    told = row_of(made, "b")
    assert "within_shuffled" in told.flags
    assert told.reasons[-1].startswith(f"its macro_auroc of {told.value(AUROC):.3f} ")
    assert f"on shuffled labels, {estimate.low:.3f} to {estimate.high:.3f}" in told.reasons[-1]
    assert "within_shuffled" not in row_of(made, "a").flags


def test_a_run_above_its_shuffles_is_told_nothing() -> None:
    assert row_of(board([*BETTER, shuffles("a")]), "a").reasons == row_of(board(BETTER), "a").reasons


def test_a_target_encoder_is_an_ordinary_control_that_no_sentence_holds_against_the_leader() -> None:
    of = entry("target_encoder-a", "x").model_copy(update={"control": "target_encoder"})
    made = board([*BETTER, outcome(of, predictions(2.5, 9))])
    row = row_of(made, "target_encoder-a")
    assert (row.rank, row.verdict) == (None, "control")
    assert row.vs_leader is not None
    assert row.vs_leader.tied
    assert made.headline == board(BETTER).headline


def test_every_form_shows_lifts_where_there_are_some() -> None:
    made, plain = board([*BETTER, *untrained()]), board(BETTER)
    document = json.loads(to_json(made))
    found = row_of(made, "a").lift
    assert found is not None
    text = to_text(made)
    assert f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]*" in text
    assert "random_init (5)" in text
    assert "lift: macro_auroc minus its mean over untrained encoders" in text
    assert "lift" not in to_text(plain)
    page = to_html(document)
    assert "Lift over untrained" in page
    assert "random_init (5)" in page
    assert "untrained; their mean and range" in page
    assert "& lift &" in to_latex(document)
    assert r"random\_init (5)" in to_latex(document)
    rows = {row["checkpoint"]: row for row in csv.DictReader(io.StringIO(to_csv(made)))}
    numbers = [float(rows["a"][name]) for name in ("lift", "lift_low", "lift_high", "num_initialisations")]
    assert numbers == pytest.approx([found.value, found.low, found.high, 5])
    assert (rows["random_init"]["lift"], rows["random_init"]["num_initialisations"]) == ("", "5")
    assert made.to_frame()["lift"].notna().sum() == 2


def test_a_stored_table_knows_the_runs_that_it_folds(file_store: ObjectStore) -> None:
    store = file_store
    runs = [(entry("a", "x"), predictions(2.5, 1))]
    runs += [(untrained_entry(k), predictions(0.4, 20 + k)) for k in range(5)]
    submit(store, [one for one, _ in runs])
    for one, made in runs:
        finish(store, one, made)
    publish(store, collect(store))
    document = read_leaderboard(store)
    assert [len(row["members"]) for row in document["rows"]] == [0, 5]
    for row in document["rows"]:
        del row["lift"], row["members"]
    store.put(KEY, json.dumps(document).encode())
    with pytest.raises(DataError, match="written by an earlier octjob, which knew no lift"):
        read_leaderboard(store)
