"""The trace in docs/architecture.md is what a run really passes on its way to the first optimizer step."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.frames import MODES, frames_to_step

ROOT = Path(__file__).parents[2]
TRAINER = {"probe": "ProbeTrainer", "fine-tuning": "FinetuneTrainer"}


def told(mode: str) -> list[str]:
    text = (ROOT / "docs/architecture.md").read_text().partition("<!-- trace -->")[2]
    rows = re.findall(r"^\| (\d+) \| `([\w/.]+\.py:[\w.]+)` \|", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    return [name.replace(TRAINER["probe"], TRAINER[mode]) for _, name in rows]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_trace_in_the_architecture_page_is_a_real_runs(mode: str) -> None:
    assert [str(frame) for frame in frames_to_step(ROOT, mode)] == told(mode)
