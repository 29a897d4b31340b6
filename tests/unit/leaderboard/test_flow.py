"""The participant flow of a sweep: what the results recorded, and who stands in the predictions."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from typing import Any

from doubles.boards import FLOW, document, predictions, record, recorded
from doubles.sweep_results import entry, outcome

from octjob.leaderboard.board import build_leaderboard
from octjob.leaderboard.export import to_json
from octjob.leaderboard.outcome import Outcome
from octjob.report.page import to_html

ENTRIES = [entry("good", "logistic"), entry("good", "probe"), entry("untrained", "logistic")]


def runs() -> list[Outcome]:
    return [recorded(outcome(one, predictions(1.0, number))) for number, one in enumerate(ENTRIES)]


def with_flow(one: Outcome, flow: Any) -> Outcome:
    assert one.scored is not None
    result = one.scored.result.model_copy(update={"data": {"flow": flow}})
    return replace(one, scored=replace(one.scored, result=result))


def board(outcomes: list[Outcome]) -> dict[str, Any]:
    sweep = record(ENTRIES, ("a", "b", "c", "d"), "demo", None)
    made: dict[str, Any] = json.loads(to_json(build_leaderboard(sweep, outcomes, num_draws=200)))
    return made


def test_runs_of_one_selection_share_a_flow_that_ends_in_their_predictions() -> None:
    (flow,) = board(runs())["flows"]
    assert (flow["num_runs"], sorted(flow["configs"])) == (3, ["logistic", "probe"])
    assert flow["listed"] == FLOW["listed"]
    # Two seeds of 65 participants, one volume each: counted once.
    assert flow["scored"] == {"val": [65, 65, 65]}


def test_another_selection_has_a_flow_of_its_own_behind_that_of_most_runs() -> None:
    first, *others = runs()
    other = copy.deepcopy(FLOW)
    other["steps"][3]["reason"] = "device not selected"
    found = board([with_flow(first, other), *others])["flows"]
    assert [(flow["num_runs"], flow["steps"][3]["reason"]) for flow in found] == [
        (2, "laterality not selected"),
        (1, "device not selected"),
    ]
    page = to_html(board([with_flow(first, other), *others]))
    assert "device not selected" in page
    assert len(re.findall('class="drawing"', page)) == 2


def test_results_without_a_flow_or_of_another_version_are_no_error() -> None:
    for flow in (None, {}, {**FLOW, "schema": "octjob.flow/9"}, {**FLOW, "listed": {"val": [1]}}):
        assert board([with_flow(one, flow) for one in runs()])["flows"] == []
    assert "Not recorded by these runs" in to_html(document(("good",), ("a", "b"), records=False))


def test_the_numbers_of_the_drawing_stand_in_its_table() -> None:
    page = to_html(board(runs()))
    drawing = page[page.index('class="drawing"') : page.index("</svg>", page.index('class="drawing"'))]
    table = page[page.index("</svg>", page.index('class="drawing"')) :].split("</table>")[0]
    assert re.findall(r">(283|148|65) · \d+ vol\.<", drawing) == ["283", "148", "65", "65"]
    cells = set(re.findall(r"\d+", " ".join(re.findall(r"<td>([^<]+)</td>", table))))
    drawn = set(re.findall(r"\d+", " ".join(re.findall(r"<text[^>]*>([^<]+)</text>", drawing))))
    # What is left of the test split, which no run uses, is the difference of a column.
    assert drawn - cells == {"136"}
