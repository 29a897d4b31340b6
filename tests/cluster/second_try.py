"""A plugin for pytest that says of a run with `--last-failed` what passed now: these tests needed the second try."""

from __future__ import annotations

import pytest
from _pytest.terminal import TerminalReporter


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("lf"):
        return
    passed = [one.nodeid for one in terminalreporter.getreports("passed") if one.when == "call"]
    if passed:
        terminalreporter.write_line(f"needed the second try: {', '.join(passed)}", yellow=True)
