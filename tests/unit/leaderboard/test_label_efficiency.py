"""The metric by share of the training participants: from results to the board and the page."""

from __future__ import annotations

from typing import Any

import pytest
from doubles.boards import document, predictions, record, recorded
from doubles.sweep_results import entry, outcome

from octjob.evaluate import by_participant, compute_metrics
from octjob.leaderboard.board import Leaderboard, build_leaderboard
from octjob.leaderboard.details import details
from octjob.leaderboard.export import to_json
from octjob.leaderboard.outcome import Outcome
from octjob.records.parts import LABEL_EFFICIENCY, Part, parts_facts
from octjob.report.page import to_html

METRIC = "macro_auroc"
SKILLS = {0.1: (0.4, 0.8, 0.6), 0.5: (1.0, 1.2, 1.1), 1.0: (1.6,)}
PEOPLE = {0.1: 24, 0.5: 85, 1.0: 170}


def learned(checkpoint: str, seed: int, **changes: Any) -> Outcome:
    """A run whose draws are as good as `SKILLS` says; the whole is its own predictions."""
    whole = predictions(1.6, seed)
    parts = [
        Part(share, draw, whole if share == 1 else predictions(skill, 100 + seed + draw))
        for share, skills in SKILLS.items()
        for draw, skill in enumerate(skills)
    ]
    facts = parts_facts(parts, {(part.share, part.draw): PEOPLE[part.share] for part in parts}, "participant")
    made = recorded(outcome(entry(checkpoint), whole))
    assert made.scored is not None
    data = {**made.scored.result.data, LABEL_EFFICIENCY: {**facts, **changes}}
    scored = made.scored.__class__(
        made.scored.result.model_copy(update={"data": data}),
        made.scored.evaluation,
        made.scored.predictions,
        made.scored.scores,
    )
    return Outcome(made.entry, scored)


def board(*outcomes: Outcome) -> Leaderboard:
    classes = ("a", "b", "c", "d")
    return build_leaderboard(
        record([one.entry for one in outcomes], classes, "demo", None), outcomes, num_draws=50
    )


def test_a_share_is_the_mean_of_its_draws_with_their_range() -> None:
    made = board(learned("good", 0), learned("other", 5))
    assert [one.run_id for one in made.label_efficiency] == [row.run_id for row in made.rows]
    curve = next(one for one in made.label_efficiency if one.run_id == entry("good").run_id)
    values = [
        compute_metrics(by_participant(predictions(skill, 100 + k)))[METRIC]
        for k, skill in enumerate(SKILLS[0.1])
    ]
    first, last = curve.points[0], curve.points[-1]
    assert (first.share, first.participants, first.draws) == (0.1, 24, 3)
    assert (first.value, first.lowest, first.highest) == pytest.approx(
        (sum(values) / 3, min(values), max(values)), abs=1e-12
    )
    row = next(row for row in made.rows if row.run_id == curve.run_id)
    assert (last.share, last.value) == (1.0, pytest.approx(row.value(METRIC), abs=1e-12))
    assert last.lowest == last.highest == last.value


def test_a_run_without_parts_or_of_another_version_has_no_curve() -> None:
    made = board(
        learned("good", 0, schema="octjob.label_efficiency/9"), outcome(entry("plain"), predictions(1.2, 5))
    )
    assert made.label_efficiency == ()
    assert document(("good",), ("a",), collapsed=0)["label_efficiency"] == []


def test_the_page_has_a_row_a_checkpoint_and_a_column_a_share() -> None:
    import json

    page = to_html(json.loads(to_json(board(learned("good", 0), learned("other", 5)))))
    section = page[page.index('id="labels"') :].partition("</section>")[0]
    assert "n = 24" in section
    assert "mean over 3 draws" in section
    assert section.count("<tr>") == 3
    assert 'id="labels"' not in to_html(document(("good",), ("a",), collapsed=0))


def test_curves_by_epoch_are_of_models_trained_on_everyone() -> None:
    made = outcome(entry("good"), predictions(1.6, 0))
    assert made.scored is not None
    rows = board(made).rows
    lines = [{"epoch": 0, "fold": 0, "eval/balanced_accuracy": 0.6}]
    lines += [{"epoch": 0, "fold": 1, "share": 0.1, "eval/balanced_accuracy": 0.2}]
    found = details(rows, {made.entry.run_id: made.scored}, METRIC, {made.entry.run_id: lines})
    assert found[0].curve is not None
    assert found[0].curve.evaluated == (0.6,)
