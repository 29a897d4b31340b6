"""The hosts of a slice carry a run out together: the same result as one host's, and one end for all."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles.tiny_sweep import prepared, uri_of
from doubles.trainers import Trainers

from octjob.records.layout import PREDICTIONS, SPEC, read_progress, read_result, run_key
from octjob.records.predictions import read_predictions
from octjob.run.job import run_job
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore

pytestmark = pytest.mark.slow

CONFIGS: dict[str, dict[str, Any]] = {
    # Batches of 3 leave one of four hosts with nothing but padding; the last batch has 2.
    "probe": {
        "train.epochs": 5,
        "data.batch_size": 3,
        "train.class_weights": "auto",
        "data.augment.flip": True,
    },
    "finetune": {
        "train.epochs": 6,
        "train.accumulate": 2,
        "data.batch_size": 3,
        "data.augment.flip": True,
        "model": {"freeze_encoder": False, "unfreeze_at_epoch": 1},
    },
    "logistic": {"train.optimizer": "LBFGS"},
}


@dataclass(frozen=True)
class Alone:
    """Runs that one host carried out, in a folder whose data others may read."""

    folder: Path
    store: ObjectStore
    runs: tuple[Run, ...]

    def again(self, folder: Path) -> tuple[ObjectStore, dict[str, Run]]:
        """The same runs with an output and a cache of their own."""
        store, runs = prepared(self.folder, CONFIGS, output=f"{folder}/out")
        return store, {run.config_name: run for run in runs}


@pytest.fixture(scope="module")
def trainers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainers]:
    made = Trainers(tmp_path_factory.mktemp("log") / "train.log")
    yield made
    made.close()


def said(trainers: Trainers) -> str:
    return trainers.log.read_text(errors="replace")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    folder = tmp_path_factory.mktemp("alone")
    store, runs = prepared(folder, CONFIGS)
    for run in runs:
        run_job(uri_of(run), lambda progress: None)
    return Alone(folder, store, runs)


def assert_agrees(store: ObjectStore, alone: Alone, run: Run, atol: float = 2e-5) -> None:
    """Predictions within rounding, and the metrics of the same predictions."""
    found, expected = read_predictions(store, run.run_id), read_predictions(alone.store, run.run_id)
    assert found.participant.tolist() == expected.participant.tolist()
    np.testing.assert_allclose(found.logits_NK, expected.logits_NK, atol=atol)
    results = [read_result(each, run.run_id) for each in (store, alone.store)]
    one, other = (result.evaluation["metrics"] for result in results if result is not None)
    for name, value in other.items():
        if isinstance(value, float):
            assert one[name] == pytest.approx(value, abs=1e-4), name


def features(run: Run) -> list[str]:
    """Shards in the run's cache."""
    folder = Path(run.cache.removeprefix("file://")) / "features"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.sealed"))


@pytest.mark.parametrize("config", CONFIGS)
def test_four_hosts_end_as_one(alone: Alone, trainers: Trainers, tmp_path: Path, config: str) -> None:
    store, runs = alone.again(tmp_path)
    run = runs[config]
    assert trainers.attempt(run, hosts=4)["exits"] == [0, 0, 0, 0], said(trainers)
    assert_agrees(store, alone, run)
    result = read_result(store, run.run_id)
    assert result is not None
    assert (result.environment["runtime"], result.environment["num_hosts"]) == ("group", 4)
    assert len(list(store.list(f"runs/{run.run_id}/logs/"))) == 4
    if config == "probe":
        # Each encoded its share of both views. How many rounds it takes, and whether each host has some of both views
        # in every one, hangs on how long the first took.
        assert len(features(run)) >= 2 * 4


def test_a_signal_to_one_host_stops_all_with_one_state(
    alone: Alone, trainers: Trainers, tmp_path: Path
) -> None:
    straight_store, runs = alone.again(tmp_path / "straight")
    run = runs["finetune"]
    straight = trainers.attempt(run, hosts=4, struck=2)
    assert straight["exits"] == [0, 0, 0, 0], said(trainers)

    store, runs = alone.again(tmp_path / "stopped")
    run = runs["finetune"]
    stopped = trainers.attempt(run, straight["events"] // 2, signal.SIGTERM, hosts=4, struck=2)
    assert stopped["exits"] == [75, 75, 75, 75], said(trainers)
    progress = read_progress(store, run.run_id)
    assert progress is not None
    assert progress.stage == "interrupted"
    # Continued by as many, it is the uninterrupted run, byte for byte.
    assert trainers.attempt(run, hosts=4)["exits"] == [0, 0, 0, 0], said(trainers)
    key = run_key(run.run_id, PREDICTIONS)
    assert store.get(key) == straight_store.get(key)


def test_another_number_of_hosts_continues(alone: Alone, trainers: Trainers, tmp_path: Path) -> None:
    store, runs = alone.again(tmp_path)
    run = runs["finetune"]
    assert trainers.attempt(run, "resume-1.pt", signal.SIGTERM, hosts=4)["exits"] == [75] * 4, said(trainers)
    assert trainers.attempt(run, hosts=2)["exits"] == [0, 0], said(trainers)
    assert_agrees(store, alone, run)


@pytest.mark.parametrize("lost", [0, 3])
def test_a_host_that_dies_ends_the_attempt_at_once(
    alone: Alone, trainers: Trainers, tmp_path: Path, lost: int
) -> None:
    store, runs = alone.again(tmp_path)
    run = runs["finetune"]
    ended = trainers.attempt(run, 8, signal.SIGKILL, hosts=4, struck=lost)
    # Far less than an operation's patience.
    assert ended["answered_s"] < 60
    assert ended["exits"] == [-signal.SIGKILL if host == lost else 75 for host in range(4)], said(trainers)
    assert "has lost another one" in said(trainers)
    assert trainers.attempt(run, hosts=4)["exits"] == [0, 0, 0, 0], said(trainers)
    assert_agrees(store, alone, run)


def test_the_hosts_end_with_the_error_of_the_one_that_failed(
    alone: Alone, trainers: Trainers, tmp_path: Path
) -> None:
    store, runs = alone.again(tmp_path)
    run = runs["probe"]
    key = run_key(run.run_id, SPEC)
    spec = json.loads(store.get(key))
    # Only host 0 reads the participants.
    spec["config"]["data"]["min_coverage"] = 1.0
    spec["config"]["data"]["sites"] = ["UW", "Atlantis"]
    store.put(key, json.dumps(spec).encode())
    before = len(said(trainers))
    assert trainers.attempt(run, hosts=4)["exits"] == [2, 2, 2, 2], said(trainers)
    assert said(trainers)[before:].count("Atlantis") >= 4
    assert not store.exists(run_key(run.run_id, "result.json"))
