"""A sweep from `octjob submit` to the table, as JobSets of four pods of octjob's own image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from octjob.records.layout import read_result
from octjob.records.predictions import read_predictions
from octjob.spec.expand import Plan, plan_sweep
from octjob.storage.open import open_store
from tests.cluster.access import condition_status
from tests.cluster.submission import octjob
from tests.pods.clouds import Bucket
from tests.pods.cluster import PodPlane
from tests.pods.struck import assert_same
from tests.pods.watched import watching

# Without dropout: what it draws depends on how many hosts share a batch, and here one is compared with four.
FINETUNE = {
    "train.epochs": 4,
    "data.batch_size": 4,
    "data.augment": {"flip": True},
    "model": {"freeze_encoder": False},
}
CONFIGS = {"probe": {"train.epochs": 4}, "finetune": FINETUNE}


@pytest.mark.timeout(900)
def test_from_submit_to_the_table(plane: PodPlane, clouds: Bucket, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    here = clouds.sweep(tmp_path / "local", CONFIGS, "here", target="local")
    there = clouds.sweep(tmp_path, CONFIGS, "there")

    def run(*arguments: str) -> str:
        ended = octjob(plane, *arguments)
        assert ended.code == 0, f"octjob {' '.join(arguments)}: {ended.err}"
        return ended.out

    with watching(plane, namespace, tmp_path) as watch:
        run("submit", "-f", str(there), "-n", namespace)
        rows = json.loads(run("collect", "there", "--wait", "-n", namespace, "-o", "json"))["rows"]
        plane.wait_until(lambda: len(watch.ends()) == 8, "all pods have been seen to end")
    assert {row["state"] for row in rows} == {"Succeeded"}
    ends = watch.ends().values()
    assert {(end.exit_code, end.message["state"]) for end in ends} == {(0, "succeeded")}
    assert sorted(end.worker for end in ends) == [0, 0, 1, 1, 2, 2, 3, 3]
    # The result is there a moment before the pods have ended.
    plane.wait_until(lambda: _completed(plane, namespace) == 2, "both JobSets are completed")

    run("submit", "-f", str(here))
    local = json.loads(run("collect", str(here), "-o", "json"))["rows"]
    assert [row["run_id"].rpartition("-")[0] for row in rows] == [
        row["run_id"].rpartition("-")[0] for row in local
    ], "the same ranks"
    _assert_same_results(plan_sweep(there), plan_sweep(here))


def _completed(plane: PodPlane, namespace: str) -> int:
    """How many JobSets are, none of them restarted."""
    jobsets = plane.list("jobsets", namespace)
    assert all(jobset["status"].get("restarts", 0) == 0 for jobset in jobsets)
    return [condition_status(jobset, "Completed") for jobset in jobsets].count("True")


def _assert_same_results(there: Plan, here: Plan) -> None:
    one, other = open_store(there.output), open_store(here.output)
    for a, b in zip(there.runs, here.runs, strict=True):
        result = read_result(one, a.run_id)
        assert result is not None
        assert result.environment["num_hosts"] == 4
        assert_same(read_predictions(one, a.run_id), read_predictions(other, b.run_id))
