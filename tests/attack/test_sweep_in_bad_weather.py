"""A whole sweep, data in B2 and the rest in GCS, while every fifth request to either meets a fault."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from doubles.b2_server import B2Server
from doubles.fault_proxy import FaultProxy, Weather
from doubles.gcs import GcsServer
from doubles.tiny_sweep import fill_bucket, save_checkpoint, submitted, sweep_file, uri_of

from octjob import env
from octjob.leaderboard.collect import collect, publish
from octjob.run.job import run_job
from octjob.storage import open_store
from octjob.storage.open import forget_stores

KINDS = ("truncate", "reset", "short", "flip", "429", "503", "stall", "drop_reply")
CONFIGS: dict[str, Any] = {
    "probe": {"train.epochs": 3, "data.augment.flip": True, "train.class_weights": "auto"},
    "finetune": {"train.epochs": 2, "model.freeze_encoder": False},
}


def carried_out(folder: Path, output: str, **changes: Any) -> tuple[str, float]:
    """The table of the sweep, run and collected, and the seconds it took."""
    began = time.monotonic()
    store, plan = submitted(sweep_file(folder, CONFIGS, baseline="b", output=output, **changes))
    for run in plan.runs:
        run_job(uri_of(run), lambda progress: None)
    uris = publish(store, collect(store))
    (table,) = [uri for uri in uris if uri.endswith(".csv")]
    rows = store.get(table.removeprefix(f"{store.root}/")).decode()
    return rows, time.monotonic() - began


def upload(folder: Path, uri: str) -> None:
    here, there = open_store(str(folder)), open_store(uri)
    for info in here.list():
        there.put(info.key, here.get(info.key))


@pytest.mark.timeout(240)
def test_the_table_is_the_same_and_no_run_fails(
    tmp_path: Path, b2_server: B2Server, gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy(b2_server.url) as b2, FaultProxy(gcs_server.url) as gcs:
        for name, value in {
            **b2_server.env,
            "B2_ENVIRONMENT": b2.url,
            "STORAGE_EMULATOR_HOST": gcs.url,
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv(env.STORAGE_TIMEOUT_S, "1")
        monkeypatch.setenv(env.STORAGE_RETRY_S, "60")
        forget_stores()
        fill_bucket(tmp_path / "bucket").write()
        (tmp_path / "weights").mkdir()
        for name, seed in (("a", 1), ("b", 2)):
            save_checkpoint(tmp_path / "weights" / f"{name}.pt", seed)
        below = f"octjob-test/{tmp_path.name}"
        upload(tmp_path / "bucket", f"b2://{below}/data")
        upload(tmp_path / "weights", f"gs://{below}/weights")
        clouds: dict[str, Any] = {
            "checkpoints": {n: {"uri": f"gs://{below}/weights/{n}.pt", "num_heads": 2} for n in ("a", "b")},
            "data": {"source": f"b2://{below}/data"},
        }
        clean, clean_s = carried_out(tmp_path, f"gs://{below}/clean", cache=f"gs://{below}/c1", **clouds)
        for proxy in (b2, gcs):
            proxy.struck.clear()
            proxy.seen.clear()
            proxy.stall_s = 1.5
            proxy.weather = Weather(9, 0.2, KINDS)
        foul, foul_s = carried_out(tmp_path, f"gs://{below}/foul", cache=f"gs://{below}/c2", **clouds)
        print(f"\nclean {clean_s:.1f} s, at 20 % faults {foul_s:.1f} s")  # noqa: T201
        print(f"gs://: {gcs.summary()}\nb2://: {b2.summary()}")  # noqa: T201
        assert foul == clean
        assert {"truncate", "reset", "short"} <= {kind for kind, _, _ in (*gcs.struck, *b2.struck)}
