"""Pods as rendered, with processes of this machine in place of GPUs or hosts of slices: the result of one process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles.cluster_runs import container, make_settings
from doubles.tiny_sweep import prepared, uri_of

from octjob.records.layout import read_result
from octjob.records.predictions import read_predictions
from octjob.run.job import run_job
from octjob.spec.run import Run
from octjob.targets.kubernetes.documents.manifest import render_jobset

pytestmark = pytest.mark.slow

CONFIG: dict[str, Any] = {
    "finetune": {
        "train.epochs": 2,
        "data.batch_size": 3,
        "model": {"freeze_encoder": False, "unfreeze_at_epoch": 1},
    }
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pods(run: Run, accelerator: str, folder: Path, slices: int = 1) -> list[tuple[list[str], dict[str, str]]]:
    """Command and environment of each pod, resolved as a kubelet on this machine would; only the port is free.

    The last pods first: which of them lead must follow from what they are told.
    """
    env = {"OCTJOB_DEVICE": "cpu"}
    settings = make_settings(accelerator=accelerator, slices=slices, secrets=None, env=env)
    document = render_jobset(run, settings)
    (replicated,) = document["spec"]["replicatedJobs"]
    port = free_port()
    found = []
    for job in range(replicated["replicas"]):
        fields = {
            "OCTJOB_ATTEMPT": "0",
            "OCTJOB_NODE": "node",
            "OCTJOB_POD": "pod",
            "MEGASCALE_SLICE_ID": str(job),
        }
        for index in range(replicated["template"]["spec"]["completions"]):
            env = {one["name"]: one.get("value") or fields[one["name"]] for one in container(document)["env"]}
            env["OCTJOB_COORDINATOR"] = f"127.0.0.1:{port}"
            env["OCTJOB_TERMINATION_MESSAGE"] = str(folder / f"words-{job}-{index}")
            found.append((container(document)["command"], {**env, "JOB_COMPLETION_INDEX": str(index)}))
    return found[::-1]


def start(command: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OCTJOB_")}
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**kept, "OMP_NUM_THREADS": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("accelerator", "slices", "num_hosts", "num_processes"),
    [("l4:2", 1, 1, 2), ("l4:1x2", 1, 2, 2), ("v4-16", 2, 4, 4)],
)
def test_the_rendered_environment_trains_as_one_process(
    tmp_path: Path, accelerator: str, slices: int, num_hosts: int, num_processes: int
) -> None:
    store, (run,) = prepared(tmp_path, CONFIG)
    run_job(uri_of(run), lambda progress: None)
    expected = read_predictions(store, run.run_id)
    there, (again,) = prepared(tmp_path, CONFIG, output=f"{tmp_path}/gpus")
    started = [start(*pod) for pod in pods(again, accelerator, tmp_path, slices)]
    printed = [one.communicate(timeout=200)[0] for one in started]
    assert [one.returncode for one in started] == [0] * num_hosts, printed
    found = read_predictions(there, again.run_id)
    assert found.participant.tolist() == expected.participant.tolist()
    np.testing.assert_allclose(found.logits_NK, expected.logits_NK, atol=2e-5)
    result = read_result(there, again.run_id)
    assert result is not None
    facts = {key: result.environment[key] for key in ("runtime", "num_devices", "num_hosts", "backend")}
    expected_facts = {
        "runtime": "group",
        "num_devices": num_processes,
        "num_hosts": num_hosts,
        "backend": "gloo",
    }
    assert facts == expected_facts
    assert json.loads((tmp_path / "words-0-0").read_text())["state"] == "succeeded"


@pytest.mark.timeout(120)
def test_what_one_process_fails_with_is_the_pods_end(tmp_path: Path) -> None:
    store, (run,) = prepared(tmp_path, CONFIG)
    store.delete(f"runs/{run.run_id}/spec.json")
    ((command, env),) = pods(run, "l4:2", tmp_path)
    process = start(command, env)
    printed = process.communicate(timeout=100)[0]
    words = json.loads((tmp_path / "words-0-0").read_text())
    assert process.returncode == words["exit_code"] != 0, printed
    assert words["state"] == "failed"
