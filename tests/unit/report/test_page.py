"""The page as text: whatever a name is, it is shown and nothing else; what cannot be compared is said."""

from __future__ import annotations

import copy
import csv
import io
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from doubles.boards import LONG_CLASSES, document, predictions, record
from doubles.sweep_results import outcome
from hypothesis import given, settings
from hypothesis import strategies as st

from octjob.leaderboard.board import build_leaderboard
from octjob.leaderboard.export import to_csv, to_markdown
from octjob.leaderboard.latex import to_latex
from octjob.records.schema import RunEntry
from octjob.report.page import to_html
from octjob.report.scale import scale_over
from octjob.report.supplement import to_supplement

# What is renamed, wherever a document says it: no other word holds them.
NAMED = re.compile("zz-(sweep|checkpoint|config|class)")


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    classes = (LONG_CLASSES[0], "zz-class", *LONG_CLASSES[2:])
    return document(
        ("zz-checkpoint", "untrained"), ("logistic", "zz-config"), classes, "zz-sweep", collapsed=1
    )


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


def renamed(part: Any, name: str) -> Any:
    """The board with sweep, checkpoint, configuration and class called so, in every sentence and key."""
    if isinstance(part, str):
        return NAMED.sub(lambda _: name, part)
    if isinstance(part, dict):
        return {renamed(key, name): renamed(value, name) for key, value in part.items()}
    return [renamed(one, name) for one in part] if isinstance(part, list) else part


ORDINARY = "ordinary-name"
HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x>",
    "\u202edesrever\u202c",
    "=1+1",
    "x" * 60,
    "{{ 7*7 }}",
    "&amp;",
    "a|b`c`[d](javascript:e)*f*",
    "\\",
    "two\nlines\r\nand\u2028one",
]
ACTIVE_HTML = re.compile(r"(?<!\\)<[a-zA-Z/!]")
ACTIVE_LINK = re.compile(r"(?<!\\)\]\(")
BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")


def pipes(line: str) -> int:
    """Those that divide cells: no odd number of backslashes before them."""
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_in_its_cell_of_the_supplement(board: dict[str, Any], name: str) -> None:
    plain, hostile = (to_supplement(renamed(board, one)) for one in (ORDINARY, name))
    fenced = re.compile(r"^```yaml\n.*?\n```$", re.DOTALL | re.MULTILINE)
    one, other = (fenced.sub("", text).split("\n") for text in (plain, hostile))
    assert [pipes(line) for line in one] == [pipes(line) for line in other]
    text = "\n".join(other)
    assert not ACTIVE_HTML.search(text)
    assert not ACTIVE_LINK.search(text)
    assert not BIDI.search(text)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_in_its_cell_of_the_table(name: str) -> None:
    """CSV that a spreadsheet opens, and Markdown."""
    entries = [
        RunEntry(run_id=f"{k}", checkpoint=checkpoint, config=name)
        for k, checkpoint in enumerate((name, "other"))
    ]
    outcomes = [outcome(one, predictions(1.5, k)) for k, one in enumerate(entries)]
    classes = (*LONG_CLASSES[:3], name)
    board = build_leaderboard(record(entries, classes, name, "other"), outcomes, num_draws=50)
    rows = list(csv.DictReader(io.StringIO(to_csv(board))))
    assert len(rows) == 2
    for row in rows:
        texts = [row["checkpoint"], row["config"]]
        assert not any(text.startswith(("=", "+", "-", "@", "\t")) for text in texts)
        assert re.sub(r"\s+", " ", row["config"].removeprefix("'")) == re.sub(r"\s+", " ", name)
    markdown = to_markdown(board)
    table = [line for line in markdown.split("\n") if line.startswith("|")]
    assert len(table) == 4
    assert len({pipes(line) for line in table}) == 1
    assert not ACTIVE_HTML.search(markdown)
    assert not ACTIVE_LINK.search(markdown)
    assert not BIDI.search(markdown)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text(board: dict[str, Any], name: str) -> None:
    plain, hostile = (read(to_html(renamed(board, one))) for one in (ORDINARY, name))
    assert hostile.tags == plain.tags
    num_shown = sum(ORDINARY in text for text in plain.texts)
    assert num_shown > 40
    # YAML may write a name in its own way; in every other place it stands as it is.
    assert sum(name in text for text in hostile.texts) >= num_shown


@settings(max_examples=60, deadline=None)
@given(name=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=70))
def test_any_name_adds_no_tag(board: dict[str, Any], name: str) -> None:
    plain, hostile = (read(to_html(renamed(board, one))) for one in (ORDINARY, name))
    assert hostile.tags == plain.tags


@settings(max_examples=60, deadline=None)
@given(name=st.text(min_size=1, max_size=70))
def test_any_name_stays_in_its_latex_cell(board: dict[str, Any], name: str) -> None:
    plain, hostile = (to_latex(renamed(board, one)) for one in (ORDINARY, name))
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
