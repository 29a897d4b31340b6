"""The leaderboard to look at: in colour in a terminal, as stable plain text in a pipe."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from octjob.leaderboard.board import Leaderboard
from octjob.leaderboard.columns import Column, cells, main_columns, wide_columns
from octjob.leaderboard.export import remarks
from octjob.leaderboard.rows import ORDER, RowVerdict
from octjob.records.state import RunState
from octjob.textgrid import MIN_NAME, column_widths, fitted_names, grid, num_fitting, span

if TYPE_CHECKING:
    from rich.console import Console

# Both questions' columns fit.
WIDTH = 132
_MIN_WIDTH = 60
# rank, checkpoint, config, weights, state and the metric ranked by are never dropped.
_NUM_KEPT = 6
_NAMES = (1, 2)
_STATE = 4
_MAX_REMARKS = 12
_STYLES: dict[RowVerdict | RunState, str] = {
    "ok": "green",
    "no_signal": "yellow",
    "collapsed": "bold red",
    "Unreadable": "bold red",
    "Interrupted": "cyan",
    "Running": "cyan",
    "Failed": "bold red",
    "Pending": "dim",
}


def to_text(leaderboard: Leaderboard, *, wide: bool = False) -> str:
    """The table and what is below it: ASCII, no escape codes, at most `WIDTH` columns unless wide."""
    columns, rows = _table(leaderboard, wide, WIDTH)
    lines = [title(leaderboard), *_wrapped(leaderboard.caption, WIDTH), "", *_grid(columns, rows)]
    for section in below(leaderboard, every_reason=wide):
        if section:
            lines += ["", *(line for text in section for line in _wrapped(text, WIDTH))]
    return "\n".join(lines) + "\n"


def print_rich(leaderboard: Leaderboard, console: Console, *, wide: bool = False) -> None:
    """The same in colour, fitted to the terminal; a wide table runs over its edge."""
    from rich.text import Text

    width = max(console.width, _MIN_WIDTH)
    columns, rows = _table(leaderboard, wide, width)
    headings, lines = _grid(columns, rows)[:2], _grid(columns, rows)[2:]
    start, end = span([column.header for column in columns], rows, _STATE)
    said = Text("\n".join(_wrapped(leaderboard.caption, min(width, WIDTH))), "bold")
    console.print(
        Text(title(leaderboard), "bold"), said, "", Text("\n".join(headings), "dim"), sep="\n", soft_wrap=True
    )
    for row, line in zip(leaderboard.rows, lines, strict=True):
        styled = Text(line)
        styled.stylize(_STYLES[row.shown], start, end)
        console.print(styled, soft_wrap=True)
    for section, style in zip(below(leaderboard, every_reason=wide), ("yellow", "", "dim"), strict=True):
        if section:
            text = "\n".join(line for text in section for line in _wrapped(text, min(width, WIDTH)))
            console.print("", Text(text, style), sep="\n", soft_wrap=True)


def title(leaderboard: Leaderboard) -> str:
    """The sweep, what is ranked by, and how many runs have which verdict or stand where."""
    shown = [row.shown for row in leaderboard.rows]
    states = ", ".join(f"{shown.count(word)} {word.replace('_', ' ')}" for word in ORDER if word in shown)
    ns = sorted({row.n for row in leaderboard.rows if row.n is not None})
    scored = f", n = {' and '.join(map(str, ns))}" if ns else ""
    return f"{leaderboard.sweep}: ranked by {leaderboard.metric}{scored} ({states or 'no runs'})"


def below(leaderboard: Leaderboard, *, every_reason: bool) -> tuple[list[str], list[str], list[str]]:
    """Warnings, remarks on rows, footnotes; without `every_reason` at most a dozen remarks."""
    shown = [text for row in leaderboard.rows for text in remarks(row, every_reason=every_reason)]
    if not every_reason and len(shown) > _MAX_REMARKS:
        rest = len(shown) - _MAX_REMARKS
        shown = [*shown[:_MAX_REMARKS], f"... and {rest} more remarks; `-o wide` shows them."]
    return list(leaderboard.warnings), shown, list(leaderboard.footnotes)


def _table(leaderboard: Leaderboard, wide: bool, width: int) -> tuple[list[Column], list[list[str]]]:
    columns = wide_columns(leaderboard) if wide else main_columns(leaderboard)
    headers = [column.header for column in columns]
    rows = [cells(row, columns) for row in leaderboard.rows]
    if wide:
        return columns, rows
    # Names can be shortened, so they do not count in full towards what fits.
    widths = column_widths(headers, rows)
    least = [min(size, MIN_NAME) if k in _NAMES else size for k, size in enumerate(widths)]
    num_columns = num_fitting(least, width, _NUM_KEPT)
    rows = fitted_names(headers[:num_columns], [row[:num_columns] for row in rows], _NAMES, width)
    return columns[:num_columns], rows


def _grid(columns: list[Column], rows: list[list[str]]) -> list[str]:
    return grid([column.header for column in columns], rows, [column.right for column in columns])


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
