"""The leaderboard to look at: in colour in a terminal, as stable plain text in a pipe."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from octjob.leaderboard.board import Leaderboard
from octjob.leaderboard.caption import worth
from octjob.leaderboard.columns import Column, cells, lift_columns, main_columns, wide_columns
from octjob.leaderboard.export import remarks
from octjob.leaderboard.forest import ASCII, BOX, MAX_WIDTH, MIN_WIDTH, Glyphs, forest, legend
from octjob.leaderboard.rows import ORDER, RowVerdict
from octjob.records.state import RunState
from octjob.textgrid import GAP, MIN_NAME, column_widths, fitted_names, grid, num_fitting, span

if TYPE_CHECKING:
    from rich.console import Console

# Both questions' columns fit, and the intervals drawn.
WIDTH = 150
# Beyond it lines of text are hard to follow.
TEXT_WIDTH = 132
_MIN_WIDTH = 60
# rank, checkpoint, config, weights, state and the metric ranked by are never dropped.
_NUM_KEPT = 6
_NAMES = (1, 2)
_STATE = 4
_MAX_REMARKS = 12
_STYLES: dict[RowVerdict | RunState, str] = {
    "ok": "green",
    "control": "blue",
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
    columns, rows = _table(leaderboard, wide, WIDTH, ASCII)
    lines = [*_said(leaderboard, TEXT_WIDTH), title(leaderboard), "", *_grid(columns, rows)]
    for section in below(leaderboard, every_reason=wide, drawn=_is_drawn(columns)):
        if section:
            lines += ["", *(line for text in section for line in _wrapped(text, TEXT_WIDTH))]
    return "\n".join(lines) + "\n"


def print_rich(leaderboard: Leaderboard, console: Console, *, wide: bool = False) -> None:
    """The same in colour, fitted to the terminal; a wide table runs over its edge."""
    from rich.text import Text

    width = max(console.width, _MIN_WIDTH)
    glyphs = BOX if console.encoding.startswith("utf") else ASCII
    columns, rows = _table(leaderboard, wide, width, glyphs)
    headings, lines = _grid(columns, rows)[:2], _grid(columns, rows)[2:]
    start, end = span([column.header for column in columns], rows, _STATE)
    said = Text("\n".join(_said(leaderboard, min(width, TEXT_WIDTH))), "bold")
    console.print(
        said, Text(title(leaderboard)), "", Text("\n".join(headings), "dim"), sep="\n", soft_wrap=True
    )
    for row, line in zip(leaderboard.rows, lines, strict=True):
        styled = Text(line)
        styled.stylize(_STYLES[row.shown], start, end)
        console.print(styled, soft_wrap=True)
    sections = below(leaderboard, every_reason=wide, drawn=_is_drawn(columns))
    for section, style in zip(sections, ("yellow", "", "dim"), strict=True):
        if section:
            text = "\n".join(line for text in section for line in _wrapped(text, min(width, TEXT_WIDTH)))
            console.print("", Text(text, style), sep="\n", soft_wrap=True)


def title(leaderboard: Leaderboard) -> str:
    """The sweep, what is ranked by, and how many runs have which verdict or stand where."""
    shown = [row.shown for row in leaderboard.rows]
    states = ", ".join(f"{shown.count(word)} {word.replace('_', ' ')}" for word in ORDER if word in shown)
    ns = sorted({row.n for row in leaderboard.rows if row.n is not None})
    scored = f", n = {' and '.join(map(str, ns))}" if ns else ""
    return f"{leaderboard.sweep}: ranked by {leaderboard.metric}{scored} ({states or 'no runs'})"


def below(
    leaderboard: Leaderboard, *, every_reason: bool, drawn: bool
) -> tuple[list[str], list[str], list[str]]:
    """Warnings, remarks on rows, footnotes; without `every_reason` at most a dozen remarks.

    drawn: whether the table has the column that wants a legend.
    """
    shown = [text for row in leaderboard.rows for text in remarks(row, every_reason=every_reason)]
    if not every_reason and len(shown) > _MAX_REMARKS:
        rest = len(shown) - _MAX_REMARKS
        shown = [*shown[:_MAX_REMARKS], f"... and {rest} more remarks; `-o wide` shows them."]
    winner = leaderboard.selection_corrected
    notes = []
    if winner and winner.num_runs > 1:
        notes.append(worth(leaderboard.rows[0].name, leaderboard.metric, winner))
    notes += [legend(leaderboard)] if drawn else []
    return list(leaderboard.warnings), shown, [*notes, *leaderboard.footnotes]


def _is_drawn(columns: list[Column]) -> bool:
    return any(column.drawn for column in columns)


def _said(leaderboard: Leaderboard, width: int) -> list[str]:
    """The headline, with the minus of the table's numbers."""
    return _wrapped(leaderboard.headline.text.replace("\u2212", "-"), width)


def _table(
    leaderboard: Leaderboard, wide: bool, width: int, glyphs: Glyphs
) -> tuple[list[Column], list[list[str]]]:
    columns = wide_columns(leaderboard) if wide else _with_forest(leaderboard, width, glyphs)
    headers = [column.header for column in columns]
    rows = [cells(row, columns) for row in leaderboard.rows]
    if wide:
        return columns, rows
    # Names can be shortened, so they do not count in full towards what fits; but only a comparison is worth it.
    widths = column_widths(headers, rows)
    least = [min(size, MIN_NAME) if k in _NAMES else size for k, size in enumerate(widths)]
    in_full = max(_num_asked(leaderboard), num_fitting(widths, width, _NUM_KEPT))
    num_columns = min(in_full, num_fitting(least, width, _NUM_KEPT))
    rows = fitted_names(headers[:num_columns], [row[:num_columns] for row in rows], _NAMES, width)
    return columns[:num_columns], rows


def _with_forest(leaderboard: Leaderboard, width: int, glyphs: Glyphs) -> list[Column]:
    """The intervals drawn beside the metric, where they fit without costing a name or a comparison anything."""
    columns = main_columns(leaderboard)
    before = columns[: _num_asked(leaderboard)]
    rows = [cells(row, before) for row in leaderboard.rows]
    taken = sum(column_widths([column.header for column in before], rows)) + len(GAP) * len(before)
    if not any(row.metrics for row in leaderboard.rows) or width - taken < MIN_WIDTH:
        return columns
    drawn = forest(leaderboard, min(MAX_WIDTH, width - taken), glyphs)
    return [*columns[:_NUM_KEPT], drawn, *columns[_NUM_KEPT:]]


def _num_asked(leaderboard: Leaderboard) -> int:
    """The columns that are kept, and what the sweep asks beside them: its comparisons and its lift."""
    references = (leaderboard.baseline, leaderboard.baseline_config)
    return _NUM_KEPT + sum(one is not None for one in references) + len(lift_columns(leaderboard))


def _grid(columns: list[Column], rows: list[list[str]]) -> list[str]:
    return grid([column.header for column in columns], rows, [column.right for column in columns])


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
