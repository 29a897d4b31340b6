"""A grid's runs in one process: the first trains the heads of all, and each run is what it is by itself."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from doubles.tiny_sweep import prepared
from doubles.trainers import Trainers
from e2e.test_bundle import what_it_left

from octjob.records.layout import RESULT, run_key
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore

pytestmark = pytest.mark.slow

SHARED: dict[str, Any] = {
    "train.epochs": 6,
    "data.batch_size": 12,
    "data.augment.flip": True,
    "model.head": {"hidden": 6, "dropout": 0.3},
}
CONFIGS: dict[str, dict[str, Any]] = {
    **{f"lr{n}": {**SHARED, "train.lr_head": rate} for n, rate in enumerate((0.001, 0.02, 0.1))},
    "decayed": {**SHARED, "train.weight_decay": 0.2, "train.class_weights": "auto"},
    "stopped": {**SHARED, "train.early_stopping": {"enabled": True, "patience": 1}, "train.lr_head": 0.1},
    # Its steps are others: it trains by itself.
    "longer": {**SHARED, "train.epochs": 8},
}
SWEEP: dict[str, Any] = {"seeds": [1, 2]}


@dataclass(frozen=True)
class Alone:
    """The runs, each by itself, and how much each had to do."""

    folder: Path
    store: ObjectStore
    runs: tuple[Run, ...]
    num_events: tuple[int, ...]

    def again(self, folder: Path) -> tuple[ObjectStore, tuple[Run, ...]]:
        """The same runs with an output and a cache of their own."""
        return prepared(self.folder, CONFIGS, output=f"{folder}/out", **SWEEP)


@pytest.fixture(scope="module")
def trainers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainers]:
    made = Trainers(tmp_path_factory.mktemp("log") / "train.log")
    yield made
    made.close()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, trainers: Trainers) -> Alone:
    folder = tmp_path_factory.mktemp("alone")
    store, runs = prepared(folder, CONFIGS, **SWEEP)
    ended = [trainers.attempt(run) for run in runs]
    assert {each["exit"] for each in ended} == {0}, trainers.log.read_text()
    return Alone(folder, store, runs, tuple(each["events"] for each in ended))


def assert_same(store: ObjectStore, runs: tuple[Run, ...], alone: Alone) -> None:
    for run in runs:
        assert what_it_left(store, run) == what_it_left(alone.store, run), run.run_id


def test_heads_of_a_grid_train_together(alone: Alone, trainers: Trainers, tmp_path: Path) -> None:
    """With the bytes of each by itself, and the steps of one."""
    store, runs = alone.again(tmp_path)
    before = len(trainers.log.read_text())
    ended = trainers.attempt(runs)
    text = trainers.log.read_text()[before:]
    assert ended["exit"] == 0, text
    assert_same(store, runs, alone)
    assert "8 heads of 4 runs that come later train beside these" in text
    assert text.count(f"trained beside run {runs[0].run_id}") == 4
    steps = SHARED["train.epochs"] * 2
    assert sum(alone.num_events) - ended["events"] >= 3 * steps


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("generation", [1, 0])
def test_a_grid_that_was_killed_while_it_trained_goes_on_to_the_same_bytes(
    alone: Alone, trainers: Trainers, tmp_path: Path, number: int, generation: int
) -> None:
    """From the first or the second state of the first run's own heads; whoever trains beside whom then."""
    store, runs = alone.again(tmp_path)
    before = len(trainers.log.read_text())
    state = f"{runs[0].run_id}/checkpoint/resume-{generation}.pt"
    assert trainers.attempt(runs, state, number)["exit"] == (75 if number == signal.SIGTERM else -number)
    text = trainers.log.read_text()[before:]
    assert "train beside these" in text
    assert "trained beside run" not in text
    ended = trainers.attempt(runs)
    assert ended["exit"] == 0, trainers.log.read_text()
    assert_same(store, runs, alone)


def test_a_grid_whose_process_died_between_two_runs_goes_on(
    alone: Alone, trainers: Trainers, tmp_path: Path
) -> None:
    """What was done ahead is lost, and done again in other company."""
    store, runs = alone.again(tmp_path)
    assert trainers.attempt(runs, f"{runs[1].run_id}/{RESULT}", signal.SIGKILL)["exit"] != 0
    assert not store.exists(run_key(runs[2].run_id, RESULT))
    assert trainers.attempt(runs[2:])["exit"] == 0, trainers.log.read_text()
    assert_same(store, runs[2:], alone)


def test_a_run_that_diverges_fails_by_itself(alone: Alone, trainers: Trainers, tmp_path: Path) -> None:
    """Its loss is its own error; those beside it do not notice."""
    wild = {
        **SHARED,
        "train.epochs": 30,
        "train.optimizer": "SGD",
        "train.lr_head": 1e6,
        "train.weight_decay": 1e6,
    }
    tame = {**SHARED, "train.epochs": 30, "train.optimizer": "SGD", "train.lr_head": 0.01}
    store, runs = prepared(
        alone.folder,
        {"tame": tame, "wild": wild, "tamer": {**tame, "train.lr_head": 0.02}},
        output=f"{tmp_path}/out",
        **SWEEP,
    )
    before = len(trainers.log.read_text())
    assert trainers.attempt(runs)["exit"] == 5
    text = trainers.log.read_text()[before:]
    assert f"1 of 3 runs failed: {runs[1].run_id} (exit 3)" in text
    assert "not finite" in text
    assert [store.exists(run_key(run.run_id, RESULT)) for run in runs] == [True, False, True]
