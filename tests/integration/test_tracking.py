"""W&B beside a run: what it gets offline, and that none of its faults costs a run its result."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from doubles.sweep_results import entry, finish, give_spec, labels, skilled, submit
from doubles.tiny_sweep import prepared, uri_of
from wandb.proto import wandb_internal_pb2 as pb

from octjob import extras
from octjob.cli import run as octjob
from octjob.errors import OctjobError
from octjob.leaderboard.collect import collect, publish
from octjob.records.layout import PREDICTIONS, read_result, run_key
from octjob.run.job import run_job
from octjob.storage import ObjectStore, open_store

BLOCK_BYTES = 32 * 1024
FILE_HEADER_BYTES = 7
CONFIG: dict[str, Any] = {"train.epochs": 3, "log": {"wandb": True, "wandb_project": "oct"}}


def records(path: Path) -> Iterator[pb.Record]:
    """The records of a .wandb file: protobuf messages in chunks of a log of 32 KiB blocks, as LevelDB's."""
    data, at, parts = path.read_bytes(), FILE_HEADER_BYTES, b""
    while at + 7 <= len(data):
        left = BLOCK_BYTES - at % BLOCK_BYTES
        if left < 7:
            at += left
            continue
        _crc, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = pb.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def unpacked(items: Any) -> dict[str, Any]:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def wandb_file(folder: Path) -> Path:
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    return path


def closed(folder: Path, wait_s: float = 30.0) -> list[pb.Record]:
    """All records once the exit record is there: W&B's own process may still be writing when `finish` returns."""
    deadline = time.monotonic() + wait_s
    while True:
        found = list(records(wandb_file(folder)))
        if any(record.HasField("exit") for record in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "w"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    (tmp_path / "w").mkdir()
    return tmp_path


def test_an_offline_run_holds_name_group_config_history_and_summary(
    offline: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, (run,) = prepared(offline, {"linear": CONFIG})
    run_job(uri_of(run), lambda progress: None)
    assert not [record for record in caplog.records if record.name == "octjob.tracking.tracker"]
    found = closed(offline / "w")

    (started,) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert started.display_name == "a.linear"
    assert started.run_group == "tiny"
    assert started.project == "oct"
    assert set(started.tags) == {"a", "linear"}
    config = {item.key: json.loads(item.value_json) for item in started.config.update}
    assert config["run_id"] == run.run_id
    assert config["config"]["train"]["epochs"] == 3

    history = [unpacked(record.history.item) for record in found if record.HasField("history")]
    assert [line["epoch"] for line in history] == [0, 1, 2]
    stored = [
        json.loads(line) for line in store.get(run_key(run.run_id, "history.jsonl")).decode().splitlines()
    ]
    for line, expected in zip(history, stored, strict=True):
        for name in ("train/loss", "train/accuracy", "eval/balanced_accuracy", "eval/top_class_share"):
            assert line[name] == expected[name]

    summary: dict[str, Any] = {}
    for record in found:
        if record.HasField("summary"):
            summary |= unpacked(record.summary.update)
    result = read_result(store, run.run_id)
    assert result is not None
    for name in ("accuracy", "balanced_accuracy", "macro_auroc", "macro_f1"):
        assert summary[f"final/{name}"] == result.evaluation["metrics"][name]
    (exit_record,) = [record.exit for record in found if record.HasField("exit")]
    assert exit_record.exit_code == 0


def test_a_failed_run_is_closed_as_failed(offline: Path) -> None:
    _store, (run,) = prepared(offline, {"linear": CONFIG})
    (offline / "a.pt").write_text("no weights")
    with pytest.raises(OctjobError):
        run_job(uri_of(run), lambda progress: None)
    (exit_record,) = [record.exit for record in closed(offline / "w") if record.HasField("exit")]
    assert exit_record.exit_code == 1
    assert wandb.run is None


def test_two_runs_of_one_process_are_two_runs_of_wandb(
    offline: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Though the first one's connection broke and would not even close."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ConnectionResetError("away")

    _store, runs = prepared(offline, {"one": CONFIG, "two": {**CONFIG, "train.epochs": 4}})
    real = wandb.Run.log, wandb.Run.finish
    monkeypatch.setattr(wandb.Run, "log", refuse)
    monkeypatch.setattr(wandb.Run, "finish", refuse)
    run_job(uri_of(runs[0]), lambda progress: None)
    monkeypatch.setattr(wandb.Run, "log", real[0])
    monkeypatch.setattr(wandb.Run, "finish", real[1])
    caplog.clear()
    run_job(uri_of(runs[1]), lambda progress: None)
    assert "W&B does not work" not in caplog.text
    (second,) = (offline / "w").glob("wandb/offline-run-*/run-a-two-*.wandb")
    assert sum(record.HasField("history") for record in records(second)) == 4
    assert wandb.run is None


class Broken:
    """A W&B run that fails where told; counts what it was asked."""

    def __init__(self, *failing: str) -> None:
        self.failing = failing
        self.asked: list[str] = []
        self.summary: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> None:
            self.asked.append(name)
            if name in self.failing:
                raise ConnectionResetError(f"{name} failed")

        return call


@pytest.mark.parametrize("failing", ["init", "define_metric", "log", "finish"])
def test_a_fault_of_wandb_is_said_once_and_costs_nothing(
    offline: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    broken = Broken(failing)

    def init(**settings: Any) -> Broken:
        if failing == "init":
            raise wandb.errors.CommError("the server is away")
        return broken

    monkeypatch.setattr(wandb, "init", init)
    plain = {**CONFIG, "log": {"wandb": False}}
    store, (run,) = prepared(offline, {"linear": CONFIG})
    with caplog.at_level(logging.WARNING, logger="octjob.tracking"):
        run_job(uri_of(run), lambda progress: None)
    said = [record.message for record in caplog.records if "W&B" in record.message]
    assert len(said) == 1
    assert "the run goes on without it" in said[0]
    assert broken.asked.count(failing) == (failing != "init")
    # What was opened is closed, or the next run of this process would write into it.
    assert ("finish" in broken.asked) == (failing != "init")

    other, (untracked,) = prepared(offline, {"linear": plain}, output=f"{offline}/untracked")
    run_job(uri_of(untracked), lambda progress: None)
    assert untracked.run_id == run.run_id
    key = run_key(run.run_id, PREDICTIONS)
    assert store.get(key) == other.get(key)
    assert read_result(store, run.run_id) is not None


def test_a_report_is_logged_as_an_artifact_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "of-the-run"))
    store, (run,) = prepared(tmp_path, {"c": {"train.epochs": 1, "log": CONFIG["log"]}})
    run_job(uri_of(run), lambda progress: None)
    publish(store, collect(store))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "of-the-report"))
    page = tmp_path / "page.html"
    assert octjob(["report", store.root, "-o", str(page), "--wandb"]) == 0
    (made,) = (
        record.artifact for record in closed(tmp_path / "of-the-report") if record.HasField("artifact")
    )
    assert (made.name, made.type) == ("tiny-report", "report")
    (entry,) = made.manifest.contents
    assert entry.path == "report.html"
    assert json.loads(made.metadata)["metric"] == "macro_auroc"
    assert entry.digest == base64.b64encode(hashlib.md5(page.read_bytes()).digest()).decode()
    assert "Logged to W&B project oct" in capfd.readouterr().err


def test_a_report_of_a_sweep_without_wandb_is_not_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    store, _ = prepared(tmp_path, {"c": {"train.epochs": 1}})
    assert octjob(["report", store.root, "--wandb"]) == 2
    assert "no configuration of the sweep has log.wandb" in capfd.readouterr().err
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    assert octjob(["report", store.root, "--wandb"]) == 2
    assert "--wandb: wandb is not installed" in capfd.readouterr().err


@pytest.fixture
def collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A sweep whose configuration has W&B on, finished without it; no W&B setting of this machine is left."""
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    store = open_store(str(tmp_path / "demo"))
    submit(store, [entry("base"), entry("winner")], baseline="base")
    for skill, name in ((1.0, "base"), (4.0, "winner")):
        finish(store, entry(name), skilled(labels((40, 40, 40, 40)), skill, seed=1))
        give_spec(store, entry(name), {"log": {"wandb": True, "wandb_project": "oct"}})
    return store


def test_collecting_logs_the_report_where_the_configs_have_wandb_on(
    collected: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "w"))
    assert octjob(["collect", collected.root]) == 0
    (made,) = (record.artifact for record in closed(tmp_path / "w") if record.HasField("artifact"))
    assert (made.name, made.type) == ("demo-report", "report")
    (logged,) = made.manifest.contents
    page = collected.get("leaderboard/report.html")
    assert logged.path == "report.html"
    assert logged.digest == base64.b64encode(hashlib.md5(page).digest()).decode()
    assert f"Logged the report to {tmp_path / 'w'}, for `wandb sync`." in capfd.readouterr().err
    assert octjob(["collect", collected.root, "--no-publish"]) == 0
    assert "W&B" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({}, "no key is at hand (WANDB_API_KEY, or `wandb login`)"),
        ({"WANDB_MODE": "offline"}, "it is offline, and without WANDB_DIR nothing would remain"),
        ({"WANDB_MODE": "disabled"}, "WANDB_MODE or WANDB_DISABLED turns it off"),
    ],
)
def test_what_keeps_the_report_from_wandb_is_one_line_and_the_table_is_stored(
    collected: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    setting: dict[str, str],
    says: str,
) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    assert octjob(["collect", collected.root]) == 0
    told = capfd.readouterr()
    (line,) = [line for line in told.err.splitlines() if line.startswith("Not logged to W&B")]
    assert line.startswith(f"Not logged to W&B, which log.wandb asks for: {says}")
    assert "winner is best" in told.out
    assert collected.get("leaderboard/report.html")


@pytest.mark.slow
def test_a_server_that_takes_nothing_costs_nothing_else(collected: ObjectStore) -> None:
    """In a process of its own: W&B keeps the first mode that it was used in."""
    environment = {
        **os.environ,
        "WANDB_API_KEY": "a" * 40,
        "WANDB_BASE_URL": "http://127.0.0.1:9",
        "WANDB_SILENT": "true",
    }
    done = subprocess.run(
        [sys.executable, "-m", "octjob", "collect", collected.root],
        capture_output=True, text=True, env={**environment, "WANDB_INIT_TIMEOUT": "3"},
    )  # fmt: skip
    assert done.returncode == 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Not logged to W&B")]
    assert line.startswith("Not logged to W&B, which log.wandb asks for: W&B does not take the report (")
    assert "Check WANDB_API_KEY" in line
    assert "winner is best" in done.stdout
    assert collected.get("leaderboard/report.html")
    assert "leaderboard/wandb.json" not in {info.key for info in collected.list("leaderboard/")}


def test_a_page_goes_to_wandb_once(
    collected: ObjectStore, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Online, with a key from .netrc: the collector on a cluster runs every hour."""
    Path(os.environ["NETRC"]).write_text(f"machine api.wandb.ai login user password {'a' * 40}\n")
    sent: list[str] = []

    class Taken(Broken):
        def __enter__(self) -> Taken:
            return self

        def __exit__(self, *args: object) -> None:
            pass

        def log_artifact(self, artifact: wandb.Artifact) -> None:
            sent.append(artifact.name)

    monkeypatch.setattr(wandb, "init", lambda **settings: Taken())
    assert octjob(["collect", collected.root]) == 0
    assert "Logged the report to W&B project oct." in capfd.readouterr().err
    assert octjob(["collect", collected.root]) == 0
    assert "W&B project oct has this report already." in capfd.readouterr().err
    assert octjob(["collect", collected.root, "--metric", "accuracy"]) == 0
    assert sent == ["demo-report"] * 2


def test_collecting_without_wandb_on_neither_imports_it_nor_says_anything(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "demo"))
    submit(store, [entry("base")])
    finish(store, entry("base"), skilled(labels((40, 40, 40, 40)), 2.0, seed=1))
    give_spec(store, entry("base"))
    program = (
        "import sys; from octjob.cli import run; code = run(sys.argv[1:]);"
        " print([name for name in sys.modules if name.split('.')[0] in ('wandb', 'torch')]); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "collect", store.root], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "W&B" not in done.stderr
