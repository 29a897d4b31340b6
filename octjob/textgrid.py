"""Aligned plain text: ASCII, no colour, one line per row; what a pipe, a log or a test sees."""

from __future__ import annotations

from collections.abc import Sequence

GAP = "  "
MIN_NAME = 12


def grid(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool] | None = None
) -> list[str]:
    """Header, rule and rows, every column as wide as its widest cell."""
    right = right or [False] * len(headers)
    clean = [[text.replace("\n", " ") for text in row] for row in rows]
    widths = column_widths(headers, clean)
    lines = [headers, ["-" * width for width in widths], *clean]
    return [
        GAP.join(
            text.rjust(width) if flush else text.ljust(width)
            for text, width, flush in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]


def column_widths(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """The width of each column's widest text."""
    return [max(len(text) for text in column) for column in zip(headers, *rows, strict=True)]


def span(headers: Sequence[str], rows: Sequence[Sequence[str]], index: int) -> tuple[int, int]:
    """Where a column of the grid begins and ends in each line."""
    widths = column_widths(headers, rows)
    start = sum(widths[:index]) + len(GAP) * index
    return start, start + widths[index]


def num_fitting(widths: Sequence[int], limit: int, at_least: int) -> int:
    """How many columns from the left fit in `limit` characters, never fewer than `at_least`."""
    total = 0
    for count, width in enumerate(widths):
        total += width + (len(GAP) if count else 0)
        if total > limit and count >= at_least:
            return count
    return len(widths)


def shortened(text: str, width: int) -> str:
    """The text with its middle left out, so that what tells names apart at either end stays."""
    if len(text) <= width:
        return text
    head = (width - 2) // 2
    return f"{text[:head]}..{text[len(text) - (width - 2 - head) :]}"


def fitted_names(
    headers: Sequence[str], rows: Sequence[Sequence[str]], names: Sequence[int], limit: int
) -> list[list[str]]:
    """The rows with the columns `names` shortened, the widest first, until a line fits in `limit`."""
    widths = column_widths(headers, rows)
    while sum(widths) + len(GAP) * (len(widths) - 1) > limit:
        widest = max(names, key=widths.__getitem__)
        if widths[widest] <= max(MIN_NAME, len(headers[widest])):
            break
        widths[widest] -= 1
    return [
        [shortened(text, widths[k]) if k in names else text for k, text in enumerate(row)] for row in rows
    ]
