"""Controls on the table: never ranked, never leading, and named where the leader is not ahead of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from doubles.boards import predictions
from doubles.sweep_results import constant, entry, labels, outcome, skilled, sweep

from octjob.catalog import RANKING
from octjob.evaluate import Predictions
from octjob.evaluate.lead import Lead
from octjob.leaderboard.board import Leaderboard, build_leaderboard
from octjob.leaderboard.export import to_json
from octjob.leaderboard.latex import to_latex
from octjob.leaderboard.rows import Row
from octjob.leaderboard.terminal import to_text
from octjob.records.schema import RunEntry
from octjob.report.page import to_html

RUNS = [("a", "x", predictions(1.4, 1)), ("b", "x", predictions(0.5, 2))]


def control(name: str) -> RunEntry:
    return RunEntry(run_id=f"control.{name}-00001111", checkpoint="control", config=name, control=name)


def board(
    controls: Mapping[str, Predictions], runs: Sequence[tuple[str, str, Predictions]] = RUNS
) -> Leaderboard:
    outcomes = [outcome(entry(checkpoint, config), made) for checkpoint, config, made in runs]
    outcomes += [outcome(control(name), made, weights="none") for name, made in controls.items()]
    return build_leaderboard(sweep([one.entry for one in outcomes]), outcomes, num_draws=500)


def row_of(made: Leaderboard, name: str) -> Row:
    (row,) = [row for row in made.rows if row.control == name]
    return row


def test_a_control_that_is_better_is_in_the_first_sentence_and_leads_nothing() -> None:
    made = board({"site_device": predictions(3.0, 7)})
    plain = board({})
    assert made.headline.leader == plain.headline.leader == "a.x-0000abcd"
    assert made.headline.text.endswith(plain.headline.text)
    assert made.headline.text.startswith(
        "a, which leads, is not ahead of site_device, which sees no image (lead \u22120."
    )
    assert made.headline.control == "control.site_device-00001111"
    row = row_of(made, "site_device")
    assert (row.rank, row.verdict) == (None, "control")
    assert row.vs_leader is not None
    assert row.vs_leader.high < 0
    assert made.rows[0].run_id == made.headline.leader
    assert made.caption == plain.caption


def test_a_leader_that_may_be_ahead_is_not_said_not_to_be() -> None:
    made = board({"site_device": predictions(1.3, 7)})
    lead = row_of(made, "site_device").vs_leader
    assert lead is not None
    assert lead.low < 0 < lead.high
    assert made.headline.text.startswith(
        "a, which leads, is not shown to be ahead of site_device, which sees no"
    )


def test_one_that_is_beaten_is_not_in_the_sentence() -> None:
    made = board({"site_device": predictions(0.1, 7), "prior": constant(labels())})
    assert made.headline == board({}).headline
    lead = row_of(made, "site_device").vs_leader
    assert lead is not None
    assert lead.low > 0


def test_a_leader_without_an_error_is_ahead_of_what_knows_nothing() -> None:
    """Neither varies in any draw, so that their difference has no error."""
    made = board({"prior": constant(labels())}, [("a", "x", predictions(60.0, 1)), RUNS[1]])
    assert row_of(made, "prior").vs_leader == Lead(0.5, 0.5, 0.5, tied=False)
    assert "ahead of prior" not in made.headline.text


def test_the_lead_is_of_the_draws_that_the_runs_share() -> None:
    """A control that predicts what a run predicts is as far behind as it."""
    made = board({"clinical": RUNS[1][2]})
    (run,) = [row for row in made.rows if row.checkpoint == "b"]
    lead = row_of(made, "clinical").vs_leader
    assert run.vs_leader is not None
    assert lead is not None
    assert lead.difference == run.vs_leader.difference
    assert row_of(made, "clinical").metrics == run.metrics


def test_a_perfect_leader_is_ahead_of_one_that_is_the_same_in_every_draw() -> None:
    """Neither value has an error then: their difference is no tie for that."""
    made = board({"prior": constant(labels())}, [("a", "x", skilled(labels(), 50.0, 1)), *RUNS[1:]])
    lead = row_of(made, "prior").vs_leader
    assert lead is not None
    assert (lead.difference, lead.low, lead.tied) == (0.5, 0.5, False)
    assert made.headline.control is None
    assert "not ahead" not in made.headline.text


def test_of_several_the_best_is_named() -> None:
    made = board({"clinical": predictions(3.0, 7), "site_device": predictions(2.0, 8)})
    assert "not ahead of clinical," in made.headline.text
    assert "site_device" not in made.headline.text


def test_nothing_of_the_runs_depends_on_them() -> None:
    """Neither ranks, p-values and intervals, nor what is said of identical predictions."""
    same = RUNS[0][2]
    made = board({"site_device": same, "prior": constant(labels()), "clinical": predictions(0.0, 3)})
    plain = board({})
    assert tuple(row for row in made.rows if row.control is None) == plain.rows
    assert made.warnings == plain.warnings
    assert made.detectable == plain.detectable
    assert made.selection_corrected == plain.selection_corrected
    assert made.next_steps == plain.next_steps
    assert made.checkpoints == plain.checkpoints
    assert made.footnotes[:-1] == plain.footnotes
    assert made.footnotes[-1].startswith("control: looks at no volume")


def test_where_no_run_has_a_signal_the_sentence_names_a_control_that_has() -> None:
    blind = [("a", "x", predictions(0.0, 3)), ("b", "x", constant(labels()))]
    made = board({"site_device": predictions(2.0, 7), "clinical": predictions(1.2, 8)}, blind)
    assert made.headline.leader is None
    plain = board({}, blind).headline.text.removesuffix(".")
    assert made.headline.text.startswith(f"{plain}; site_device, which sees no image, is: macro AUROC 0.")
    assert board({"prior": constant(labels())}, blind).headline == board({}, blind).headline


def test_it_is_scored_on_whom_the_runs_scored() -> None:
    """A run leaves out whose volumes are unreadable; a control cannot know."""
    label_P = labels((17, 17, 20, 12))
    more = skilled(label_P, 3.0, 5)
    same = more.rows(np.arange(len(label_P)) < len(label_P) - 1)
    made, plain = board({"site_device": more}), board({"site_device": same})
    assert row_of(made, "site_device").n == 65
    assert row_of(made, "site_device").flags == ()
    assert row_of(made, "site_device").vs_leader == row_of(plain, "site_device").vs_leader
    for metric in RANKING:
        assert row_of(made, "site_device").value(metric) == row_of(plain, "site_device").value(metric)
    assert "not ahead of site_device" in made.headline.text


def test_one_that_lacks_someone_is_not_compared() -> None:
    made = board({"site_device": skilled(labels((17, 17, 20, 10)), 3.0, 5)})
    row = row_of(made, "site_device")
    assert row.flags == ("unpaired",)
    assert row.reasons == ("not compared: it did not score all whom the leader scored, or with other labels",)
    assert row.vs_leader is None
    assert made.headline == board({}).headline


def test_one_without_a_result_is_told_by_its_state() -> None:
    runs = [outcome(entry("a", "x"), predictions(1.4, 1))]
    unfinished = replace(outcome(control("prior"), constant(labels())), scored=None)
    made = build_leaderboard(
        sweep([one.entry for one in (*runs, unfinished)]), [*runs, unfinished], num_draws=200
    )
    assert [(row.name, row.shown) for row in made.rows] == [("a.x", "ok"), ("control.prior", "Pending")]


@pytest.mark.parametrize("form", ["text", "page", "latex"])
def test_every_form_shows_them_below_the_ranked(form: str) -> None:
    made = board({"site_device": predictions(3.0, 7), "prior": constant(labels())})
    document = json.loads(to_json(made))
    shown = {"text": to_text(made), "page": to_html(document), "latex": to_latex(document)}[form]
    name = r"site\_device" if form == "latex" else "site_device"
    table = shown[shown.index("rank") :] if form != "page" else shown[shown.index("<tbody") :]
    assert 0 <= table.index("b") < table.index(name)
    assert "control" in table
    if form == "page":
        assert "2 checkpoints \u00d7 1 configuration" in shown
        assert np.all([one["control"] is None for one in document["rows"][:2]])


def test_the_page_says_of_each_control_how_far_the_leader_is_ahead() -> None:
    made = board({"clinical": predictions(0.1, 5), "site_device": predictions(3.0, 7)})
    page = to_html(json.loads(to_json(made)))
    for name, words in (("clinical", "ahead: +"), ("site_device", "not ahead: \u2212")):
        lead = row_of(made, name).vs_leader
        assert lead is not None
        said = f'<span class="reason control">sees no image; leader {words}{abs(lead.difference):.2f} ['
        assert said in page
