"""The leaderboard to look at: in colour in a terminal, as stable plain text in a pipe."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from octjob.results.columns import Column, cells, main_columns, wide_columns
from octjob.results.export import remarks
from octjob.results.leaderboard import STATES, Leaderboard, State
from octjob.results.textgrid import column_widths, fitted_names, grid, num_fitting

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 110
# rank, checkpoint, config, state and the metric ranked by are never dropped.
_NUM_KEPT = 5
_NAMES = (1, 2)
_MAX_REMARKS = 12
_STYLES: dict[State, str] = {
    "ok": "green",
    "suspicious": "magenta",
    "chance": "yellow",
    "collapsed": "bold red",
    "interrupted": "cyan",
    "running": "cyan",
    "failed": "bold red",
    "missing": "dim",
}


def to_text(leaderboard: Leaderboard, *, wide: bool = False) -> str:
    """The table and what is below it: ASCII borders, no escape codes, at most `WIDTH` columns unless wide."""
    columns, rows = _table(leaderboard, wide)
    lines = [title(leaderboard), ""]
    lines += grid([column.header for column in columns], rows, [column.right for column in columns])
    for section in below(leaderboard, wide=wide):
        lines += ["", *(line for text in section for line in _wrapped(text))]
    return "\n".join(lines) + "\n"


def print_rich(leaderboard: Leaderboard, console: Console, *, wide: bool = False) -> None:
    """The same in colour."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    columns, rows = _table(leaderboard, wide)
    table = Table(box=SIMPLE_HEAD, title=title(leaderboard), title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column.header, justify="right" if column.right else "left", no_wrap=not wide)
    for row, texts in zip(leaderboard.rows, rows, strict=True):
        # Text, not markup: "[0.61, 0.80]" must not be read as a style.
        styles = [_STYLES[row.state] if column.header in ("rank", "state") else "" for column in columns]
        table.add_row(*(Text(text, style=style) for text, style in zip(texts, styles, strict=True)))
    # A narrower terminal wraps the lines itself; rich would drop the ends of cells.
    console.print(table, width=max(console.width, WIDTH), no_wrap=True, crop=False, overflow="ignore")
    for section, style in zip(below(leaderboard, wide=wide), ("yellow", "", "dim"), strict=True):
        for text in section:
            console.print(Text("\n".join(_wrapped(text)), style=style))


def title(leaderboard: Leaderboard) -> str:
    """The sweep, what is ranked by, and how many runs are in which state."""
    counts = {state: len(leaderboard.in_state(state)) for state in STATES}
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    ns = sorted({row.n for row in leaderboard.rows if row.n is not None})
    scored = f", n = {' and '.join(map(str, ns))}" if ns else ""
    return f"{leaderboard.sweep}: ranked by {leaderboard.metric}{scored} ({states})"


def below(leaderboard: Leaderboard, *, wide: bool) -> tuple[list[str], list[str], list[str]]:
    """Warnings, remarks on rows (all of them if wide), footnotes."""
    of_rows = [remarks(row) for row in leaderboard.rows]
    shown = [text for texts in of_rows for text in (texts if wide else texts[:1])]
    if not wide and len(shown) > _MAX_REMARKS:
        rest = len(shown) - _MAX_REMARKS
        shown = [*shown[:_MAX_REMARKS], f"... and {rest} more rows; `-o wide` shows every reason."]
    return list(leaderboard.warnings), shown, list(leaderboard.footnotes)


def _table(leaderboard: Leaderboard, wide: bool) -> tuple[list[Column], list[list[str]]]:
    columns = wide_columns(leaderboard) if wide else main_columns(leaderboard)
    headers = [column.header for column in columns]
    rows = [cells(row, columns) for row in leaderboard.rows]
    if wide:
        return columns, rows
    num_columns = num_fitting(column_widths(headers, rows), WIDTH, _NUM_KEPT)
    rows = fitted_names(headers[:num_columns], [row[:num_columns] for row in rows], _NAMES, WIDTH)
    return columns[:num_columns], rows


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
