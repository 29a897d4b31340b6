"""The leaderboard: who gets a rank, who is flagged, and what is said below the table."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import fields, replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from doubles.sweep_results import (
    CLASSES,
    SEED_COUNTS,
    constant,
    entry,
    from_logits,
    labels,
    outcome,
    progress,
    result,
    skilled,
    sweep,
)
from rich.console import Console

from octjob.catalog import RANKING
from octjob.errors import SpecError
from octjob.evaluate import Predictions, paired_difference
from octjob.leaderboard.board import Leaderboard, build_leaderboard
from octjob.leaderboard.export import to_csv, to_json, to_markdown, to_parquet
from octjob.leaderboard.outcome import Outcome, scored
from octjob.leaderboard.ranking import best_of_chance
from octjob.leaderboard.rows import Row
from octjob.leaderboard.terminal import WIDTH, print_rich, to_text

LABEL_P = labels()
BIG_LABEL_P = labels((60, 60, 60, 60))
DRAWS = 400


def board(
    outcomes: list[Outcome],
    baseline: str | None = None,
    metric: str = "macro_auroc",
    baseline_config: str | None = None,
) -> Leaderboard:
    record = sweep([one.entry for one in outcomes], baseline, baseline_config)
    return build_leaderboard(record, outcomes, metric, num_draws=DRAWS)


@pytest.fixture(scope="module")
def seeds_situation() -> Leaderboard:
    """Three checkpoints that all say healthy for everyone: 17 of 65, as in the log this project answers."""
    names = ("multi_domain", "single_domain_01", "single_domain_02")
    return board([outcome(entry(name), constant(LABEL_P)) for name in names], baseline="multi_domain")


@pytest.fixture(scope="module")
def mixed_outcomes() -> list[Outcome]:
    """A clear winner, two that are alike, a collapsed one, and runs without a result."""
    return [
        outcome(entry("base"), skilled(BIG_LABEL_P, 1.0, seed=1)),
        outcome(entry("alike"), skilled(BIG_LABEL_P, 1.0, seed=2)),
        outcome(entry("winner"), skilled(BIG_LABEL_P, 4.0, seed=3)),
        outcome(entry("stuck"), constant(BIG_LABEL_P, 2)),
        Outcome(entry("broken"), progress=progress(entry("broken"), "failed", "labels.tsv: no column")),
        Outcome(entry("absent")),
        Outcome(entry("busy"), progress=progress(entry("busy"), "training")),
        Outcome(entry("paused"), progress=progress(entry("paused"), "interrupted")),
    ]


@pytest.fixture(scope="module")
def mixed(mixed_outcomes: list[Outcome]) -> Leaderboard:
    return board(mixed_outcomes, baseline="base")


def by_checkpoint(leaderboard: Leaderboard, name: str) -> Row:
    return next(row for row in leaderboard.rows if row.checkpoint == name)


def test_seeds_constant_predictors_are_collapsed_and_unranked(seeds_situation: Leaderboard) -> None:
    for row in seeds_situation.rows:
        assert (row.rank, row.verdict) == (None, "collapsed")
        assert "suspicious" in row.flags
        assert row.metric("accuracy").value == pytest.approx(17 / 65, abs=1e-12)
        assert row.prediction_counts == (65, 0, 0, 0)
        assert row.best_constant_accuracy == pytest.approx(20 / 65)


def test_seeds_identical_group_is_named_below_the_table(seeds_situation: Leaderboard) -> None:
    line = next(line for line in seeds_situation.warnings if line.startswith("Suspicious"))
    assert all(row.run_id in line for row in seeds_situation.rows)
    assert "one and the same class for everyone, from 3 different weights" in line


def test_difference_between_equal_predictors_is_zero_with_p_one(seeds_situation: Leaderboard) -> None:
    comparison = by_checkpoint(seeds_situation, "single_domain_01").vs_checkpoint
    assert (comparison.difference, comparison.low, comparison.high) == (0, 0, 0)
    assert comparison.p_value == comparison.p_holm == 1


def test_clear_winner_is_first_and_its_difference_excludes_zero(mixed: Leaderboard) -> None:
    assert mixed.rows[0].checkpoint == "winner"
    assert str(mixed.rows[0].rank) == "1"
    assert mixed.caption.startswith(
        "winner.linear is best, above each of 2 other ranked runs: macro_auroc 1.000 ("
    )
    comparison = mixed.rows[0].vs_checkpoint
    assert comparison.low > 0
    assert comparison.p_holm < 0.05


def test_runs_that_cannot_be_told_apart_share_a_rank(mixed: Leaderboard) -> None:
    ranks = [by_checkpoint(mixed, name).rank for name in ("base", "alike")]
    assert [str(rank) for rank in ranks] == ["2-3", "2-3"]
    assert ranks[0].letters == ranks[1].letters
    comparison = by_checkpoint(mixed, "alike").vs_checkpoint
    assert comparison.low < 0 < comparison.high


def test_rows_without_rank_follow_by_state(mixed: Leaderboard) -> None:
    assert [(row.state, row.verdict) for row in mixed.rows[3:]] == [
        ("Succeeded", "collapsed"), ("Interrupted", ""), ("Running", ""), ("Failed", ""), ("Pending", ""),
    ]  # fmt: skip
    assert all(row.rank is None for row in mixed.rows[3:])
    assert by_checkpoint(mixed, "broken").error == "labels.tsv: no column"


def test_baseline_itself_has_no_comparison(mixed: Leaderboard) -> None:
    assert by_checkpoint(mixed, "base").vs_checkpoint is None


def test_a_run_without_signal_is_not_ranked_and_says_why() -> None:
    leaderboard = board([outcome(entry("guess"), skilled(LABEL_P, 0.0, seed=6))])
    (row,) = leaderboard.rows
    assert (row.verdict, row.rank) == ("no_signal", None)
    assert row.reasons[-1].startswith("no signal: permuted labels reach its macro_auroc with p = ")
    assert leaderboard.caption == "No winner: none of 1 run has a signal in macro_auroc."


def test_signal_is_asked_of_the_metric_that_is_ranked_by() -> None:
    """Scores that order the classes well, and answer one class more often than not: AUROC has signal."""
    logits_PK = skilled(LABEL_P, 1.2, seed=3).logits_NK + np.array([2.2, 0, 0, 0])
    leaning = outcome(entry("leaning"), from_logits(LABEL_P, logits_PK))
    assert leaning.scored.evaluation.intervals["balanced_accuracy"].low < 0.3
    row = board([leaning]).rows[0]
    assert (row.verdict, str(row.rank)) == ("ok", "1")
    assert row.signal.p_holm < 0.05


def test_a_class_that_is_never_predicted_does_not_cost_the_rank() -> None:
    logits_PK = skilled(BIG_LABEL_P, 2.0, seed=3).logits_NK - np.array([0, 0, 0, 9])
    row = board([outcome(entry("misses"), from_logits(BIG_LABEL_P, logits_PK))]).rows[0]
    assert (row.verdict, str(row.rank), row.flags) == ("ok", "1", ("misses_class",))


def test_signals_are_adjusted_over_the_runs_of_the_sweep() -> None:
    weak = outcome(entry("weak"), skilled(LABEL_P, 0.4, seed=17))
    alone = board([weak]).rows[0].signal
    noise = [outcome(entry(f"noise_{k}"), skilled(LABEL_P, 0.0, seed=100 + k)) for k in range(9)]
    among = by_checkpoint(board([weak, *noise]), "weak").signal
    assert (alone.num_runs, among.num_runs) == (1, 10)
    assert alone.p_value == alone.p_holm
    assert among.p_holm >= among.p_value


def test_the_two_questions_are_two_families_adjusted_by_themselves() -> None:
    outcomes = [
        outcome(entry(name, config), skilled(LABEL_P, skill, seed))
        for seed, (name, config, skill) in enumerate(
            [("base", "linear", 1.0), ("other", "linear", 1.6), ("base", "mlp", 1.0), ("other", "mlp", 1.2)]
        )
    ]
    leaderboard = board(outcomes, baseline="base")
    assert leaderboard.baseline_config == "linear"  # the first
    for family, expected in (
        ("vs_checkpoint", {"base.linear-0000abcd", "base.mlp-0000abcd"}),
        ("vs_config", {"base.linear-0000abcd", "other.linear-0000abcd"}),
    ):
        compared = [getattr(row, family) for row in leaderboard.rows if getattr(row, family)]
        assert {one.reference_run for one in compared} == expected
        small, large = sorted(compared, key=lambda one: one.p_value)
        # Two comparisons, and two families that share the five percent.
        assert small.p_holm == pytest.approx(min(1, 2 * 2 * small.p_value))
        assert large.p_holm == pytest.approx(min(1, max(small.p_holm, 2 * large.p_value)))
    assert board(outcomes, baseline_config="mlp").baseline_config == "mlp"


def test_a_comparison_is_the_paired_difference() -> None:
    runs = {name: outcome(entry(name), skilled(LABEL_P, 1.0, seed)) for seed, name in enumerate("ab")}
    ours = by_checkpoint(board(list(runs.values()), baseline="a"), "b").vs_checkpoint
    b, a = (runs[name].scored.scores for name in "ba")
    theirs = paired_difference(b, a, "macro_auroc", DRAWS, num_permutations=2000)
    assert (ours.difference, ours.low, ours.high) == pytest.approx(
        (theirs.difference, theirs.interval.low, theirs.interval.high), abs=1e-12
    )
    assert ours.p_value == theirs.p_value
    assert ours.speaks_of == "trained models"


def test_runs_with_one_and_with_five_seeds_are_compared() -> None:
    several = [replace(skilled(LABEL_P, 1.0, k), seed=np.full(len(LABEL_P), k)) for k in range(5)]
    names = [field.name for field in fields(several[0])]
    joined = Predictions(**{name: np.concatenate([getattr(one, name) for one in several]) for name in names})
    leaderboard = board([outcome(entry("a"), skilled(LABEL_P, 1.0, 9)), outcome(entry("b"), joined)], "a")
    row = by_checkpoint(leaderboard, "b")
    assert row.vs_checkpoint.p_value is not None
    assert row.num_models == 5
    assert any("seeds 0.0" in line for line in leaderboard.footnotes)


def test_folds_make_comparisons_speak_of_training() -> None:
    def folded(skill: float, seed: int) -> Predictions:
        parts = []
        for repeat in range(3):
            part = skilled(BIG_LABEL_P, skill, 10 * seed + repeat)
            fold = np.random.default_rng(repeat).permutation(len(BIG_LABEL_P)) % 5
            parts.append(replace(part, fold=fold, repeat=np.full(len(fold), repeat)))
        names = [field.name for field in fields(parts[0])]
        return Predictions(**{name: np.concatenate([getattr(one, name) for one in parts]) for name in names})

    leaderboard = board([outcome(entry("a"), folded(0.8, 1)), outcome(entry("b"), folded(1.6, 2))], "a")
    row = by_checkpoint(leaderboard, "b")
    assert row.vs_checkpoint.speaks_of == "training"
    assert row.vs_checkpoint.p_holm < 0.05
    assert row.num_models == 15
    assert any("it speaks of checkpoints" in line for line in leaderboard.footnotes)


def test_identical_output_of_different_weights_is_flagged_and_tied() -> None:
    same = skilled(BIG_LABEL_P, 2.0, seed=1)
    leaderboard = board([outcome(entry("a"), same), outcome(entry("b"), same)])
    assert [(row.verdict, str(row.rank), row.flags) for row in leaderboard.rows] == [
        ("ok", "1-2", ("suspicious",))
    ] * 2
    assert "the same probabilities for everyone as b.linear-0000abcd" in leaderboard.rows[0].reasons[0]


def test_identical_output_of_the_same_weights_is_not_suspicious() -> None:
    same = skilled(BIG_LABEL_P, 2.0, seed=1)
    leaderboard = board([outcome(entry("a", "linear"), same), outcome(entry("a", "again"), same)])
    assert [(row.verdict, str(row.rank), row.flags) for row in leaderboard.rows] == [("ok", "1-2", ())] * 2


def test_same_classes_with_other_probabilities_stay_ranked_but_flagged() -> None:
    exact = 8.0 * np.eye(len(CLASSES))[BIG_LABEL_P]
    leaderboard = board(
        [
            outcome(entry("a"), from_logits(BIG_LABEL_P, exact)),
            outcome(entry("b"), from_logits(BIG_LABEL_P, exact / 2)),
        ]
    )
    assert [(str(row.rank), row.flags) for row in leaderboard.rows] == [("1-2", ("suspicious",))] * 2


def test_runs_on_other_participants_are_never_compared() -> None:
    leaderboard = board(
        [
            outcome(entry("base"), skilled(BIG_LABEL_P, 2.0, seed=1)),
            outcome(entry("other"), skilled(BIG_LABEL_P, 2.0, seed=2)),
            outcome(entry("elsewhere"), skilled(BIG_LABEL_P, 4.0, seed=3, first_id=5000)),
        ],
        baseline="base",
    )
    row = by_checkpoint(leaderboard, "elsewhere")
    assert (row.rank, row.vs_checkpoint) == (None, None)
    assert "unpaired" in row.flags
    assert any("different participants" in reason for reason in row.reasons)
    assert any("Not all runs scored the same participants" in line for line in leaderboard.warnings)
    assert by_checkpoint(leaderboard, "other").rank.best == 1


def test_missing_baseline_run_is_said_in_the_row() -> None:
    leaderboard = board(
        [Outcome(entry("base")), outcome(entry("other"), skilled(BIG_LABEL_P, 2.0, 1))], baseline="base"
    )
    assert "not compared: base has no result under linear" in by_checkpoint(leaderboard, "other").reasons[0]


def test_one_checkpoint_name_with_two_weights_is_warned_about() -> None:
    leaderboard = board(
        [
            outcome(entry("a", "linear"), skilled(BIG_LABEL_P, 2.0, 1), weights="1111"),
            outcome(entry("a", "mlp"), skilled(BIG_LABEL_P, 2.0, 2), weights="2222"),
        ]
    )
    assert any(line.startswith("Checkpoint a: its runs loaded different") for line in leaderboard.warnings)


def test_two_names_for_the_same_weights_are_warned_about() -> None:
    leaderboard = board(
        [outcome(entry(name), skilled(BIG_LABEL_P, 2.0, k), weights="1111") for k, name in enumerate("ab")]
    )
    assert "Checkpoints a, b are the same weights (1111)." in leaderboard.warnings


def test_result_that_is_not_that_of_its_predictions_is_flagged_and_the_predictions_count() -> None:
    run, true = entry("a"), skilled(BIG_LABEL_P, 2.0, seed=2)
    record = result(run, skilled(BIG_LABEL_P, 2.0, seed=1), "digest", 0.9)
    row = board([Outcome(run, scored(record, true, "result", "predictions"))]).rows[0]
    assert "inconsistent" in row.flags
    assert row.value("macro_auroc") == board([outcome(run, true)]).rows[0].value("macro_auroc")


def test_what_the_checkpoint_says_of_itself_stands_in_the_row_and_below() -> None:
    notes = ["Every Linear bias is exactly 0: these weights were never trained.", "Saved in epoch 0."]
    report = {"weights_digest": "d", "fingerprint": {"verdict": "untrained"}, "notes": notes}
    run, predictions = entry("base"), constant(LABEL_P)
    record = result(run, predictions, "d", 0.3).model_copy(update={"checkpoint_report": report})
    leaderboard = board([Outcome(run, scored(record, predictions, "result", "predictions"))], baseline="base")
    (row,) = leaderboard.rows
    assert (row.weights, row.verdict) == ("untrained", "collapsed")
    assert "its encoder is untrained" in row.reasons[0]
    assert "base.linear: all 65 predictions are" in to_text(leaderboard)
    assert any(
        line.startswith("Checkpoint base is untrained. Every Linear bias") for line in leaderboard.warnings
    )
    assert any(line.startswith("The baseline base.linear collapsed") for line in leaderboard.warnings)
    assert "untrained" in to_text(leaderboard).split("\n\n")[1]


@pytest.mark.parametrize(("change", "flagged"), [(0.0, True), (0.02, False), (None, False)])
def test_a_fine_tuning_that_did_not_move_its_encoder_is_flagged(change: float | None, flagged: bool) -> None:
    run, predictions = entry("a"), skilled(BIG_LABEL_P, 2.0, 1)
    units = [{"encoder_change": change}, {"encoder_change": 0.5}] if change is not None else [{}]
    record = result(run, predictions, "d", 0.3).model_copy(update={"training": {"units": units}})
    row = board([Outcome(run, scored(record, predictions, "result", "predictions"))]).rows[0]
    assert ("encoder_unmoved" in row.flags) == flagged
    assert row.rank is not None


def test_train_val_gap_is_of_balanced_accuracy() -> None:
    one = outcome(entry("a"), skilled(BIG_LABEL_P, 2.0, seed=1), train_balanced_accuracy=1.0)
    row = board([one]).rows[0]
    assert row.train_val_gap == 1.0 - row.metric("balanced_accuracy").value


def test_best_of_eighteen_guessers_on_the_seeds_validation_set() -> None:
    """0.354 is the reference value computed independently for 65 participants and 18 runs."""
    assert best_of_chance(SEED_COUNTS, 18).expected == pytest.approx(0.354, abs=1.5e-3)
    assert best_of_chance(SEED_COUNTS, 1).expected == pytest.approx(0.25, abs=1e-3)


def test_best_of_chance_equals_enumeration() -> None:
    """Two classes of two: balanced accuracy is the mean of two Binomial(2, 1/2) shares."""
    chance_of = {0: 1 / 16, 0.25: 4 / 16, 0.5: 6 / 16, 0.75: 4 / 16, 1: 1 / 16}
    values = list(chance_of)
    best_of_two = sum(max(a, b) * chance_of[a] * chance_of[b] for a in values for b in values)
    assert best_of_chance((2, 2), 2).expected == pytest.approx(best_of_two, abs=2e-3)


def test_what_n_can_show_is_said(mixed: Leaderboard) -> None:
    line = next(line for line in mixed.warnings if "80 % power" in line)
    assert line.startswith(f"With 240 participants a difference of {mixed.detectable:.3f} in macro_auroc")
    assert 0.02 < mixed.detectable < 0.15


def test_chance_and_constants_are_said(seeds_situation: Leaderboard) -> None:
    text = "\n".join(seeds_situation.warnings)
    assert "3 runs (3 checkpoints, 1 configuration) were compared on 65 participants" in text
    assert "accuracy 0.3077 (always oral_medication)" in text


def test_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(SpecError) as caught:
        board([], metric="auc")
    assert "macro_auroc" in caught.value.hint


def test_csv_json_and_parquet_hold_the_same_numbers(mixed: Leaderboard) -> None:
    from_csv = list(csv.DictReader(io.StringIO(to_csv(mixed))))
    from_parquet = pq.read_table(io.BytesIO(to_parquet(mixed))).to_pylist()
    from_json = json.loads(to_json(mixed))["rows"]
    assert len(from_csv) == len(from_parquet) == len(from_json) == len(mixed.rows)
    for text, typed, nested in zip(from_csv, from_parquet, from_json, strict=True):
        assert {name: "" if value is None else str(value) for name, value in typed.items()} == text
        for name in RANKING:
            estimate = (nested["metrics"] or {}).get(name) or {"value": None, "low": None, "high": None}
            assert typed[name] == estimate["value"]
            assert (typed[f"{name}_low"], typed[f"{name}_high"]) == (estimate["low"], estimate["high"])
        assert typed["rank_best"] == (nested["rank"] or {}).get("best")
        assert typed["vs_checkpoint_p_holm"] == (nested["vs_checkpoint"] or {}).get("p_holm")


def test_no_text_in_the_csv_is_a_formula_and_numbers_stay_numbers() -> None:
    starts = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0"]
    entries = [entry(name, config="linear") for name in starts]
    rows = board([outcome(one, skilled(LABEL_P, 0.0, seed)) for seed, one in enumerate(entries)])
    rows = replace(rows, rows=tuple(replace(row, train_val_gap=-0.25) for row in rows.rows))
    table = list(csv.DictReader(io.StringIO(to_csv(rows), newline="")))
    assert {line["checkpoint"] for line in table} == {f"'{name}".replace("\r", "\n") for name in starts}
    assert all(line["run_id"].startswith("'") for line in table)
    assert {line["train_val_gap"] for line in table} == {"-0.25"}


def test_markdown_and_text_show_the_rounded_numbers(mixed: Leaderboard) -> None:
    markdown, text = to_markdown(mixed), to_text(mixed)
    for row in mixed.rows[:4]:
        auroc = row.metric("macro_auroc")
        cell = f"{auroc.value:.3f} [{auroc.low:.2f}, {auroc.high:.2f}]"
        for shown in (markdown, text):
            line = next(
                line for line in shown.splitlines() if re.search(rf"\b{row.checkpoint}\b[ |]+linear", line)
            )
            assert cell in line


def test_plain_text_is_ascii_without_escapes_and_within_its_width() -> None:
    long = "a_checkpoint_with_a_name_that_goes_on_and_on"
    leaderboard = board(
        [
            outcome(entry(f"{long}_{k}", "linear.lr_head-0-001.pool_method-mean"), skilled(LABEL_P, 2, k))
            for k in range(2)
        ],
        baseline=f"{long}_0",
    )
    text = to_text(leaderboard)
    assert text.isascii()
    assert "\x1b" not in text
    table = text.split("\n\n")[1]
    assert max(map(len, table.splitlines())) <= WIDTH
    assert len({line.split()[1] for line in table.splitlines()[2:]}) == 2  # still told apart


def test_rows_do_not_depend_on_the_order_of_the_runs(
    mixed: Leaderboard, mixed_outcomes: list[Outcome]
) -> None:
    assert board(mixed_outcomes[::-1], baseline="base").rows == mixed.rows


def test_empty_and_unstarted_sweeps_have_a_table() -> None:
    assert "demo: ranked by macro_auroc" in to_text(board([]))
    assert "1 Pending" in to_text(board([Outcome(entry("a"))]))


def test_terminal_shows_the_same_table_in_colour(mixed: Leaderboard) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=WIDTH, color_system="truecolor")
    print_rich(mixed, console)
    shown = console.file.getvalue()
    assert "\x1b[" in shown
    plain = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()]
    assert "●" in shown
    ascii_of = str.maketrans("├┤─╌●○┊┼", "||-.oo:+")
    assert [line.translate(ascii_of) for line in plain] == to_text(mixed).splitlines()


def test_the_headline_is_the_first_line_of_the_table_and_stands_in_markdown(mixed: Leaderboard) -> None:
    said = mixed.headline.text.replace("\u2212", "-")
    before_title = to_text(mixed).split("demo: ranked by")[0]
    assert " ".join(before_title.split()) == said
    assert mixed.headline.text in to_markdown(mixed)
    assert "Corrected for being the best of 4, winner.linear is worth macro_auroc" in to_text(mixed)


def drawn(leaderboard: Leaderboard) -> dict[str, str]:
    """By checkpoint, the picture of its row, as wide as its header."""
    table = to_text(leaderboard).split("\n\n")[1].splitlines()
    found = re.search(r"(?<=macro AUROC) +(\d\.\d\d +\d\.\d\d)", table[0])
    assert found
    start, end = found.span(1)
    return {line.split()[1]: line.ljust(end)[start:end] for line in table[2:]} | {"": table[0][start:end]}


def test_intervals_are_drawn_on_one_scale_with_chance(mixed: Leaderboard) -> None:
    pictures = drawn(mixed)
    low, high = map(float, pictures.pop("").split())

    def place(value: float, width: int) -> float:
        return (value - low) / (high - low) * (width - 1)

    for name, picture in pictures.items():
        row = by_checkpoint(mixed, name)
        estimate = row.metric("macro_auroc")
        # The header gives the ends of the scale in two digits.
        assert picture[round(place(0.5, len(picture)))] in ":+o|"
        if estimate is None:
            assert picture.strip() == ":"
            continue
        for mark, value in (("o", estimate.value), ("|", estimate.low), ("|", estimate.high)):
            near = picture[max(0, round(place(value, len(picture))) - 1) :][:3]
            assert mark in near or (mark == "|" and "o" in near)
        assert ("." in picture) <= (row.rank is None)
        assert ("-" in picture) <= (row.rank is not None)
    assert "-" in pictures["base"]


def test_rows_without_a_rank_are_hollow() -> None:
    guess = outcome(entry("guess"), skilled(LABEL_P, 0.0, seed=6))
    leaderboard = board([guess, outcome(entry("known"), skilled(LABEL_P, 2.0, seed=1))])
    assert re.search(r"\|[.+]*o[.+]*\|", drawn(leaderboard)["guess"])
    console = Console(file=io.StringIO(), force_terminal=True, width=WIDTH, color_system=None)
    print_rich(leaderboard, console)
    shown = {line.split()[1]: line for line in console.file.getvalue().splitlines() if " linear " in line}
    assert ("○" in shown["guess"], "●" in shown["guess"]) == (True, False)
    assert ("○" in shown["known"], "●" in shown["known"]) == (False, True)


def test_narrow_terminal_keeps_whole_cells(mixed: Leaderboard) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    print_rich(mixed, console)
    table = console.file.getvalue().split("\n\n")[1].splitlines()
    assert max(map(len, table)) <= 80
    assert "●" not in console.file.getvalue()  # Dropped first.
    auroc = mixed.rows[0].metric("macro_auroc")
    assert f"{auroc.value:.3f} [{auroc.low:.2f}, {auroc.high:.2f}]" in table[2]


def test_wide_table_has_every_number(mixed: Leaderboard) -> None:
    text = to_text(mixed, wide=True)
    winner = mixed.rows[0]
    line = next(line for line in text.splitlines() if winner.run_id in line)
    assert "/".join(map(str, winner.prediction_counts)) in line
    assert " ".join(f"{f1:.3f}" for f1 in winner.per_class_f1) in line
    assert f"{winner.train_val_gap:+.3f}" in line


def test_several_seeds_and_several_volumes_per_participant() -> None:
    """The leaderboard recomputes what `evaluate` reported, over seeds and volumes alike."""
    rng = np.random.default_rng(0)
    tables = []
    for seed in (0, 1):
        for eye in ("OD", "OS"):
            logits_PK = rng.normal(size=(len(LABEL_P), 4)) + 3 * np.eye(4)[LABEL_P]
            one = from_logits(LABEL_P, logits_PK)
            tables.append(replace(one, eye=np.full(len(LABEL_P), eye), seed=np.full(len(LABEL_P), seed)))
    names = [field.name for field in fields(tables[0])]
    joined = Predictions(**{name: np.concatenate([getattr(one, name) for one in tables]) for name in names})
    row = board([outcome(entry("a"), joined)]).rows[0]
    assert (row.n, str(row.rank), row.flags) == (65, "1", ())
    assert sum(row.prediction_counts) == 2 * 65
