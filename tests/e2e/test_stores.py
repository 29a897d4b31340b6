"""A whole sweep across clouds, data in B2 and the rest in GCS, ends as it does on a disk, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from doubles.b2_server import B2Server
from doubles.gcs import GcsServer
from doubles.tiny_sweep import fill_bucket, save_checkpoint, submitted, sweep_file, uri_of

from octjob.records.layout import PREDICTIONS, read_result, run_key
from octjob.run.job import run_job
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.storage.open import forget_stores, open_store

CONFIG: dict[str, Any] = {"train.epochs": 3, "data.augment.flip": True, "train.class_weights": "auto"}


def carried_out(folder: Path, **changes: Any) -> tuple[ObjectStore, tuple[Run, ...]]:
    store, plan = submitted(sweep_file(folder, {"x": CONFIG}, baseline="b", **changes))
    for run in plan.runs:
        run_job(uri_of(run), lambda progress: None)
    return store, plan.runs


def upload(folder: Path, uri: str) -> None:
    there = open_store(uri)
    here = open_store(str(folder))
    for info in here.list():
        there.put(info.key, here.get(info.key))


def test_data_in_b2_and_results_in_gcs_equal_files(
    tmp_path: Path, b2_server: B2Server, gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**b2_server.env, **gcs_server.env}.items():
        monkeypatch.setenv(name, value)
    forget_stores()
    bucket, weights = tmp_path / "bucket", tmp_path / "weights"
    fill_bucket(bucket).write()
    weights.mkdir()
    for name, seed in (("a", 1), ("b", 2)):
        save_checkpoint(weights / f"{name}.pt", seed)

    below = f"octjob-test/{tmp_path.name}"
    upload(bucket, f"b2://{below}/ai-readi/dataset")
    upload(weights, f"gs://{below}/weights")

    def checkpoints(root: object) -> dict[str, Any]:
        return {name: {"uri": f"{root}/{name}.pt", "num_heads": 2} for name in ("a", "b")}

    files, file_runs = carried_out(tmp_path, checkpoints=checkpoints(weights))
    clouds, cloud_runs = carried_out(
        tmp_path,
        checkpoints=checkpoints(f"gs://{below}/weights"),
        data={"source": f"b2://{below}/ai-readi/dataset"},
        output=f"gs://{below}/out",
        cache=f"gs://{below}/cache",
    )
    assert clouds.root.startswith("gs://")
    assert [run.checkpoint_name for run in cloud_runs] == ["a", "b"]
    for here, there in zip(file_runs, cloud_runs, strict=True):
        assert clouds.get(run_key(there.run_id, PREDICTIONS)) == files.get(run_key(here.run_id, PREDICTIONS))
        expected, found = read_result(files, here.run_id), read_result(clouds, there.run_id)
        assert expected is not None
        assert found is not None
        for part in ("evaluation", "train", "training", "data"):
            assert getattr(found, part) == getattr(expected, part), part
        names = {info.key.rpartition("/")[2] for info in clouds.list(f"runs/{there.run_id}/")}
        assert {"spec.json", "progress.json", "history.jsonl", "predictions.parquet", "result.json"} <= names
    assert any(True for _ in open_store(f"gs://{below}/cache").list("features/"))
