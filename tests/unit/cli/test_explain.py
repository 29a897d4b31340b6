"""`octjob explain`, and what submit refuses by the same arithmetic."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from unit.cli.test_output import complaints

from octjob.cli import run as octjob
from octjob.cli.output import explain_schema
from octjob.errors import SpecError
from octjob.records.layout import run_uri, write_spec
from octjob.spec.accelerator import parse_accelerator
from octjob.spec.expand import plan_sweep
from octjob.storage.open import open_store
from octjob.targets.estimate import check_fit

ROOT = Path(__file__).resolve().parents[3]
PHASE3 = ROOT / "sweeps/phase3.yaml"
GIB = 2**30


def explained(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, Any]:
    assert octjob(["explain", *map(str, args), "-o", "json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert complaints(document, explain_schema()) == []
    return document


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Fine-tuning of checkpoints of the original's shape and of a small one, with more than a chip can hold at once:

    `tune` of a whole batch, `wide` of a single volume.
    """
    config = {
        "data": {"source": str(tmp_path), "batch_size": 64},
        "model": {"freeze_encoder": False, "attention": "sdpa"},
        "train": {"precision": "bf16", "remat": False},
    }
    file = tmp_path / "s.yaml"
    spec = {
        "name": "s",
        "output": str(tmp_path / "out"),
        "checkpoints": {
            "whole": {"uri": "gs://bucket/whole.pt"},
            "small": {"uri": "gs://bucket/small.pt", "volume_size": [16, 96, 96]},
            "other": {"uri": "gs://bucket/other.pt", "volume_size": [10, 100, 100]},
        },
        "configs": {
            "tune": {"overrides": config},
            "wide": {"overrides": {**config, "train": {"precision": "fp32", "remat": False}}},
        },
        "compute": {"target": "kubernetes", "accelerator": "v4-32", "image": "i"},
    }
    file.write_text(yaml.safe_dump(spec))
    return file


def test_every_run_of_phase3_fits_a_v4_32(capsys: pytest.CaptureFixture[str]) -> None:
    document = explained(capsys, PHASE3)
    assert (document["accelerator"], document["chips"]) == ("v4-32", 16)
    assert len(document["estimates"]) == 21
    for one in document["estimates"]:
        assert one["fits"] is True
        assert one["peak_bytes"] < 0.85 * one["memory_bytes"]
        assert (one["batch_per_chip"], one["attention"], one["geometry"]) == (1, "flash", "original")
        assert one["parameters"] == 92_921_088
        assert 0 < one["seconds"][0] < one["seconds"][1]
    check_fit(plan_sweep(PHASE3).runs, parse_accelerator("v4-32"))


@pytest.mark.parametrize("accelerator", ["v4-8", "v5e-4", "v6e-4", "v5p-8"])
def test_phase3_fits_other_slices(accelerator: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = explained(capsys, PHASE3, "--accelerator", accelerator)
    assert all(one["fits"] for one in document["estimates"])


def test_a_chip_whose_memory_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    (one,) = explained(capsys, ROOT / "configs/cls_finetune.yaml", "--accelerator", "tpu7x-8")["estimates"]
    assert (one["fits"], one["memory_bytes"], one["seconds"], one["cures"]) == (None, None, None, [])


def test_chips_that_a_batch_leaves_idle(capsys: pytest.CaptureFixture[str]) -> None:
    assert octjob(["explain", str(ROOT / "configs/cls_finetune.yaml"), "--accelerator", "v4-32"]) == 0
    said = capsys.readouterr().out
    assert "note: cls_finetune: data.batch_size 1 on 16 chips: 94% idle; 16 leaves none\n" in said


def test_what_fits_in_parts_is_said(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (one,) = explained(capsys, f"{sweep}/whole.tune")["estimates"]
    assert (one["checkpoint"], one["batch_per_chip"], one["microbatches"]) == ("whole", 1, 4)
    assert (one["fits"], one["cures"], one["source"]) == (True, [], "arithmetic")
    assert octjob(["explain", f"{sweep}/whole.tune"]) == 0
    said = capsys.readouterr().out
    assert "whole.tune fits with accumulation 4 (chosen)" in said
    assert " 1 x 4 " in said
    assert "\nsource: arithmetic, " in said
    assert octjob(["plan", "-f", str(sweep), "--offline"]) == 0
    assert "note: whole.tune fits with accumulation 4 (chosen)" in capsys.readouterr().out


def test_what_does_not_fit_is_said_with_every_cure(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (one,) = explained(capsys, f"{sweep}/whole.wide")["estimates"]
    assert (one["checkpoint"], one["batch_per_chip"], one["fits"]) == ("whole", 4, False)
    assert one["cures"] == ["train.remat: true", "model.attention: auto"]
    assert octjob(["explain", f"{sweep}/whole.wide"]) == 0
    assert "whole.wide does not fit; what would make it: " in capsys.readouterr().out


def test_the_sweeps_volume_size_counts(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (one,) = explained(capsys, f"{sweep}/small.tune")["estimates"]
    assert (one["geometry"], one["fits"]) == ("sweep", True)


def test_submit_refuses_what_cannot_fit_and_names_the_cure(sweep: Path) -> None:
    runs = {(run.checkpoint_name, run.config_name): run for run in plan_sweep(sweep).runs}
    where = parse_accelerator("v4-32")
    check_fit([runs["small", "wide"], runs["other", "wide"], runs["whole", "tune"]], where)
    with pytest.raises(
        SpecError, match=r"run whole\.wide-.*: a chip of v4-32 would need .* GiB and has 30.75"
    ):
        check_fit(list(runs.values()), where)


def test_a_submitted_run_by_its_uri(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = plan_sweep(sweep)
    run = next(run for run in planned.runs if run.checkpoint_name == "small")
    write_spec(open_store(planned.output), run)
    (one,) = explained(capsys, run_uri(planned.output, run.run_id), "--accelerator", "v4-8")["estimates"]
    assert (one["checkpoint"], one["config"]) == ("small", "tune")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("nothing.yaml", "nothing.yaml"),
        (f"{PHASE3}/nobody", "no runs of that name"),
        ("gs://bucket/x", "not a run"),
    ],
)
def test_what_is_not_there(what: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert octjob(["explain", what]) == 2
    assert words in capsys.readouterr().err


def test_it_needs_no_torch() -> None:
    code = (
        "import sys\nfrom octjob.cli import run\n"
        f"assert run(['explain', {str(PHASE3)!r}]) == 0\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
