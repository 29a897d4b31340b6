"""Counts of what an attack met, summed over all processes of pytest and printed at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from doubles.octjobs import Octjobs
from doubles.tiny_sweep import fill_bucket, save_checkpoint

from .sweeps import Sweeps

Count = Callable[[str, str], None]


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Count:
    """`count("checkpoints", "refused")`: one more of these."""
    return lambda what, outcome: record_property("attack", (what, outcome))


@pytest.fixture(scope="session")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweeps]:
    folder = tmp_path_factory.mktemp("kills")
    fill_bucket(folder / "bucket").write()
    save_checkpoint(folder / "a.pt", 1)
    save_checkpoint(folder / "b.pt", 2)
    with Octjobs(folder) as octjob:
        yield Sweeps(folder, octjob)


@pytest.fixture(scope="session")
def undisturbed(sweeps: Sweeps) -> Path:
    path = sweeps.at("undisturbed")
    ended = sweeps.run(path, "submit", "-f", path, "--target", "local")
    assert ended.exit == 0, ended.said
    return path


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
