"""The doctor on sweeps of other data sets, encoders and protocols than the original's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from doubles.backbones import TIMM, save_timm
from doubles.own_volumes import CLASSES, own_data
from doubles.tiny_sweep import fill_bucket, save_checkpoint, submitted, sweep_file, uri_of

from octjob.cli import run as octjob
from octjob.run.job import run_job
from octjob.run.shared import Shared

HEADS: dict[str, dict[str, Any]] = {
    "logistic": {"train.optimizer": "LBFGS", "train.standardize": True},
    "head": {"train.epochs": 2, "train.lr_head": 0.01},
}
# They answer by the data set's tables and by cached features.
BY_TABLES = ("coverage", "labels")
BY_FEATURES = ("keys", "eight samples")


def findings(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert octjob(["doctor", *args, "-o", "json"]) in (0, 5)
    return {one["gate"]: one for one in json.loads(capsys.readouterr().out)["findings"]}


def carried_out(path: Path) -> str:
    store, plan = submitted(path)
    shared = Shared()
    for run in plan.runs:
        run_job(uri_of(run), lambda progress: None, shared=shared)
    return store.root


def on_aireadi(folder: Path, **changes: Any) -> Path:
    fill_bucket(folder / "bucket", train=10, val=10).write()
    save_checkpoint(folder / "a.pt")
    return sweep_file(folder, HEADS, **changes)


def on_a_table(folder: Path) -> Path:
    own_data(folder, train=10, val=6)
    save_checkpoint(folder / "a.pt")
    mapping = {name: index for index, name in enumerate(CLASSES)}
    return sweep_file(
        folder,
        {name: config | {"classes.mapping": mapping} for name, config in HEADS.items()},
        data={"layout": "table", "table": f"{folder}/volumes.csv"},
    )


def on_a_backbone(folder: Path) -> Path:
    fill_bucket(folder / "bucket", train=10, val=10).write()
    save_timm(folder / "timm.pth")
    timm = {"uri": f"{folder}/timm.pth", "backbone": "timm", "options": TIMM}
    return sweep_file(folder, HEADS, checkpoints={"t": timm})


def on_sites_left_out(folder: Path) -> Path:
    return on_aireadi(folder, evaluate={"protocol": "leave_one_out", "by": "site", "min_participants": 8})


def on_fewer_labels(folder: Path) -> Path:
    return on_aireadi(folder, evaluate={"protocol": "label_efficiency", "shares": [0.5, 1.0], "draws": 2})


ELSEWHERE = [on_a_table, on_a_backbone, on_sites_left_out, on_fewer_labels]


@pytest.mark.parametrize("made", ELSEWHERE, ids=lambda made: made.__name__)
def test_it_judges_what_it_judges_anywhere(
    made: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made(tmp_path)
    before = findings(capsys, "--config", str(path), "--yes")
    after = findings(capsys, carried_out(path))
    for said in (before, after):
        assert {gate: said[gate]["verdict"] for gate in BY_TABLES} == dict.fromkeys(BY_TABLES, "passed")
        assert not any("not read" in text for one in said.values() for text in one["evidence"])
    for gate in BY_FEATURES:
        assert not after[gate]["said"].startswith("needs cached features")


def test_a_backbone_is_read_before_a_run_and_not_called_a_missing_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = findings(capsys, "--config", str(on_a_backbone(tmp_path)))["weights"]
    assert any(text.startswith("t: timm encoder") for text in said["evidence"]), said
