"""What a plan knows of backbones without importing one, and that octjob's own checkpoints are what they were."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from doubles.packages import package

from octjob.cli import run as octjob
from octjob.errors import SpecError
from octjob.spec.accelerator import parse_accelerator
from octjob.spec.expand import plan_sweep
from octjob.targets.estimate import check_fit, parts_notes

ROOT = Path(__file__).resolve().parents[3]
DATA = {"data.source": "gs://bucket/data"}


def sweep(folder: Path, *configs: dict[str, Any], **checkpoints: Any) -> Path:
    path = folder / "s.yaml"
    names = ("probe", "tune")
    overrides = {
        name: {"overrides": DATA | config} for name, config in zip(names, configs or ({},), strict=False)
    }
    content = {
        "name": "s",
        "output": "gs://bucket/octjob",
        "checkpoints": checkpoints,
        "configs": overrides,
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def refused(folder: Path, **checkpoint: Any) -> SpecError:
    with pytest.raises(SpecError) as caught:
        plan_sweep(sweep(folder, a={"uri": "gs://bucket/a.pt", **checkpoint}))
    return caught.value


def test_runs_of_octjobs_own_encoder_keep_their_ids(tmp_path: Path) -> None:
    own = {"uri": "gs://bucket/b.pt", "num_heads": 12, "volume_size": [64, 384, 384]}
    path = sweep(tmp_path, {}, {"model.freeze_encoder": False}, a="gs://bucket/a.pt", b=own)
    ids = ["a.probe-b3e02664", "b.probe-d6e0cd41", "a.tune-ba6958a2", "b.tune-f415b682"]
    assert [run.run_id for run in plan_sweep(path).runs] == ids


def test_backbone_and_options_are_part_of_a_runs_id(tmp_path: Path) -> None:
    uri = "gs://bucket/a.pt"
    path = sweep(
        tmp_path,
        a=uri,
        b={"uri": uri, "backbone": "timm"},
        c={"uri": uri, "backbone": "vjepa2"},
        d={"uri": uri, "backbone": "vjepa2", "options": {"frames": 4}},
    )
    digests = {run.run_id.rpartition("-")[2] for run in plan_sweep(path).runs}
    assert len(digests) == 4


def test_an_unknown_backbone_is_an_error_with_its_line_and_what_there_is(tmp_path: Path) -> None:
    error = refused(tmp_path, backbone="vjepa")
    assert error.message == f"{tmp_path}/s.yaml:6: checkpoints.a.backbone: no backbone named 'vjepa'"
    assert error.hint.startswith(
        "Did you mean vjepa2? Registered here: timm, vjepa2. A package registers its own"
    )


def test_a_package_registers_its_backbone_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    package(tmp_path / "site", "ours", "raise SystemExit('imported')", "ours = ours:load")
    path = sweep(tmp_path, a={"uri": "gs://bucket/a.pt", "backbone": "ours", "options": {"x": [1, 2]}})
    with pytest.raises(SpecError, match="no backbone named 'ours'"):
        plan_sweep(path)
    monkeypatch.syspath_prepend(tmp_path / "site")
    (run,) = plan_sweep(path).runs
    assert (run.checkpoint.backbone, run.checkpoint.options) == ("ours", {"x": [1, 2]})


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ({"options": {"frames": 4}}, "s.yaml:6: checkpoints.a.options: has no effect without a backbone"),
        (
            {"backbone": "timm", "num_heads": 2},
            "s.yaml:7: checkpoints.a.num_heads: has no effect beside backbone: timm, which says it itself",
        ),
        (
            {"backbone": "timm", "volume_size": [8, 8, 8]},
            "s.yaml:7: checkpoints.a.volume_size: has no effect beside backbone: timm, which says it itself",
        ),
        (
            {"uri": "hf://org/name"},
            "s.yaml:5: checkpoints.a.uri: 'hf://org/name': what the hub has is read by a backbone, and none is named",
        ),
        (
            {"uri": "hf://name", "backbone": "timm"},
            "s.yaml:5: checkpoints.a.uri: 'hf://name': not a repository of the hub",
        ),
    ],
)
def test_what_would_do_nothing_or_names_nothing_is_refused(
    tmp_path: Path, checkpoint: dict[str, Any], message: str
) -> None:
    assert refused(tmp_path, **checkpoint).message == f"{tmp_path}/{message}"


def test_a_repository_of_the_hub_is_left_as_it_is_written(tmp_path: Path) -> None:
    path = sweep(tmp_path, a={"uri": "hf://org/name@main", "backbone": "vjepa2"})
    (run,) = plan_sweep(path).runs
    assert run.checkpoint.uri == "hf://org/name@main"


def test_keys_for_octjobs_own_encoder_are_said_to_do_nothing(tmp_path: Path) -> None:
    config = {"model.attention": "blocks", "model.encoder": "context"}
    timm = {"uri": "gs://bucket/a.pt", "backbone": "timm"}
    own, theirs = plan_sweep(sweep(tmp_path, config, a="gs://bucket/a.pt", b=timm)).runs
    said = [note for note in theirs.notes if "backbone timm" in note]
    assert said == [
        "model.encoder has no effect on backbone timm: it is for octjob's own encoder",
        "model.attention has no effect on backbone timm: it is for octjob's own encoder",
    ]
    assert not any("backbone" in note for note in own.notes)


def test_explain_says_what_it_does_not_know_and_submit_does_not_guess(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heavy = {"model.freeze_encoder": False, "data.batch_size": 4096, "train.remat": False}
    timm = {"uri": "gs://bucket/a.pt", "backbone": "timm"}
    path = sweep(tmp_path, {}, heavy, a="gs://bucket/a.pt", b=timm)
    assert octjob(["explain", str(path), "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {one["checkpoint"] for one in document["estimates"]} == {"a"}
    assert document["not_known"] == [
        {"checkpoint": "b", "config": name, "reason": "not known for backbone timm"}
        for name in ("probe", "tune")
    ]
    assert octjob(["explain", str(path)]) == 0
    assert "\nb.probe: not known for backbone timm\n" in capsys.readouterr().out
    assert octjob(["explain", f"{path}/b.probe"]) == 0
    assert capsys.readouterr().out == "b.probe: not known for backbone timm\n"
    theirs = [run for run in plan_sweep(path).runs if run.checkpoint_name == "b"]
    where = parse_accelerator("v4-8")
    check_fit(theirs, where)
    assert parts_notes(theirs, where) == []


def test_a_plan_with_backbones_imports_neither_torch_nor_a_library(tmp_path: Path) -> None:
    path = sweep(tmp_path, a={"uri": "gs://bucket/a.pt", "backbone": "timm"})
    heavy = ("torch", "timm", "transformers", "huggingface_hub")
    program = (
        f"import sys; from pathlib import Path; from octjob.spec.expand import plan_sweep;"
        f"plan_sweep(Path({str(path)!r})); print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
