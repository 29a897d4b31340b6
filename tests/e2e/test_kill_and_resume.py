"""Whatever strikes a run, whenever: started again, it ends with the result of an undisturbed one."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles.tiny_sweep import prepared, uri_of
from doubles.trainers import Trainers

from octjob.records.layout import PREDICTIONS, RESULT, read_progress, read_result, run_key
from octjob.run.job import run_job
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.storage.file import FileStore
from octjob.train.joint import Joint

pytestmark = pytest.mark.slow

NUM_KILLS = 10
SLOWEST_ANSWER_S = 5.0

PROBE: dict[str, Any] = {
    "train.epochs": 25,
    "train.class_weights": "auto",
    "data.batch_size": 4,
    "data.augment.flip": True,
    "model.head.dropout": 0.3,
}
FINETUNE: dict[str, Any] = {
    "train.epochs": 4,
    "train.early_stopping": {"enabled": True, "patience": 2, "holdout": 0.2},
    "data.batch_size": 4,
    "data.augment": {"flip": True, "rotation": True, "random_crop": True, "intensity_jitter": True},
    "model": {"freeze_encoder": False, "unfreeze_at_epoch": 1, "head": {"hidden": 8, "dropout": 0.3}},
}


@pytest.fixture(scope="module")
def trainers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainers]:
    made = Trainers(tmp_path_factory.mktemp("log") / "train.log")
    yield made
    made.close()


@dataclass(frozen=True)
class Case:
    """A run that was left alone, and how much it had to do."""

    folder: Path
    store: ObjectStore
    run: Run
    num_events: int

    def again(self, folder: Path) -> tuple[ObjectStore, Run]:
        """The same run in a folder of its own: the same inputs, another output and cache."""
        store, (run,) = prepared(
            self.folder,
            {self.run.config_name: _overrides(self.run)},
            output=f"{folder}/out",
            seeds=list(self.run.seeds),
            folds=self.run.folds,
        )
        assert run.run_id == self.run.run_id
        return store, run


def _overrides(run: Run) -> dict[str, Any]:
    return PROBE if run.config_name == "probe" else FINETUNE


def undisturbed(folder: Path, trainers: Trainers, name: str, folds: int) -> Case:
    overrides = PROBE if name == "probe" else FINETUNE
    store, (run,) = prepared(folder, {name: overrides}, seeds=[1, 2], folds=folds)
    ended = trainers.attempt(run)
    assert ended["exit"] == 0, trainers.log.read_text()
    return Case(folder, store, run, ended["events"])


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory, trainers: Trainers) -> Case:
    return undisturbed(tmp_path_factory.mktemp("probe"), trainers, "probe", folds=0)


@pytest.fixture(scope="module")
def finetune(tmp_path_factory: pytest.TempPathFactory, trainers: Trainers) -> Case:
    return undisturbed(tmp_path_factory.mktemp("finetune"), trainers, "finetune", folds=2)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    made: Case = request.getfixturevalue(request.param)
    return made


both = pytest.mark.parametrize("case", ["probe", "finetune"], indirect=True)


def assert_same(store: ObjectStore, case: Case) -> None:
    """The same predictions, byte for byte, the same result but for times and attempts, the same history."""
    key = run_key(case.run.run_id, PREDICTIONS)
    assert store.get(key) == case.store.get(key)
    found, expected = (read_result(each, case.run.run_id) for each in (store, case.store))
    assert found is not None
    assert expected is not None
    for part in ("evaluation", "train", "training", "data", "checkpoint_report", "environment"):
        assert getattr(found, part) == getattr(expected, part), part
    for name in ("history.jsonl", *weights_of(case)):
        key = run_key(case.run.run_id, name)
        assert store.get(key) == case.store.get(key), name


def weights_of(case: Case) -> list[str]:
    prefix = f"runs/{case.run.run_id}/"
    keys = [info.key.removeprefix(prefix) for info in case.store.list(f"{prefix}checkpoint/")]
    found = [key for key in keys if key.endswith(".safetensors")]
    assert len(found) == 2 * len(case.run.seeds) * max(1, case.run.folds)
    return found


@both
def test_killed_at_ten_random_moments_the_run_ends_with_the_same_result(
    case: Case, trainers: Trainers, tmp_path: Path
) -> None:
    store, run = case.again(tmp_path)
    # Moments that add up to less than the whole work: no luck can finish the run before the tenth kill.
    shares = np.random.default_rng(20250827).dirichlet(np.ones(NUM_KILLS) * 4)
    moments = [max(1, int(share * 0.9 * case.num_events)) for share in shares]
    for moment in moments:
        assert trainers.attempt(run, moment)["exit"] == -signal.SIGKILL
        assert not store.exists(run_key(run.run_id, RESULT))
    assert trainers.attempt(run)["exit"] == 0, trainers.log.read_text()
    assert_same(store, case)
    result = read_result(store, run.run_id)
    assert result is not None
    assert result.attempts == NUM_KILLS + 1


def test_encoding_killed_midway_keeps_its_shards_and_is_taken_over(
    probe: Case, trainers: Trainers, tmp_path: Path
) -> None:
    """Volumes encoded before a SIGTERM are not encoded again; a SIGKILL's lease does not hold the run up."""
    store, run = probe.again(tmp_path)
    assert trainers.attempt(run, 20, signal.SIGTERM)["exit"] == 75
    assert trainers.attempt(run, 10, signal.SIGKILL)["exit"] == -signal.SIGKILL
    cache = FileStore(run.cache)
    assert any(info.key.endswith(".sealed") for info in cache.list("features/"))
    left = trainers.attempt(run)
    assert left["exit"] == 0
    assert left["events"] < probe.num_events
    assert_same(store, probe)


@both
@pytest.mark.parametrize(
    ("number", "share"), [(signal.SIGTERM, 0.2), (signal.SIGINT, 0.7), (signal.SIGHUP, 0.5)]
)
def test_a_polite_signal_is_answered_with_75_and_the_state_saved(
    case: Case, trainers: Trainers, tmp_path: Path, number: int, share: float
) -> None:
    store, run = case.again(tmp_path)
    answer = trainers.attempt(run, int(share * case.num_events), number)
    assert answer["exit"] == 75, trainers.log.read_text()
    assert answer["answered_s"] < SLOWEST_ANSWER_S
    progress = read_progress(store, run.run_id)
    assert progress is not None
    assert progress.stage == "interrupted"
    assert not store.exists(run_key(run.run_id, RESULT))
    again = trainers.attempt(run)
    assert again["exit"] == 0
    # What was done is not done again, but for what every attempt starts with.
    assert again["events"] < case.num_events
    assert_same(store, case)


@pytest.mark.parametrize(
    ("case", "damaged"),
    [("probe", "newer"), ("probe", "older"), ("probe", "both"), ("finetune", "newer")],
    indirect=["case"],
)
def test_damaged_resume_state_falls_back_to_the_other_generation(
    case: Case, trainers: Trainers, tmp_path: Path, damaged: str
) -> None:
    store, run = case.again(tmp_path)
    for share in (0.5, 0.2):
        assert trainers.attempt(run, int(share * case.num_events), signal.SIGTERM)["exit"] == 75
    keys = [run_key(run.run_id, f"checkpoint/resume-{i}.pt") for i in range(2)]
    keys.sort(key=lambda key: int(store.head(key).version.partition("-")[0]))
    for key in {"older": keys[:1], "newer": keys[1:], "both": keys}[damaged]:
        data = store.get(key)
        store.put(key, data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    assert trainers.attempt(run)["exit"] == 0, trainers.log.read_text()
    assert_same(store, case)


class Killed(BaseException):
    """Stands for SIGKILL at one exact write."""


@pytest.mark.parametrize(
    ("case", "name"), [("probe", PREDICTIONS), ("probe", RESULT), ("finetune", RESULT)], indirect=["case"]
)
def test_killed_between_predictions_and_result(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The last two writes of a run: neither, or one of them, has happened."""
    store, run = case.again(tmp_path)
    real = FileStore.put

    def put(self: FileStore, key: str, data: bytes, **options: Any) -> str:
        if struck or key.endswith(name):
            struck.append(key)
            raise Killed
        return real(self, key, data, **options)

    struck: list[str] = []
    monkeypatch.setattr(FileStore, "put", put)
    with pytest.raises(Killed):
        run_job(uri_of(run), lambda progress: None)
    monkeypatch.undo()
    assert store.exists(run_key(run.run_id, PREDICTIONS)) == (name == RESULT)
    assert not store.exists(run_key(run.run_id, RESULT))
    # In this process again: to another one the heartbeat would say that this attempt is alive, as it is.
    run_job(uri_of(run), lambda progress: None)
    assert_same(store, case)


def test_a_state_of_units_that_went_together_otherwise_is_not_continued(
    probe: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an octjob leaves it that trains one head after the other: they begin again, and so does their history."""
    store, run = probe.again(tmp_path)
    real = Joint._end_epoch

    def end_epoch(self: Joint, *args: Any) -> Any:
        if self.epoch == 3:
            raise Killed
        return real(self, *args)

    monkeypatch.setattr(Joint, "name", property(lambda self: self.units[0].name))
    monkeypatch.setattr(Joint, "_end_epoch", end_epoch)
    with pytest.raises(Killed):
        run_job(uri_of(run), lambda progress: None)
    monkeypatch.undo()
    assert store.exists(run_key(run.run_id, "history.jsonl"))
    run_job(uri_of(run), lambda progress: None)
    assert_same(store, probe)


def test_a_finished_run_is_left_alone(probe: Case, trainers: Trainers) -> None:
    before = {info.key: info.version for info in probe.store.list()}
    ended = trainers.attempt(probe.run)
    assert (ended["exit"], ended["events"]) == (0, 0)
    assert {info.key: info.version for info in probe.store.list()} == before


def test_a_cohort_that_changed_under_a_half_finished_run_stops_it(
    finetune: Case, trainers: Trainers, tmp_path: Path
) -> None:
    shutil.copytree(finetune.folder, tmp_path, dirs_exist_ok=True)
    store, (run,) = prepared(
        tmp_path, {"finetune": FINETUNE}, output=f"{tmp_path}/fresh", seeds=[1, 2], folds=2
    )
    assert trainers.attempt(run, finetune.num_events // 2, signal.SIGTERM)["exit"] == 75
    table = tmp_path / "bucket/participants.tsv"
    lines = table.read_text().splitlines(keepends=True)
    moved = next(i for i, line in enumerate(lines) if "\ttrain\t" in line)
    lines[moved] = lines[moved].replace("\ttrain\t", "\tval\t")
    table.write_text("".join(lines))
    assert trainers.attempt(run)["exit"] == 3
    progress = read_progress(store, run.run_id)
    assert progress is not None
    assert progress.failure is not None
    assert "cohort changed since an earlier attempt" in progress.failure.message
    assert not store.exists(run_key(run.run_id, RESULT))
