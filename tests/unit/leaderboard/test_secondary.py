"""Secondary questions on the board: of whom they are asked, what stands in each file, what is said where not."""

from __future__ import annotations

import copy
import csv
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from doubles.boards import LONG_CLASSES, document, predictions, record, recorded
from doubles.sweep_results import CLASSES, entry, outcome
from doubles.told import told
from sklearn.metrics import roc_auc_score

from octjob.evaluate import by_participant
from octjob.evaluate.skill import at_shares, brier_skill
from octjob.leaderboard.board import Leaderboard, build_leaderboard
from octjob.leaderboard.export import to_csv
from octjob.leaderboard.outcome import Outcome, Scored
from octjob.leaderboard.secondary import Secondary
from octjob.report.page import to_html
from octjob.report.supplement import to_supplement

METRIC = "macro_auroc"


def finished(checkpoint: str, config: str, skill: float, seed: int) -> Outcome:
    return told(recorded(outcome(entry(checkpoint, config), predictions(skill, seed))))


def board(outcomes: list[Outcome], class_names: tuple[str, ...] = LONG_CLASSES) -> Leaderboard:
    entries = [one.entry for one in outcomes]
    return build_leaderboard(record(entries, class_names, "demo", None), outcomes, num_draws=200)


@pytest.fixture(scope="module")
def made() -> Leaderboard:
    return board([finished("a", "one", 2.0, 0), finished("a", "two", 1.0, 1), finished("b", "one", 1.2, 2)])


def scored(made: Outcome) -> Scored:
    assert made.scored is not None
    return made.scored


def test_the_best_run_of_each_checkpoint_is_asked(made: Leaderboard) -> None:
    assert [one.run_id for one in made.secondary.runs] == [entry("a", "one").run_id, entry("b", "one").run_id]
    first = made.secondary.runs[0]
    scores = by_participant(predictions(2.0, 0))
    healthy = np.mean([roc_auc_score(scores.label_P > 0, 1 - p_PK[:, 0]) for p_PK in scores.probability_SPK])
    assert first.first_class is not None
    assert first.first_class.value == pytest.approx(healthy, abs=1e-12)
    assert first.order is not None
    assert 0 < first.order.low < first.order.value < first.order.high < 1


def test_differences_are_those_of_the_parts(made: Leaderboard) -> None:
    rows = predictions(2.0, 0)
    found = {one.name: one for one in made.secondary.runs[0].differences}
    inside, outside = (
        Scored.metric_of(by_participant(rows.rows(side)), METRIC)
        for side in (rows.site == "UW", rows.site != "UW")
    )
    assert found["UW"].difference == pytest.approx(inside - outside, abs=1e-12)
    assert (found["UW"].n, found["UW"].n_rest, found["UW"].rest) == (22, 43, "")
    # Of two devices one is the other's rest, and said once.
    assert found["Cirrus"].rest == "Maestro2"
    assert "Maestro2" not in found
    assert found["age 40 to 53"].reason == "insulin has 1 participant; 3 are needed"


def test_a_weighted_loss_is_brought_to_the_training_shares() -> None:
    one = finished("a", "one", 2.0, 0)
    evaluation = scored(one).evaluation
    corrected = {"balanced_accuracy": 0.5, "prior": (0.25, 0.25, 0.25, 0.25)}
    changed = evaluation.model_validate({**evaluation.model_dump(), "prior_corrected": corrected})
    weighted = replace(one, scored=replace(scored(one), evaluation=changed))
    found = board([weighted, finished("b", "one", 1.2, 2)]).secondary.runs[0]
    shares = tuple(count / 170 for count in (60, 40, 50, 20))
    assert found.at_training_shares
    expected = brier_skill(at_shares(scored(one).scores, (0.25,) * 4, shares), shares)
    assert found.brier_skill.value == pytest.approx(expected.value, abs=1e-12)


def test_a_result_that_does_not_say_whom_it_was_trained_on_has_no_skill() -> None:
    one = outcome(entry("a", "one"), predictions(2.0, 0))
    asked = board([one, outcome(entry("b"), predictions(1.2, 2))]).secondary
    assert asked.runs[0].brier_skill.reason == "the result does not say whom it was trained on"
    assert asked.runs[0].slope.value is not None


@pytest.mark.parametrize("classes", [CLASSES, LONG_CLASSES[::-1]])
def test_other_classes_are_not_asked_for_an_order(classes: tuple[str, ...]) -> None:
    asked = board([finished("a", "one", 2.0, 0), finished("b", "one", 1.2, 2)], classes).secondary
    assert "not AI-READI's four" in asked.not_asked
    assert asked.runs[0].first_class is asked.runs[0].last_class is asked.runs[0].order is None
    assert asked.runs[0].slope.value is not None
    page = to_html(document(("a", "b"), ("one",), classes, collapsed=0))
    assert "not AI-READI" in page
    assert "Somers" not in page


def test_nothing_is_asked_where_nothing_is_ranked() -> None:
    made = document(("a",), ("one",), collapsed=1)
    assert made["secondary"]["runs"] == []
    assert 'id="secondary"' not in to_html(made)


def test_the_csv_has_the_answers_of_those_that_were_asked(made: Leaderboard) -> None:
    rows = {row["run_id"]: row for row in csv.DictReader(io.StringIO(to_csv(made)))}
    best, other = rows[entry("a", "one").run_id], rows[entry("a", "two").run_id]
    answers = made.secondary.runs[0]
    assert answers.last_class is not None
    assert float(best["auroc_last_class_low"]) == answers.last_class.low
    assert float(best["recalibration_slope"]) == answers.slope.value
    assert float(best[f"recalibration_intercept_{LONG_CLASSES[3]}_high"]) == answers.intercepts[3].high
    assert other["somers_d"] == other["brier_skill_low"] == ""


def test_the_page_says_what_the_order_is_and_is_not() -> None:
    made = document()
    page = to_html(made)
    assert "ordered by treatment, not by severity" in page
    assert "healthy against all others" in page
    assert "insulin has 1 participant; 3 are needed" in page
    assert "recalibration slope is" in to_supplement(made)
    changed: dict[str, Any] = copy.deepcopy(made)
    for one in changed["secondary"]["runs"]:
        one["slope"] = {
            "value": None,
            "low": None,
            "high": None,
            "reason": "the probabilities separate the classes",
        }
    assert "No slope: the probabilities separate the classes." in to_html(changed)


def test_none_asked_is_what_a_board_without_runs_holds() -> None:
    assert board([Outcome(entry("a"))]).secondary == Secondary(METRIC, "", ())
