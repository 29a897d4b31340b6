"""Pieces of Markdown from texts and numbers of others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from octjob.errors import one_line

Json = Mapping[str, Any]

NOT_RECORDED = "not recorded"
_SPECIAL = re.compile(r"([\\`*\[\]<>|])")


def plain(text: str) -> str:
    """A text that means itself in Markdown, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(one_line(text).split()))


def number(value: float | None) -> str:
    """Three digits; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def interval(estimate: Json) -> str:
    """`0.839 to 0.890`, a dash where there is none."""
    if estimate["low"] is None or estimate["high"] is None:
        return "–"
    return f"{estimate['low']:.3f} to {estimate['high']:.3f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; cells are Markdown already."""
    return [
        f"| {' | '.join(header)} |",
        f"| {' | '.join('---' for _ in header)} |",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def fenced(text: str, language: str) -> list[str]:
    """A block of code that nothing in the text can end."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", text.rstrip("\n"), fence]
