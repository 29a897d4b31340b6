"""Two launchers on one sweep, two runs on one feature cache: every run once, every table right."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from octjob.records.layout import PREDICTIONS, read_progress, run_key
from octjob.storage.file import FileStore
from octjob.storage.temporary import remove_dead

from .conftest import Count
from .sweeps import Sweeps, leftovers, of_run, submitted_run

pytestmark = pytest.mark.timeout(280)


@pytest.mark.parametrize("killed_after_s", [None, 0.5, 1.0, 1.5])
def test_two_launchers_share_a_sweep_and_one_takes_over_from_the_other(
    sweeps: Sweeps, undisturbed: Path, count: Count, killed_after_s: float | None
) -> None:
    """Killed or not, the first makes the second fail nothing; no run is carried out by both."""
    path = sweeps.at(f"two-launchers-{killed_after_s}")
    command = ["submit", "-f", str(path), "--target", "local", "--concurrency", "2"]
    strike = {} if killed_after_s is None else {"kill_after_s": killed_after_s}
    ended = sweeps.run(path, *command, beside=command, **strike)
    # On a fast machine it may be done before it is killed.
    assert ended.exit in (0, -signal.SIGKILL) if killed_after_s else ended.exit == 0, ended.said
    assert ended.beside == 0, ended.said
    assert sweeps.table(path) == sweeps.table(undisturbed)
    store = FileStore(f"{path.parent}/out/tiny")
    attempts = []
    for run_id in sorted(
        info.key.split("/")[1] for info in store.list("runs/") if info.key.endswith("/spec.json")
    ):
        progress = read_progress(store, run_id)
        assert progress is not None
        attempts.append(progress.attempt)
    assert max(attempts) <= (1 if killed_after_s is None else 2)
    count(
        "two launchers on one sweep",
        "both right" if ended.exit == 0 else "one killed, the other right",
    )
    # What the killed one was writing while the other had already looked goes with the next start that writes there.
    for folder in {left.parent for left in leftovers(path.parent)} if ended.exit else ():
        remove_dead(folder)
    assert leftovers(path.parent) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("at", [2, 5, 8, 10])
def test_the_holder_of_a_feature_lease_is_struck_and_another_run_goes_on(
    sweeps: Sweeps, undisturbed: Path, count: Count, number: signal.Signals, at: int
) -> None:
    """A stopped holder that goes on later repeats what the other wrote, and conflicts with nothing."""
    path, first = submitted_run(sweeps, f"two-runs-{number.name}-{at}", "probe", checkpoint="a")
    _, second = submitted_run(sweeps, f"two-runs-{number.name}-{at}", "other", checkpoint="a")
    ended = sweeps.run(
        path,
        *("train", "--run", sweeps.uri(first)),
        beside=["train", "--run", sweeps.uri(second)],
        below=path.parent / "cache",
        kill_at=at,
        signal=int(number),
        lease_s=1.0,
    )
    assert ended.beside == 0, ended.said
    assert ended.changes >= at
    assert ended.exit == (0 if number == signal.SIGSTOP else -signal.SIGKILL), ended.said
    if ended.exit:
        assert sweeps.run(path, "train", "--run", sweeps.uri(first)).exit == 0
    for run in (first, second):
        found = path.parent / "out/tiny" / run_key(run.run_id, PREDICTIONS)
        assert found.read_bytes() == of_run(undisturbed, run, PREDICTIONS)
    count(f"{number.name} of a lease's holder", "the other run went on; both results right")
    assert leftovers(path.parent) == []
