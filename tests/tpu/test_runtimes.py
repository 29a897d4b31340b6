"""The same trainings on the CPU, on virtual XLA devices and on gloo processes: one loop, one outcome."""

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

SCRIPT = Path(__file__).parents[1] / "doubles" / "runtime_process.py"
# Compiles several times faster, and rounds no otherwise.
FAST = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
ATOL = 2e-5
# A minute on an idle machine of two cores; a busy one has taken six times as long. Only a deadlock takes longer.
PATIENCE_S = 1200

pytestmark = pytest.mark.timeout(2 * PATIENCE_S)

Outcome = dict[str, Any]


def start(index: int, num_processes: int, *names: str, **environ: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(index), str(num_processes), *names]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TPU_", "OCTJOB_"))}
    return subprocess.Popen(
        command, env={**kept, "OMP_NUM_THREADS": "1", **environ}, stdout=subprocess.PIPE, text=True
    )


def outcome(process: subprocess.Popen[str]) -> Outcome:
    """What it printed last; gloo prints too."""
    printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    found: Outcome = json.loads(printed.splitlines()[-1])
    return found


def on_xla(num_devices: int, *names: str) -> Outcome:
    environ = {"OCTJOB_DEVICE": "xla", "PJRT_DEVICE": "CPU", "CPU_NUM_DEVICES": str(num_devices)}
    return outcome(start(0, 1, *names, XLA_FLAGS=FAST, **environ))


def on_gloo(num_processes: int, *names: str) -> list[Outcome]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {"OCTJOB_DEVICE": "cpu", "OCTJOB_COORDINATOR": f"127.0.0.1:{port}"}
    return [outcome(p) for p in [start(i, num_processes, *names, **environ) for i in range(num_processes)]]


@pytest.fixture(scope="module")
def cpu() -> Outcome:
    return outcome(start(0, 1, OCTJOB_DEVICE="cpu"))


def assert_agrees(found: Outcome, expected: Outcome) -> None:
    """Losses within `ATOL`; metrics, the number of epochs and where it stopped are the same."""
    assert found["trainings"].keys() == expected["trainings"].keys()
    for name, training in expected["trainings"].items():
        other = found["trainings"][name]
        assert other["stopped_early"] == training["stopped_early"], name
        assert len(other["history"]) == len(training["history"]), name
        for line, theirs in zip(training["history"], other["history"], strict=True):
            for key in line:
                if key.endswith("loss"):
                    assert theirs[key] == pytest.approx(line[key], abs=ATOL), (name, key)
                elif key.endswith("accuracy"):
                    assert theirs[key] == pytest.approx(line[key], abs=1e-7), (name, key)
        np.testing.assert_allclose(other["logits"], training["logits"], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("num_devices", [1, 4, 16])
def test_xla(cpu: Outcome, num_devices: int) -> None:
    found = on_xla(num_devices)
    assert (found["facts"]["runtime"], found["facts"]["num_devices"]) == ("xla", num_devices)
    assert_agrees(found, cpu)
    for name, training in found["trainings"].items():
        compiles = np.diff(training["compiles"])
        print(f"{num_devices} devices, {name}: programs compiled an epoch {compiles.tolist()}")  # noqa: T201
        # The encoder of a fine-tuning begins to move in its third epoch: that is another program, once.
        later = np.delete(compiles, 1) if name.startswith("finetune") else compiles
        assert not later.any(), (name, training["compiles"])
        assert set(training["executions"]) == {1}, (name, training["executions"])
    assert any(t["stopped_early"] for t in cpu["trainings"].values())


def test_gloo(cpu: Outcome) -> None:
    for found in on_gloo(4):
        assert (found["facts"]["runtime"], found["facts"]["num_devices"]) == ("group", 4)
        assert_agrees(found, cpu)


def test_stopped_under_xla_and_continued_is_never_stopped(cpu: Outcome) -> None:
    stopped = "finetune, accumulated@31"
    found = on_xla(4, "finetune, accumulated", stopped)["trainings"]
    straight, resumed = found["finetune, accumulated"], found[stopped]
    assert resumed["logits"] == straight["logits"]
    assert resumed["history"] == straight["history"]


def test_stopped_on_four_chips_and_continued_on_a_cpu(cpu: Outcome, tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    begun = on_xla(4, f"finetune@20={state}")["trainings"].popitem()[1]
    ended = outcome(start(0, 1, f"finetune={state}", OCTJOB_DEVICE="cpu"))["trainings"].popitem()[1]
    whole = {**ended, "history": begun["history"] + ended["history"]}
    assert_agrees(
        {"trainings": {"finetune": whole}}, {"trainings": {"finetune": cpu["trainings"]["finetune"]}}
    )


def test_chips_are_what_torch_xla_counts() -> None:
    from torch_xla._internal import tpu

    from octjob.runtime.topology import CHIP_IDS

    assert sorted(CHIP_IDS) == sorted(tpu._TPU_PCI_DEVICE_IDS)


def test_processes_that_torch_xla_does_not_find_are_refused() -> None:
    """Two processes of one run, each alone on its CPU by what torch_xla says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {
        "OCTJOB_DEVICE": "xla",
        "PJRT_DEVICE": "CPU",
        "OCTJOB_COORDINATOR": f"127.0.0.1:{port}",
    }
    name = "probe"
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(index), "2", name],
            env={**os.environ, **environ},
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    for process in processes:
        _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode != 0
        assert "the run has 2 processes, but torch_xla has found 1" in said
