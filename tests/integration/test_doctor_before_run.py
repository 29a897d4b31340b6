"""`octjob doctor --config`: what is wrong with a sweep before it is run, and nothing is encoded unasked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from doubles.tiny_sweep import SIZE, fill_bucket, save_checkpoint, sweep_file
from doubles.vjepa3d import save_original_checkpoint

from octjob.api import diagnose
from octjob.cli import run as octjob

PROBE = {"train.epochs": 2, "train.lr_head": 0.02}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.set_num_threads(1)
    fill_bucket(tmp_path / "bucket", train=8, val=4).write()
    save_checkpoint(tmp_path / "a.pt")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = octjob(["doctor", *args])
    out, err = capsys.readouterr()
    return code, out, err


def test_it_judges_files_and_encodes_nothing_where_nobody_can_be_asked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sweep_file(folder, {"probe": PROBE})
    code, out, err = said(capsys, "--config", str(path))
    assert code == 0
    assert out.startswith("Nothing found before a run: 4 of 12 gates judged")
    assert err.startswith("not encoded: Encode 48 volumes (1 encoders) into ")
    assert "--yes encodes them" in err
    assert not (folder / "out").exists()


def test_yes_encodes_into_the_cache_and_then_tries_heads_and_keys(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clipped = {
        "probe": PROBE,
        "clipped": PROBE | {"train.grad_clip": 1e6},
        "slow": PROBE | {"train.lr_head": 1e-9},
    }
    path = sweep_file(folder, clipped)
    code, out, _ = said(capsys, "--config", str(path), "--yes", "-o", "json")
    found = {one["gate"]: one for one in json.loads(out)["findings"]}
    assert code == 5
    assert "train.grad_clip changes nothing in 20 steps" in found["keys"]["said"]
    assert "a.clipped" in found["keys"]["said"]
    assert (
        "a.slow does not learn eight samples by heart at learning rate 1e-09"
        in found["eight samples"]["said"]
    )
    assert [path.name for path in (folder / "out").iterdir()] == ["cache"]
    assert said(capsys, "--config", str(path))[2] == ""


def test_a_participant_in_two_splits_is_named_before_any_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = folder / "bucket/participants.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1].replace("train", "val")]) + "\n")
    code, out, _ = said(capsys, "--config", str(sweep_file(folder, {"probe": PROBE})))
    assert code == 5
    assert " ".join(out.split()).startswith("First cause: file://")
    assert "participant 1000 is in two splits, train and val (first on line 2)" in " ".join(out.split())


def test_a_data_set_that_is_not_there_is_the_cause(folder: Path) -> None:
    (folder / "bucket/retinal_oct/manifest.tsv").unlink()
    found = diagnose(sweep_file(folder, {"probe": PROBE}), before_run=True)
    assert found.first_cause == "coverage"
    assert found.cause is not None
    assert "manifest.tsv: no manifest of the OCT volumes" in found.cause.said
    assert "octjob data index" in found.cause.cure


def test_untrained_and_equal_weights_are_named_before_any_run(folder: Path) -> None:
    save_original_checkpoint(folder / "raw.pt", num_steps=0, **SIZE)
    raw = {"raw": {"uri": f"{folder}/raw.pt", "num_heads": 2}}
    found = diagnose(sweep_file(folder, {"probe": PROBE}, checkpoints=raw), before_run=True)
    assert found.cause is not None
    assert found.cause.said.startswith("the encoder of raw is untrained: its features carry no more")
    twice = {name: {"uri": f"{folder}/a.pt", "num_heads": 2} for name in ("a", "b")}
    found = diagnose(sweep_file(folder, {"probe": PROBE}, checkpoints=twice), before_run=True)
    assert found.cause is not None
    assert found.cause.said == "a and b are the same weights under two names"


def test_a_file_that_is_no_checkpoint_is_named_before_any_run(folder: Path) -> None:
    (folder / "a.pt").write_bytes(b"no checkpoint")
    found = diagnose(sweep_file(folder, {"probe": PROBE}), before_run=True)
    assert found.first_cause == "weights"
    assert found.cause is not None
    assert "a.pt" in found.cause.said


def test_a_file_that_is_not_there_is_named_before_any_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.pt").unlink()
    code, out, _ = said(capsys, "--config", str(sweep_file(folder, {"probe": PROBE})))
    assert code == 5
    assert " ".join(out.split()).startswith(f"First cause: file://{folder}/a.pt: no checkpoint file at")


def test_a_bucket_that_this_machine_may_not_read_is_no_cause(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", f"{folder}/none.json")
    elsewhere = {"a": {"uri": "gs://octjob-elsewhere/a.pt", "num_heads": 2}}
    found = diagnose(sweep_file(folder, {"probe": PROBE}, checkpoints=elsewhere), before_run=True)
    assert found.first_cause is None
    (weights,) = [one for one in found.findings if one.gate == "weights"]
    assert weights.said.startswith("checkpoints: gs://octjob-elsewhere/a.pt: no usable Google credentials")


def test_a_config_is_judged_with_the_checkpoint_that_it_names(folder: Path) -> None:
    save_checkpoint(folder / "a.pt", config={"num_heads": 2})
    config = folder / "config.yaml"
    config.write_text(
        f"paths: {{checkpoint_path: {folder}/a.pt}}\ndata: {{source: {folder}/bucket, profile: seed_finetune}}\n"
    )
    found = diagnose(config, before_run=True)
    assert found.first_cause == "preprocessing"
    (keys,) = [one for one in found.findings if one.gate == "keys"]
    assert "checkpoint_path" not in f"{keys.said} {keys.evidence}"
    assert "until run" in keys.said


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "no sweep to diagnose"),
        (("{0}/sweep.yaml",), "nothing was submitted"),
        (("x", "--config", "{0}/sweep.yaml"), "x: stands beside --config"),
        (("{0}/sweep.yaml", "--yes"), "--yes has no effect without --config"),
        (("--config", "{0}/none.yaml"), "none.yaml: no such file"),
        (("--config", "{0}/train.yaml"), "neither a sweep nor a config that names its checkpoint"),
    ],
)
def test_what_is_no_such_input_is_one_line(
    args: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_file(tmp_path, {"probe": PROBE})
    (tmp_path / "train.yaml").write_text("train: {epochs: 2}\n")
    code, out, err = said(capsys, *(one.format(tmp_path) for one in args))
    assert code in (2, 4)
    assert out == ""
    assert message in err.splitlines()[0]
    assert len(err.splitlines()) <= 2


def test_an_unsubmitted_sweep_is_told_how_to_be_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sweep_file(tmp_path, {"probe": PROBE})
    assert f"hint: `octjob doctor --config {path}` judges" in said(capsys, str(path))[2]
