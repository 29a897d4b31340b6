"""A plain list of rows: aligned columns, bold headings on a terminal only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

import click


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], file: TextIO) -> None:
    """Columns padded to their widest cell, two spaces between, as kubectl prints."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    for number, line in enumerate(lines):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        click.echo(click.style(text, bold=number == 0), file=file)
