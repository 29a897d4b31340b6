"""Counts of what an attack met, summed over all processes of pytest and printed at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

Count = Callable[[str, str], None]


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Count:
    """`count("checkpoints", "refused")`: one more of these."""
    return lambda what, outcome: record_property("attack", (what, outcome))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: dict[str, Counter[str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for name, value in report.user_properties:
                if name == "attack":
                    counts.setdefault(value[0], Counter())[value[1]] += 1
    for what, outcomes in sorted(counts.items()):
        terminalreporter.write_line(f"{what}: {outcomes.total()} attacks")
        for outcome, number in outcomes.most_common():
            terminalreporter.write_line(f"  {number:6} {outcome}")
