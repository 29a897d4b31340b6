"""Several runs in one process: each is what it is in a process of its own, whatever becomes of the others."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from doubles.tiny_sweep import prepared, uri_of
from doubles.trainers import Trainers

from octjob.records.layout import PREDICTIONS, RESULT, SPEC, read_progress, read_result, run_key
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.storage.sealed import seal

pytestmark = pytest.mark.slow

CONFIGS: dict[str, dict[str, Any]] = {
    "probe": {
        "train.epochs": 12,
        "data.batch_size": 4,
        "data.augment.flip": True,
        "model.head.dropout": 0.3,
    },
    # In the middle what leaves most behind: it trains the encoder itself, with random augmentation.
    "finetune": {
        "train.epochs": 3,
        "data.batch_size": 4,
        "data.augment": {"flip": True, "rotation": True, "random_crop": True, "intensity_jitter": True},
        "model": {"freeze_encoder": False, "head": {"hidden": 8, "dropout": 0.3}},
    },
    "logistic": {"train.optimizer": "LBFGS", "train.standardize": True},
}
OF_TIME = {"started_at", "finished_at", "duration_s"}


@pytest.fixture(scope="module")
def trainers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainers]:
    made = Trainers(tmp_path_factory.mktemp("log") / "train.log")
    yield made
    made.close()


@dataclass(frozen=True)
class Apart:
    """Three runs, each of which had a process of its own, and how much each had to do."""

    folder: Path
    store: ObjectStore
    runs: tuple[Run, ...]
    num_events: tuple[int, ...]

    def again(self, folder: Path) -> tuple[ObjectStore, tuple[Run, ...]]:
        """The same runs with an output and a cache of their own."""
        store, runs = prepared(self.folder, CONFIGS, output=f"{folder}/out")
        assert [run.run_id for run in runs] == [run.run_id for run in self.runs]
        return store, runs


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory, trainers: Trainers) -> Apart:
    folder = tmp_path_factory.mktemp("apart")
    store, runs = prepared(folder, CONFIGS)
    ended = [trainers.attempt(run) for run in runs]
    assert [each["exit"] for each in ended] == [0, 0, 0], trainers.log.read_text()
    return Apart(folder, store, runs, tuple(each["events"] for each in ended))


def what_it_left(store: ObjectStore, run: Run) -> dict[str, Any]:
    """All that a finished run left for others to read, but for times and for how many attempts it took."""
    prefix = f"runs/{run.run_id}/"
    names = [info.key.removeprefix(prefix) for info in store.list(prefix)]
    bodies = [name for name in names if name.endswith((".safetensors", "history.jsonl", PREDICTIONS))]
    result = read_result(store, run.run_id)
    assert result is not None, run.run_id
    return {
        **{name: store.get(prefix + name) for name in bodies},
        RESULT: result.model_dump(exclude={*OF_TIME, "attempts"}),
    }


def assert_same(store: ObjectStore, runs: tuple[Run, ...], apart: Apart) -> None:
    for run in runs:
        found, expected = what_it_left(store, run), what_it_left(apart.store, run)
        assert found.keys() == expected.keys()
        assert len(found) >= 4
        for name, body in expected.items():
            assert found[name] == body, (run.run_id, name)


def said(trainers: Trainers, before: int = 0) -> str:
    return trainers.log.read_text()[before:]


def test_three_runs_of_one_process_are_those_of_three(
    apart: Apart, trainers: Trainers, tmp_path: Path
) -> None:
    store, runs = apart.again(tmp_path)
    assert trainers.attempt(runs)["exit"] == 0, said(trainers)
    assert_same(store, runs, apart)
    for run in runs:
        (log,) = [
            info.key for info in store.list(f"runs/{run.run_id}/") if "log" in info.key.split("/", 2)[2]
        ]
        lines = store.get(log).decode()
        # Each attempt's log speaks of its own run, and says everything once.
        assert lines.count(f"run {run.run_id}, attempt 1") == 1
        assert not any(other.run_id in lines for other in runs if other is not run)


def unfit(store: ObjectStore, run: Run) -> None:
    """The checkpoint is not what the spec asks for: an error after the heartbeat."""
    spec = json.loads(store.get(run_key(run.run_id, SPEC)))
    spec["config"]["model"]["emb_dim"] = 768
    store.put(run_key(run.run_id, SPEC), json.dumps(spec).encode())


def unreadable(store: ObjectStore, run: Run) -> None:
    """No spec at all: an error before the heartbeat."""
    store.put(run_key(run.run_id, SPEC), b"{}")


def incomprehensible(store: ObjectStore, run: Run) -> None:
    """A resume state that no octjob writes stands for a bug."""
    body = io.BytesIO()
    torch.save({"generation": 1, "state": {}}, body)
    store.put(run_key(run.run_id, "checkpoint/resume-1.pt"), seal(body.getvalue()))


@pytest.mark.parametrize(
    ("break_it", "lines"),
    [
        (unfit, ["error: model.emb_dim is 768", "hint: Set model.emb_dim to 32"]),
        (unreadable, ["spec.json"]),
        (incomprehensible, ["Traceback", "KeyError: 'done'"]),
    ],
)
def test_one_that_fails_says_so_and_the_next_goes_on(
    apart: Apart, trainers: Trainers, tmp_path: Path, break_it: Any, lines: list[str]
) -> None:
    store, (first, middle, last) = apart.again(tmp_path)
    spec = store.get(run_key(middle.run_id, SPEC))
    break_it(store, middle)
    before = len(trainers.log.read_text())
    assert trainers.attempt((first, middle, last))["exit"] == 5
    text = said(trainers, before)
    assert all(line in text for line in lines), text
    assert f"error: 1 of 3 runs failed: {middle.run_id} (exit " in text
    assert_same(store, (first, last), apart)
    assert not store.exists(run_key(middle.run_id, RESULT))

    store.put(run_key(middle.run_id, SPEC), spec)
    for info in store.list(run_key(middle.run_id, "checkpoint/")):
        store.delete(info.key)
    assert trainers.attempt((first, middle, last))["exit"] == 0, said(trainers, before)
    assert_same(store, (first, middle, last), apart)


def test_a_signal_saves_the_one_under_way_and_leaves_the_rest(
    apart: Apart, trainers: Trainers, tmp_path: Path
) -> None:
    store, (first, middle, last) = apart.again(tmp_path)
    before = len(trainers.log.read_text())
    struck_at = apart.num_events[0] + apart.num_events[1] // 2
    assert trainers.attempt((first, middle, last), struck_at, signal.SIGTERM)["exit"] == 75
    assert f"interrupted: run {middle.run_id}: stopped by signal 15, state saved; 1 more not begun" in said(
        trainers, before
    )
    progress = read_progress(store, middle.run_id)
    assert progress is not None
    assert progress.stage == "interrupted"
    assert read_progress(store, last.run_id) is None
    assert_same(store, (first,), apart)
    # The middle one continues, with the threads that it began with.
    assert trainers.attempt((first, middle, last))["exit"] == 0, said(trainers, before)
    assert_same(store, (first, middle, last), apart)


def test_a_signal_after_the_last_step_of_one_run_still_stops_the_next(
    apart: Apart, trainers: Trainers, tmp_path: Path
) -> None:
    """The run that is writing its result finishes; the signal is not forgotten with it."""
    store, (first, middle, last) = apart.again(tmp_path)
    struck_at = f"{first.run_id}/{RESULT}"
    assert trainers.attempt((first, middle, last), struck_at, signal.SIGTERM)["exit"] == 75
    assert_same(store, (first,), apart)
    assert read_progress(store, middle.run_id) is None


def test_threads_of_an_earlier_attempt_stay_with_its_run(
    apart: Apart, trainers: Trainers, tmp_path: Path
) -> None:
    store, (first, _, last) = apart.again(tmp_path)
    assert trainers.attempt(first, apart.num_events[0] - 20, signal.SIGTERM, threads=2)["exit"] == 75
    assert trainers.attempt((first, last))["exit"] == 0, said(trainers)
    results = [read_result(store, run.run_id) for run in (first, last)]
    assert [result and result.environment["num_threads"] for result in results] == [2, 1]


def test_several_hosts_carry_out_one_run(
    apart: Apart, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from octjob.cli import run as octjob

    monkeypatch.setenv("OCTJOB_NUM_HOSTS", "4")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")
    assert octjob(["train", "--run", "file:///a/runs/a", "--run", "file:///a/runs/b"]) == 2
    error = capsys.readouterr().err
    assert "error: 2 runs, but there are 4 hosts (OCTJOB_NUM_HOSTS)" in error


def test_submit_bundles_probes_keeps_a_log_of_each_and_reports_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from octjob.cli import run as octjob
    from octjob.targets.local import LocalTarget

    unfit_probe = {"train.epochs": 2, "model.emb_dim": 768}
    quick: dict[str, Any] = {"train.epochs": 2, "data.batch_size": 4}
    store, runs = prepared(
        tmp_path, {"one": quick, "unfit": unfit_probe, "two": {**quick, "train.lr_head": 0.1}}
    )
    started: list[list[str]] = []
    spawn = LocalTarget._spawn

    def counted(self: LocalTarget, command: list[str], log: Any) -> Any:
        started.append([word.rpartition("/")[2] for word in command if "/runs/" in word])
        return spawn(self, command, log)

    monkeypatch.setattr(LocalTarget, "_spawn", counted)
    assert octjob(["submit", "-f", str(tmp_path / "sweep.yaml"), "--bundle", "3"]) == 5
    assert started == [[run.run_id for run in runs]]
    error = capsys.readouterr().err
    one, broken, two = (run.run_id for run in runs)
    assert f"{one}: Succeeded" in error
    assert f"{two}: Succeeded" in error
    assert f"{broken}: Failed (exit 3): model.emb_dim is 768" in error
    assert f"error: 1 of 3 runs failed: {broken}" in error
    assert f"See {tmp_path}/out/tiny/logs/{broken}.log" in error
    for run in runs:
        text = (tmp_path / f"out/tiny/logs/{run.run_id}.log").read_text()
        assert f"run {run.run_id}, attempt 1" in text
        assert ("error: model.emb_dim is 768" in text) == (run.run_id == broken)
        assert octjob(["logs", uri_of(run)]) == 0
        assert f"run {run.run_id}, attempt 1" in capsys.readouterr().out
    assert store.exists(run_key(two, RESULT))


def test_a_bundle_is_for_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from octjob.cli import run as octjob

    prepared(tmp_path, {"one": {"train.epochs": 2}})
    arguments = ["submit", "-f", str(tmp_path / "sweep.yaml"), "--target", "kubernetes", "--bundle", "3"]
    assert octjob(arguments) == 2
    assert "error: --bundle has no effect with target kubernetes" in capsys.readouterr().err
