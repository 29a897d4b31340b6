"""Folders removed under a run: one clear error or none, never a result that is not the run's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from octjob.records.layout import PREDICTIONS, RESULT, run_key

from .conftest import Count
from .sweeps import SEED, Sweeps, leftovers, of_run, submitted_run

NUM_REMOVED = 6
pytestmark = pytest.mark.timeout(280)


@pytest.mark.parametrize("what", ["out/tiny/runs", "out/tiny", "cache", "volumes"])
def test_a_run_ends_with_one_error_or_its_own_result(
    sweeps: Sweeps, undisturbed: Path, count: Count, what: str
) -> None:
    config = "finetune" if what == "volumes" else "probe"
    rng = np.random.default_rng(SEED)
    for number in range(NUM_REMOVED):
        path, run = submitted_run(sweeps, f"removed-{Path(what).name}-{number}", config)
        ended = sweeps.run(
            path,
            *("train", "--run", sweeps.uri(run)),
            remove=path.parent / what,
            remove_after_s=rng.uniform(0.1, 0.8),
        )
        errors = [line for line in ended.said.splitlines() if line.startswith("error: ")]
        assert ended.exit == 4 if errors else ended.exit == 0, ended.said
        assert len(errors) <= 1
        of_output = what.startswith("out")
        assert of_output or not errors, "a cache is filled again"
        there = path.parent / "out/tiny"
        outcome = "one error, exit 4" if errors else "finished"
        if (there / run_key(run.run_id, RESULT)).exists():
            predictions = there / run_key(run.run_id, PREDICTIONS)
            if predictions.exists():
                assert predictions.read_bytes() == of_run(undisturbed, run, PREDICTIONS)
            else:
                # Removed in the instant between its last two files; in the table such a run is Unreadable.
                assert of_output
                outcome = "a result without predictions"
        count(f"{what} removed under a run", outcome)
        assert leftovers(path.parent) == []
        shutil.rmtree(path.parent)


@pytest.mark.parametrize("what", ["out/tiny", "out/tiny/logs", "."])
def test_the_launcher_ends_and_the_next_one_carries_all_out(
    sweeps: Sweeps, undisturbed: Path, count: Count, what: str
) -> None:
    expected = sweeps.table(undisturbed)
    rng = np.random.default_rng(SEED)
    path = sweeps.at(f"removed-launcher-{Path(what).name}")
    kept = path.rename(sweeps.folder / "kept.yaml")
    ended = sweeps.run(
        path,
        *("submit", "-f", kept, "--target", "local", "--concurrency", 1),
        remove=path.parent / what,
        remove_after_s=rng.uniform(0.5, 1.5),
    )
    assert ended.exit in (0, 4, 5), ended.said
    assert len([line for line in ended.said.splitlines() if line.startswith("error: ")]) == (ended.exit != 0)
    count(f"{what} removed under submit", f"exit {ended.exit}")
    (path.parent / "tmp").mkdir(parents=True, exist_ok=True)
    kept.rename(path)
    assert sweeps.run(path, "submit", "-f", path, "--target", "local").exit == 0
    assert sweeps.table(path) == expected
