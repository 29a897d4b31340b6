"""The trace in docs/architecture.md is what a run really passes on its way to the first optimizer step."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.frames import MODES, frames_to_step

ROOT = Path(__file__).parents[2]


def told(mode: str) -> list[str]:
    text = (ROOT / "docs/architecture.md").read_text()
    rows = [row for part in ("all", mode) for row in rows_of(text.partition(f"<!-- trace: {part} -->")[2])]
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    return [name for _, name in rows]


def rows_of(text: str) -> list[tuple[str, str]]:
    """Number and function of each row of the table that the text begins with."""
    table = text.strip().partition("\n\n")[0]
    return re.findall(r"^\| (\d+) \| `([\w/.]+\.py:[\w.]+)` \|", table, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_trace_in_the_architecture_page_is_a_real_runs(mode: str) -> None:
    assert [str(frame) for frame in frames_to_step(ROOT, mode)] == told(mode)
