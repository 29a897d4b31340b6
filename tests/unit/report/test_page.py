"""The page as text: whatever a name is, it is shown and nothing else; what cannot be compared is said."""

from __future__ import annotations

import copy
from html.parser import HTMLParser
from typing import Any

import pytest
from doubles.boards import document
from hypothesis import given, settings
from hypothesis import strategies as st

from octjob.leaderboard.latex import to_latex
from octjob.report.page import to_html
from octjob.report.scale import scale_over


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    return document(("good", "untrained"), ("logistic", "probe"), collapsed=1)


class Read(HTMLParser):
    """Tags in their order, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(page: str) -> Read:
    found = Read()
    found.feed(page)
    return found


def renamed(board: dict[str, Any], name: str) -> dict[str, Any]:
    """The board with one checkpoint, one configuration, one class, reasons and the sweep called so."""
    changed = copy.deepcopy(board)
    for row in changed["rows"]:
        if row["checkpoint"] == "good":
            row["checkpoint"] = name
        if row["config"] == "probe":
            row["config"] = name
        row["reasons"] = [name] if row["reasons"] else []
    for one in changed["checkpoints"]["checkpoints"]:
        one["name"] = name if one["name"] == "good" else one["name"]
        one["same_weights"] = [name]
    for made in changed["feature_maps"]:
        made["checkpoint"] = name if made["checkpoint"] == "good" else made["checkpoint"]
        made["devices"] = [name, *made["devices"][1:]]
    for pair in changed["checkpoints"]["pairs"]:
        pair |= {key: name for key in ("first", "second") if pair[key] == "good"}
    changed["flows"][0]["steps"][0]["reason"] = name
    changed["class_short_names"][1] = name
    changed["sweep"] = name
    changed["headline"]["parts"][-1]["text"] = name
    return changed


HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x>",
    "\u202edesrever\u202c",
    "=1+1",
    "x" * 60,
    "{{ 7*7 }}",
    "&amp;",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text(board: dict[str, Any], name: str) -> None:
    plain, hostile = (read(to_html(renamed(board, one))) for one in ("plain", name))
    assert hostile.tags == plain.tags
    assert sum(name in text for text in hostile.texts) >= sum("plain" in text for text in plain.texts)


@settings(max_examples=60, deadline=None)
@given(name=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=70))
def test_any_name_adds_no_tag(board: dict[str, Any], name: str) -> None:
    plain, hostile = (read(to_html(renamed(board, one))) for one in ("plain", name))
    assert hostile.tags == plain.tags


@settings(max_examples=60, deadline=None)
@given(name=st.text(min_size=1, max_size=70))
def test_any_name_stays_in_its_latex_cell(board: dict[str, Any], name: str) -> None:
    plain, hostile = (to_latex(renamed(board, one)) for one in ("plain", name))
    assert hostile.count("\n") == plain.count("\n")
    for line in hostile.splitlines():
        if line.endswith(r"\\"):
            assert len(line.replace(r"\&", "").split("&")) == 5


def test_the_page_is_a_function_of_the_document(board: dict[str, Any]) -> None:
    assert to_html(board) == to_html(copy.deepcopy(board))


def test_without_a_baseline_nothing_is_called_a_lift(board: dict[str, Any]) -> None:
    changed = copy.deepcopy(board)
    changed["baseline"] = None
    for row in changed["rows"]:
        row["vs_checkpoint"] = None
    assert "the sweep names no baseline checkpoint" in to_html(changed)


def test_runs_without_a_result_are_listed_with_their_state(board: dict[str, Any]) -> None:
    changed = copy.deepcopy(board)
    changed["rows"][-1] |= {
        "metrics": None,
        "rank": None,
        "state": "Failed",
        "verdict": "",
        "error": "out of memory",
    }
    changed["details"] = [one for one in changed["details"] if one["run_id"] != changed["rows"][-1]["run_id"]]
    text = "".join(read(to_html(changed)).texts)
    assert "Without a result" in text
    assert "Failed: out of memory" in text


@given(st.lists(st.floats(-2, 2), max_size=30), st.floats(-1, 1), st.floats(0.01, 1))
def test_an_axis_holds_its_values_and_names_a_few(values: list[float], least: float, width: float) -> None:
    scale = scale_over(values, least, least + width)
    assert all(0 < scale.at(value) < 100 for value in [*values, least, least + width])
    assert len(scale.ticks) <= 7
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)
