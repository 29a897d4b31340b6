"""A batch that leaves chips of a slice idle is named before it is submitted, with one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from unit.cli.test_output import complaints

from octjob.cli import run as octjob
from octjob.cli.output import plan_schema
from octjob.spec.experiment import Experiment
from octjob.targets.idle import idle_chips


def finetuning(batch_size: int, val_batch_size: int = 16) -> Experiment:
    data = {"batch_size": batch_size, "val_batch_size": val_batch_size}
    return Experiment.model_validate({"data": data, "model": {"freeze_encoder": False}})


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (8, "data.batch_size 8 on 16 chips: half idle; 16 leaves none"),
        (1, "data.batch_size 1 on 16 chips: 94% idle; 16 leaves none"),
        (17, "data.batch_size 17 on 16 chips: 47% idle; 16 leaves none"),
        (24, "data.batch_size 24 on 16 chips: 25% idle; 32 leaves none"),
        (100, "data.batch_size 100 on 16 chips: 11% idle; 96 leaves none"),
    ],
)
def test_a_batch_that_leaves_chips_idle(size: int, text: str) -> None:
    assert [str(one) for one in idle_chips("a", finetuning(size), 16)] == [text]


def test_one_that_leaves_none_and_the_chips_of_one() -> None:
    assert idle_chips("a", finetuning(32), 16) == []
    assert idle_chips("a", finetuning(7, 3), 1) == []


def test_a_probe_shares_volumes_out_one_by_one() -> None:
    assert idle_chips("a", Experiment.model_validate({"data": {"batch_size": 7}}), 16) == []


def sweep(folder: Path, **compute: object) -> Path:
    file = folder / "s.yaml"
    tune: dict[str, Any] = {
        "data": {"source": str(folder), "batch_size": 8},
        "model": {"freeze_encoder": False},
    }
    spec = {
        "name": "s",
        "output": str(folder / "out"),
        "checkpoints": {"one": {"uri": "gs://bucket/one.pt"}},
        "configs": {"tune": {"overrides": tune}, "probe": {"overrides": {"data": tune["data"]}}},
        "compute": compute,
    }
    file.write_text(yaml.safe_dump(spec))
    return file


def test_the_plan_names_each_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = sweep(tmp_path, target="kubernetes", accelerator="v4-32", image="i")
    assert octjob(["plan", "-f", str(file), "--offline"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "idle" in line]
    assert lines == [
        "note: data.batch_size 8 on 16 chips: half idle; 16 leaves none (tune)",
        "note: data.val_batch_size 8 on 16 chips: half idle; 16 leaves none (tune)",
    ]
    assert octjob(["plan", "-f", str(file), "--offline", "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert complaints(document, plan_schema()) == []
    assert document["idle_chips"][0] == {
        "configs": ["tune"],
        "key": "data.batch_size",
        "size": 8,
        "chips": 16,
        "idle": 0.5,
        "nearest": 16,
        "unit": "chip",
    }


def test_a_machine_has_no_chips_to_leave_idle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert octjob(["plan", "-f", str(sweep(tmp_path, target="local")), "--offline", "-o", "json"]) == 0
    assert "idle_chips" not in json.loads(capsys.readouterr().out)
