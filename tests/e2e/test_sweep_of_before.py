"""A sweep that an earlier octjob wrote, with its result version, is read, continued and collected.

`sweep-of-result-version-2.tar.xz` holds a tiny sweep in `/octjob-sweep`: two finished runs, one interrupted
in its fourth epoch, one not begun; and under `expected/` the predictions and the leaderboard of the octjob that wrote
it, which carried the last two out without a pause.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from octjob.leaderboard.collect import collect
from octjob.leaderboard.export import to_json
from octjob.records.layout import read_sweep
from octjob.records.predictions import decode_predictions, read_predictions
from octjob.records.status import sweep_status
from octjob.run.job import run_job
from octjob.storage.open import open_store

ARCHIVE = Path(__file__).parents[1] / "doubles" / "sweep-of-result-version-2.tar.xz"
WRITTEN_IN = b"/octjob-sweep"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in tmp_path.rglob("*"):
        if path.suffix in (".json", ".yaml", ".log"):
            path.write_bytes(path.read_bytes().replace(WRITTEN_IN, str(tmp_path).encode()))
    return tmp_path


def run_ids(folder: Path) -> dict[str, str]:
    store = open_store(str(folder / "out" / "tiny"))
    return {entry.config: entry.run_id for entry in read_sweep(store).runs}


def carry_out(folder: Path, config: str) -> int:
    uri = f"{folder}/out/tiny/runs/{run_ids(folder)[config]}"
    return run_job(uri, lambda progress: None).attempts


def test_its_status_is_read(folder: Path) -> None:
    states = {s.config: s.state for s in sweep_status(open_store(str(folder / "out" / "tiny")))}
    assert states == {
        "logistic": "Succeeded",
        "linear": "Succeeded",
        "finetune": "Interrupted",
        "waiting": "Pending",
    }


def test_its_interrupted_run_continues_to_the_same_predictions(folder: Path) -> None:
    store = open_store(str(folder / "out" / "tiny"))
    assert carry_out(folder, "finetune") == 2
    assert carry_out(folder, "waiting") == 1
    for name, run_id in run_ids(folder).items():
        now = read_predictions(store, run_id)
        then = decode_predictions((folder / "expected" / f"{run_id}.parquet").read_bytes())
        assert now.participant.tolist() == then.participant.tolist(), name
        # Another machine's kernels may round otherwise.
        np.testing.assert_allclose(now.logits_NK, then.logits_NK, atol=2e-5, err_msg=name)
    assert (
        len(
            (folder / "out" / "tiny" / "runs" / run_ids(folder)["finetune"] / "history.jsonl")
            .open()
            .readlines()
        )
        == 12
    )


def test_its_leaderboard_is_the_same(folder: Path) -> None:
    store = open_store(str(folder / "out" / "tiny"))
    rows = {row["config"]: row for row in json.loads(to_json(collect(store)))["rows"]}
    expected = json.loads((folder / "expected" / "leaderboard.json").read_text())["rows"]
    finished = {row["config"]: row for row in expected if row["config"] in ("logistic", "linear")}
    for name, row in finished.items():
        assert rows[name]["metrics"]["macro_auroc"]["value"] == row["metrics"]["macro_auroc"]["value"]
        assert rows[name]["prediction_counts"] == row["prediction_counts"]
        # Before, a row with a verdict had no other state.
        assert (rows[name]["state"], rows[name]["verdict"]) == ("Succeeded", row["state"])
    assert rows["finetune"]["state"] == "Interrupted"
    assert rows["waiting"]["state"] == "Pending"
