"""Whole runs of others' encoders beside octjob's own: probes of every pooling, fine-tuning, and one table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from doubles.backbones import TIMM, save_timm, save_vjepa2
from doubles.packages import package
from doubles.tiny_sweep import fill_bucket, prepared, uri_of

from octjob.cli import run as octjob
from octjob.errors import SpecError
from octjob.features.store import FEATURE_VERSION, FeatureKey
from octjob.leaderboard.collect import collect
from octjob.models.pooling import pooling_for
from octjob.models.report import encoder_digest
from octjob.models.shape import ORIGINAL_GEOMETRY
from octjob.records.schema import Result
from octjob.run.job import run_job
from octjob.run.shared import Shared
from octjob.storage.base import ObjectStore

CONFIGS: dict[str, dict[str, Any]] = {
    "mean": {"train.epochs": 2},
    "max": {"train.epochs": 2, "model.pool_method": "max"},
    "attentive": {"train.epochs": 1, "model.pool_method": "attentive", "log.images": 1},
    "tune": {"train.epochs": 1, "data.batch_size": 8, "model.freeze_encoder": False},
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[ObjectStore, dict[str, Result]]:
    """V-JEPA 2 and timm under every configuration, and octjob's own encoder under one, in one process."""
    folder = tmp_path_factory.mktemp("sweep")
    fill_bucket(folder / "bucket", train=2, val=2).write()
    save_vjepa2(folder / "vjepa2")
    save_timm(folder / "timm.pth")
    checkpoints = {
        "a": {"uri": f"{folder}/a.pt", "num_heads": 2},
        "v": {"uri": f"{folder}/vjepa2", "backbone": "vjepa2"},
        "t": {"uri": f"{folder}/timm.pth", "backbone": "timm", "options": TIMM},
    }
    spared = [{"checkpoint": "a", "config": name} for name in CONFIGS if name != "mean"]
    store, runs = prepared(folder, CONFIGS, checkpoints=checkpoints, baseline="a", exclude=spared)
    shared = Shared()
    by_checkpoint = sorted(runs, key=lambda run: run.checkpoint_name)
    results = [run_job(uri_of(run), lambda progress: None, shared=shared) for run in by_checkpoint]
    return store, {f"{result.checkpoint}.{result.config}": result for result in results}


def test_every_encoder_is_trained_on_in_every_way(
    carried_out: tuple[ObjectStore, dict[str, Result]],
) -> None:
    _, results = carried_out
    assert len(results) == 9
    for name, result in results.items():
        own = name.startswith("a.")
        facts = result.checkpoint_report["backbone"]
        assert (facts is None) == own
        assert (result.environment["attention"] == "own") != own
        assert result.checkpoint_report["coverage"] == 1.0
    timm = results["t.mean"].checkpoint_report
    assert timm["encoder_taken"] == "timm"
    assert timm["geometry"] == {"volume_size": (4, 32, 32), "grid": (4, 1, 1), "embed_dim": 64}
    for name in ("v.tune", "t.tune"):
        assert all(one["encoder_change"] > 0 for one in results[name].training["units"])


def test_no_two_encoders_share_features(carried_out: tuple[ObjectStore, dict[str, Result]]) -> None:
    store, results = carried_out
    digests = {result.checkpoint_report["encoder_digest"] for result in results.values()}
    assert len(digests) == 3
    folders = {path.name for path in Path(store.root.removeprefix("file://")).parent.glob("cache/features/*")}
    assert len(folders) == 3


def test_the_table_has_them_all(carried_out: tuple[ObjectStore, dict[str, Result]]) -> None:
    store, results = carried_out
    board = collect(store)
    assert {f"{row.checkpoint}.{row.config}" for row in board.rows} == results.keys()
    assert all(np.isfinite(row.metrics["macro_auroc"].value or np.nan) for row in board.rows)
    by_name = {one.name: one for one in board.checkpoints.checkpoints}
    assert by_name["t"].encoder_taken == "timm"
    assert by_name["v"].verdict == "unknown"
    pair = next(one for one in board.checkpoints.pairs if {one.first, one.second} == {"t", "v"})
    assert pair.distance is None


def test_the_page_and_a_card_say_which_backbone(
    carried_out: tuple[ObjectStore, dict[str, Result]], capsys: pytest.CaptureFixture[str]
) -> None:
    store, _ = carried_out
    assert octjob(["collect", store.root, "-o", "csv"]) == 0
    page = store.get("leaderboard/report.html").decode()
    assert "an encoder of others, width 64, 4 x 1 x 1 tokens" in page
    capsys.readouterr()
    assert octjob(["card", store.root, "t.mean"]) == 0
    assert f"backbone='timm', options={TIMM!r})" in capsys.readouterr().out


def test_a_backbone_without_parameters_is_probed_and_refuses_fine_tuning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    module = """
from octjob.models.backbones import Backbone, TokenGeometry

def load(path):
    return Backbone(lambda x: x.mean((1, 3)), TokenGeometry((4, 8, 8), (4, 1, 1), 8))
"""
    package(tmp_path / "site", "rows", module, "rows = rows:load")
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "w").write_bytes(b"none")
    fill_bucket(tmp_path / "bucket", train=2, val=2).write()
    checkpoints = {"r": {"uri": f"{tmp_path}/w", "backbone": "rows"}}
    wanted = {name: CONFIGS[name] for name in ("attentive", "tune")}
    _, (probe, tune) = prepared(tmp_path, wanted, checkpoints=checkpoints)
    result = run_job(uri_of(probe), lambda progress: None)
    assert result.checkpoint_report["num_parameters"] == 0
    with pytest.raises(SpecError) as caught:
        run_job(uri_of(tune), lambda progress: None)
    assert caught.value.message == (
        f"run {tune.run_id}: mode finetune, but backbone rows of rows 1.0 can only be used frozen: it is no torch"
        " module with parameters"
    )
    assert caught.value.hint == "Set model.freeze_encoder: true in its config."


def test_inspect_reports_a_backbone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_timm(tmp_path / "w.pth")
    told = [f"--option={key}={value}" for key, value in TIMM.items()]
    asked = ["checkpoint", "inspect", str(tmp_path / "w.pth"), "--backbone", "timm", *told]
    assert octjob(asked) == 0
    out = capsys.readouterr().out
    assert "encoder      timm, 78/78 parameters (100% of elements)" in out
    assert "geometry     volume (4, 32, 32), tokens (4, 1, 1), width 64" in out
    assert "fine-tuning  possible" in out
    assert octjob([*asked, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["backbone"]["options"] == TIMM
    assert octjob([*asked, "--num-heads", "2"]) == 2
    assert "num_heads has no effect beside backbone timm" in capsys.readouterr().err
    assert octjob(["checkpoint", "inspect", "w.pth", "--option", "bscans"]) == 2
    assert "--option bscans: not KEY=VALUE" in capsys.readouterr().err


def test_a_folder_in_a_bucket_is_read_as_one_here(
    tmp_path: Path, any_store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    save_vjepa2(tmp_path / "m")
    for path in (tmp_path / "m").iterdir():
        any_store.put(f"encoders/vjepa2/{path.name}", path.read_bytes())
    reports = []
    for uri in (str(tmp_path / "m"), any_store.uri("encoders/vjepa2")):
        assert octjob(["checkpoint", "inspect", uri, "--backbone", "vjepa2", "-o", "json"]) == 0
        reports.append(json.loads(capsys.readouterr().out))
    here, there = reports
    assert here["encoder_digest"] == there["encoder_digest"]
    assert here["sha256"] == there["sha256"]


def test_features_of_octjobs_own_encoder_keep_their_address() -> None:
    digest = encoder_digest("0" * 64, ORIGINAL_GEOMETRY)
    assert digest == "9dbe7751de726136e072d75a4e6ae9aa675d0881c34b43ba1f4ae45c1c915730"
    key = FeatureKey(digest, "preprocess", "fp32", "torch", FEATURE_VERSION)
    assert key.prefix == "features/0f37f47c649645cd29953bb73f4cd757/"
    assert pooling_for("attentive", ORIGINAL_GEOMETRY) == "grid-4x6x6"
