"""The decisions, read from their pages, and the page that lists them.

A decision is `docs/decisions/NNNN-words.md`: a title with its number, a date, perhaps the decision it
supersedes or is superseded by, then Context, Decision, Alternatives and, where there are any, Consequences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

from docs.problem import ProblemError

_HEAD = re.compile(
    r"# (?P<number>\d{4}) (?P<title>[^\n]+)\n\nDate: (?P<date>\d{4}-\d\d-\d\d)\."
    r"( (?P<state>Supersede[sd](?: by)? \[\d{4}\]\([^)\s]+\)\.))?\n\n"
)
_PARTS = ("Context", "Decision", "Alternatives")


class DecisionError(ProblemError):
    """A page that has not the form of a decision."""


@dataclass(frozen=True)
class Decision:
    """What the list says of a decision; `state` is empty, or says what it supersedes or is superseded by."""

    file: str
    number: str
    title: str
    date: date
    state: str


def read_decision(path: Path) -> Decision:
    """Raises `DecisionError` naming the file and what it lacks."""
    text, where = path.read_text(), f"docs/decisions/{path.name}"
    head = _HEAD.match(text)
    if head is None:
        raise DecisionError(f"{where}: begin with `# NNNN Title`, an empty line and `Date: YYYY-MM-DD.`")
    if head["number"] != path.name[:4]:
        raise DecisionError(f"{where}: its title has the number {head['number']}")
    places = [text.find(f"\n**{part}.**") for part in _PARTS]
    for part, place in zip(_PARTS, places, strict=True):
        if place < 0:
            raise DecisionError(f"{where}: no paragraph begins with **{part}.**")
    if places != sorted(places):
        raise DecisionError(f"{where}: {', '.join(_PARTS)} stand in another order")
    try:
        day = date.fromisoformat(head["date"])
    except ValueError as error:
        raise DecisionError(f"{where}: {head['date']}: {error}") from None
    return Decision(path.name, head["number"], head["title"], day, head["state"] or "")


def read_decisions(folder: Path) -> list[Decision]:
    """All of them, by number. Raises `DecisionError` for one without its form and for a number given twice."""
    decisions = [read_decision(path) for path in sorted(folder.glob("[0-9]*.md"))]
    for before, decision in pairwise(decisions):
        if before.number == decision.number:
            raise DecisionError(
                f"docs/decisions/{before.file}, {decision.file}: one number for two decisions"
            )
    return decisions


def decisions_page(decisions: Sequence[Decision]) -> str:
    """The list, newest last."""
    rows = [
        f"| [{one.number}]({one.file}) | {one.title} | {one.date.isoformat()} | {one.state} |"
        for one in decisions
    ]
    return "\n".join(
        [
            "# Decisions",
            "",
            "What others will question later, with what was turned down. How to add one:",
            "[contributing](../../CONTRIBUTING.md#decisions).",
            "",
            "| | decision | date | |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )
