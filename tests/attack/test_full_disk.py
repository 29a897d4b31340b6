"""A disk that is full from any one change on: one clear error, nothing lost, and the same command then goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from doubles.octjobs import Ended

from octjob.records.layout import PREDICTIONS, RESULT, run_key
from octjob.spec.run import Run

from .conftest import Count
from .sweeps import SEED, Sweeps, leftovers, of_run, stored, submitted_run

NUM_OF_RUN, NUM_OF_CACHE, NUM_OF_COLLECT = 12, 6, 8
pytestmark = pytest.mark.timeout(280)


def assert_one_error(ended: Ended) -> None:
    """Exit 4, and one line that names what is full, with one that helps."""
    assert ended.exit == 4, ended.said
    errors = [line for line in ended.said.splitlines() if line.startswith("error: ")]
    hints = [line for line in ended.said.splitlines() if line.startswith("hint: ")]
    assert len(errors) == len(hints) == 1, ended.said
    assert "No space left on device" in errors[0]
    assert "/" in errors[0]


def result_of(path: Path, run: Run) -> bytes | None:
    file = path.parent / "out/tiny" / run_key(run.run_id, RESULT)
    return file.read_bytes() if file.exists() else None


def reset(path: Path, run: Run) -> None:
    """Let the run begin anew, without anything cached."""
    here = path.parent / "out/tiny/runs" / run.run_id
    for item in here.iterdir():
        if item.name != "spec.json":
            shutil.rmtree(item) if item.is_dir() else item.unlink()
    for cache in (path.parent / "volumes", path.parent / "cache"):
        shutil.rmtree(cache, ignore_errors=True)


@pytest.mark.parametrize("config", ["probe", "finetune"])
def test_a_run_ends_with_one_error_and_then_continues_to_the_same_result(
    sweeps: Sweeps, undisturbed: Path, count: Count, config: str
) -> None:
    path, run = submitted_run(sweeps, f"full-{config}", config)
    everywhere = path.parent
    whole = sweeps.run(path, "train", "--run", sweeps.uri(run), below=everywhere)
    assert whole.exit == 0, whole.said
    rng = np.random.default_rng(SEED)
    for at in sorted(rng.choice(np.arange(1, whole.changes + 1), NUM_OF_RUN, replace=False).tolist()):
        reset(path, run)
        ended = sweeps.run(path, "train", "--run", sweeps.uri(run), below=everywhere, full_at=at)
        finished = result_of(path, run)
        if finished is None:
            assert_one_error(ended)
            count("full disk under a run", "one error, exit 4")
        else:
            assert ended.exit == 0, ended.said
            count("full disk under a run", "finished all the same")
        assert sweeps.run(path, "train", "--run", sweeps.uri(run)).exit == 0
        assert finished is None or result_of(path, run) == finished
        found = path.parent / "out/tiny" / run_key(run.run_id, PREDICTIONS)
        assert found.read_bytes() == of_run(undisturbed, run, PREDICTIONS)
        assert leftovers(everywhere) == []


@pytest.mark.parametrize(("config", "cache"), [("probe", "cache"), ("finetune", "volumes")])
def test_a_full_cache_is_done_without(
    sweeps: Sweeps, undisturbed: Path, count: Count, config: str, cache: str
) -> None:
    path, run = submitted_run(sweeps, f"full-cache-{config}", config)
    below = path.parent / cache
    rng = np.random.default_rng(SEED)
    for at in (1, *sorted(rng.integers(2, 30, NUM_OF_CACHE - 1).tolist())):
        reset(path, run)
        ended = sweeps.run(path, "train", "--run", sweeps.uri(run), below=below, full_at=at)
        assert ended.exit == 0, ended.said
        found = path.parent / "out/tiny" / run_key(run.run_id, PREDICTIONS)
        assert found.read_bytes() == of_run(undisturbed, run, PREDICTIONS)
        said = "No space left on device" in ended.said
        count(f"full cache of a {config}", "done without" if said else "full only after all was kept")
        assert leftovers(below) == []


def test_collect_ends_with_one_error_and_its_table_is_never_half_written(
    sweeps: Sweeps, undisturbed: Path, count: Count
) -> None:
    whole = sweeps.run(undisturbed, "collect", undisturbed, below=undisturbed.parent)
    assert whole.exit == 0
    before = stored(undisturbed)
    rng = np.random.default_rng(SEED)
    for at in sorted(rng.choice(np.arange(1, whole.changes), NUM_OF_COLLECT, replace=False).tolist()):
        ended = sweeps.run(undisturbed, "collect", undisturbed, below=undisturbed.parent, full_at=at)
        if ended.exit:
            assert_one_error(ended)
        count("full disk under collect", "one error, exit 4" if ended.exit else "all was written before")
        assert stored(undisturbed) == before
    assert leftovers(undisturbed.parent) == []


def test_the_launcher_says_so_and_the_next_one_finishes(
    sweeps: Sweeps, undisturbed: Path, count: Count
) -> None:
    """Before it has started anything; what its runs meet is theirs."""
    expected = sweeps.table(undisturbed)
    path = sweeps.at("full-launcher")
    for at in (1, 5, 12, 20):
        assert_one_error(
            sweeps.run(path, "submit", "-f", path, "--target", "local", below=path.parent, full_at=at)
        )
        count("full disk under submit", "one error, exit 4")
    assert sweeps.run(path, "submit", "-f", path, "--target", "local").exit == 0
    assert sweeps.table(path) == expected
    assert leftovers(path.parent) == []
