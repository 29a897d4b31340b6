"""Decisions have one form: number, date, context, decision, alternatives."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from docs import generate
from docs.adr import DecisionError, decisions_page, read_decision, read_decisions

FOLDER = Path(__file__).parents[3] / "docs/decisions"
GOOD = """\
# 0042 What was decided

Date: 2026-11-29. Supersedes [0007](0007-unranked-rows.md).

**Context.** It was so.

**Decision.** It is so.

**Alternatives.** None was tried.
"""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("0*.md")), ids=lambda path: path.name[:4])
def test_every_decision_has_the_form(path: Path) -> None:
    read_decision(path)


def test_supersession_is_told_on_both_pages() -> None:
    decisions = {one.number: one for one in read_decisions(FOLDER)}
    assert decisions
    for one in decisions.values():
        for verb, other in re.findall(r"^(Superseded by|Supersedes) \[(\d{4})\]", one.state):
            back = "Supersedes" if verb == "Superseded by" else "Superseded by"
            assert decisions[other].state.startswith(f"{back} [{one.number}]"), one.file


def write(folder: Path, text: str, name: str = "0042-what.md") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_index_tells_number_title_date_and_state(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    row = (
        "| [0042](0042-what.md) | What was decided | 2026-11-29 | Supersedes [0007](0007-unranked-rows.md). |"
    )
    assert row in decisions_page(read_decisions(tmp_path)).splitlines()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("# 0042 ", "# 0042: ", "begin with"),
        ("# 0042 ", "# 0043 ", "number 0043"),
        ("Date: 2026-11-29.", "2026-11-29.", "begin with"),
        ("2026-11-29", "2026-11-31", "day is out of range"),
        ("**Alternatives.** None was tried.\n", "", r"Alternatives"),
        ("**Context.**", "Context.", r"Context"),
        (
            "**Decision.** It is so.\n\n**Alternatives.** None was tried.",
            "**Alternatives.** None.\n\n**Decision.** It is.",
            "order",
        ),
    ],
)
def test_a_page_without_the_form_is_an_error_that_names_it(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    assert before in GOOD
    with pytest.raises(DecisionError, match=rf"0042-what\.md.*{said}"):
        read_decision(write(tmp_path, GOOD.replace(before, after)))


def test_a_number_given_twice_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, GOOD, "0042-other.md")
    with pytest.raises(DecisionError, match=r"0042-other\.md, 0042-what\.md"):
        read_decisions(tmp_path)


def test_a_page_without_the_form_is_one_error_line_of_make_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FOLDER.parent, tmp_path / "docs")
    write(tmp_path / "docs/decisions", "# 0042: Something\n")
    monkeypatch.setattr(generate, "DOCS", tmp_path / "docs")
    monkeypatch.setattr("sys.argv", ["generate"])
    assert generate.main() == 1
    assert re.fullmatch(r"error: docs/decisions/0042-what\.md: begin with .*\n", capsys.readouterr().err)
