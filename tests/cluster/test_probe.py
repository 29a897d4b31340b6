"""A sweep with `compute.probe` on a real control plane: one encoding on a slice, its probes on another node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from doubles.tiny_sweep import fill_bucket, prepared, save_checkpoint, sweep_file, uri_of

from octjob.leaderboard.collect import collect
from octjob.leaderboard.export import to_json
from octjob.records.layout import PREDICTIONS, read_result, run_key
from octjob.run.job import run_job
from octjob.run.shared import Shared
from octjob.storage.open import open_store
from tests.cluster.access import ClusterAccess
from tests.cluster.submission import HELD, IMAGE, make_ready, octjob
from tests.cluster.tenancy import QUEUE

# 12 probes: four poolings and heads, three regularisations each.
CONFIGS: dict[str, dict[str, Any]] = {
    f"{name}-{i}": {**overrides, "train.weight_decay" if "train.epochs" in overrides else "train.l2": l2}
    for name, overrides in {
        "mean": {"train.epochs": 2},
        "attentive": {"train.epochs": 2, "model.pool_method": "attentive"},
        "logistic": {"train.optimizer": "LBFGS"},
        "logistic-max": {"train.optimizer": "LBFGS", "model.pool_method": "max"},
    }.items()
    for i, l2 in enumerate((0.01, 0.1, 1.0))
}
CPU_NODE = "gke-default-pool-0"
# Of a row, what differs between two carryings out of the same run.
_OF_THE_MOMENT = ("duration", "attempt", "_at")


def write_sweep(folder: Path, configs: dict[str, dict[str, Any]], queue: str) -> Path:
    compute = {
        "target": "kubernetes",
        "accelerator": "v4-32",
        "image": IMAGE,
        "queue": queue,
        "max_restarts": 1,
        "probe": {"cpu": 1, "memory": "1Gi"},
    }
    return sweep_file(folder, configs, output=f"{folder}/apart", compute=compute)


def rows_of(table: str) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if not any(part in key for part in _OF_THE_MOMENT)}
        for row in json.loads(table)["rows"]
    ]


def encodes(document: dict[str, Any]) -> bool:
    return "octjob.dev/encoding" in document["metadata"]["labels"]


@pytest.mark.timeout(1500)
def test_twelve_probes_wait_for_one_encoding(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path
) -> None:
    make_ready(control_plane, namespace)
    fill_bucket(tmp_path / "bucket").write()
    save_checkpoint(tmp_path / "a.pt")
    path = write_sweep(tmp_path, CONFIGS, HELD)
    place = ("-f", str(path), "-n", namespace)

    def run(*arguments: str) -> str:
        ended = octjob(control_plane, *arguments)
        assert ended.code == 0, f"octjob {' '.join(arguments)}: {ended.err}"
        return ended.out

    price = run("plan", *place)
    assert "chip-hours: at most 1,152 (1 encoding x 16 chips x compute.max_runtime_hours 72)" in price
    assert "  without compute.probe: at most 13,824 (12 runs x 16 chips x" in price
    assert "tiny: 12 runs and 1 encoding: 13 created" in run("submit", *place)

    def looks() -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = json.loads(run("status", str(path), "-n", namespace, "-o", "json"))[
            "runs"
        ]
        return runs

    def waits() -> bool:
        return any(one["stage"] == "waiting" and one["waits_for"] for one in looks())

    control_plane.wait_until(waits, "a probe waits for features", 300)
    encoding, *probes = looks()
    assert encoding["encoding"]
    assert encoding["state"] == "Queued"
    waiting = next(one for one in probes if one["stage"] == "waiting")
    assert waiting["waits_for"] == encoding["run_id"]
    assert waiting["reason"].startswith(f"waits for its features: {encoding['run_id']} is ")
    table = run("status", str(path), "-n", namespace)
    assert "; 1 encoding: 1 Queued" in table
    control_plane.kubectl(
        *("patch", "localqueue", HELD, "--namespace", namespace, "--type=merge"),
        *("-p", json.dumps({"spec": {"stopPolicy": "None"}})),
    )
    found = run("collect", str(path), "-n", namespace, "--wait", "--timeout", "20m", "-o", "json")

    jobsets = control_plane.list("jobsets", namespace)
    assert sorted(map(encodes, jobsets)) == [*[False] * 12, True]
    for pod in control_plane.list("pods", namespace):
        asked = pod["spec"]["containers"][0]["resources"]["limits"]
        if encodes(pod):
            assert asked == {"google.com/tpu": "4"}
            assert pod["spec"]["nodeName"].startswith("gke-v4-32-")
        else:
            assert asked == {"cpu": "1", "memory": "1Gi"}
            assert pod["spec"]["nodeName"] == CPU_NODE
    assert len(control_plane.list("workloads", namespace)) == 1, "one slice is asked for, once"

    alone, runs = prepared(tmp_path, CONFIGS)
    shared = Shared()
    for each in runs:
        run_job(uri_of(each), lambda progress: None, shared=shared)
    apart = open_store(f"{tmp_path}/apart/tiny")
    assert rows_of(found) == rows_of(to_json(collect(alone)))
    for each in runs:
        key = run_key(each.run_id, PREDICTIONS)
        assert apart.get(key) == alone.get(key)
    spent, hours = read_result(apart, encoding["run_id"]), [read_result(alone, one.run_id) for one in runs]
    assert spent is not None
    each_h = [one.duration_s * 16 / 3600 for one in hours if one is not None]
    print(  # noqa: T201
        f"\nchip-hours: one encoding {spent.duration_s * 16 / 3600:.2f}; 12 runs with a slice each, as long as"
        f" here: {sum(each_h):.2f}"
    )
    # The runs that encode themselves were planned by a file of the same name.
    write_sweep(tmp_path, CONFIGS, HELD)
    again = run("submit", *place)
    assert "tiny: 12 runs: 12 finished" in again
    assert len(control_plane.list("jobsets", namespace)) == 13


@pytest.mark.timeout(1200)
def test_an_encoding_that_fails_ends_its_probes_and_a_retry_mends_all(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path
) -> None:
    fill_bucket(tmp_path / "bucket").write()
    (tmp_path / "a.pt").write_bytes(b"no checkpoint")
    few = {name: CONFIGS[name] for name in ("mean-0", "logistic-0")}
    path = write_sweep(tmp_path, few, QUEUE)
    target = (str(path), "-n", namespace)
    assert octjob(control_plane, "submit", "-f", *target).code == 0
    ended = octjob(control_plane, "collect", *target, "--wait", "--timeout", "15m")
    assert ended.code == 5, ended.err
    encoding, *probes = json.loads(octjob(control_plane, "status", *target, "-o", "json").out)["runs"]
    assert (encoding["state"], encoding["exit_code"]) == ("Failed", 3)
    for one in probes:
        assert (one["state"], one["exit_code"], one["restarts"]) == ("Failed", 3, 0)
        assert f"its features are made by {encoding['run_id']}, which failed (exit 3)" in one["message"]
        assert f"octjob logs tiny/{encoding['run_id']}" in one["hint"]
    said = octjob(control_plane, "logs", f"tiny/{encoding['run_id']}", "-n", namespace)
    assert said.code == 0
    assert "a.pt" in said.out

    again = octjob(control_plane, "submit", "-f", *target)
    assert "3 ended without a result" in again.out, "what failed is not begun again unasked"
    save_checkpoint(tmp_path / "a.pt")
    retried = octjob(control_plane, "retry", "tiny", "-n", namespace)
    assert retried.code == 0, retried.err
    assert retried.out.count("retried") == 3
    ended = octjob(control_plane, "collect", *target, "--wait", "--timeout", "15m", "-o", "json")
    assert ended.code == 0, ended.err
    assert {row["state"] for row in json.loads(ended.out)["rows"]} == {"Succeeded"}
