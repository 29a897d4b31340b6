"""The image as a user has it: what is in it, what is not, and how a run in it begins, stops and goes on elsewhere."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles.tiny_sweep import prepared, uri_of
from scipy.special import softmax

from octjob.records.layout import read_progress
from octjob.records.predictions import read_predictions
from octjob.run.job import run_job
from tests.image.conftest import Image, open_to_all

FINETUNE: dict[str, Any] = {
    # So many that a slow engine still finds it at work.
    "train.epochs": 150,
    "data.batch_size": 4,
    "data.augment": {"flip": True},
    "model": {"freeze_encoder": False, "head": {"hidden": 8}},
}
PATIENCE_S = 180.0


def test_it_can_do_what_runs_ask_of_it(image: Image) -> None:
    said = image.octjob("self-check")
    assert "torch_xla: 2.9.0" in said
    assert "!" not in said


def test_another_user_id_will_do(image: Image) -> None:
    said = image.octjob("self-check", options=("--user", "4711:4711", "--tmpfs", "/tmp:mode=1777"))
    assert "torch_xla: 2.9.0" in said


def test_nothing_in_it_installs_compiles_or_tests(image: Image) -> None:
    found = image.python(
        "import importlib.util, json, shutil;"
        "programs = [p for p in ('pip', 'pip3', 'uv', 'gcc', 'cc', 'make', 'git', 'curl') if shutil.which(p)];"
        "modules = [m for m in ('pip', 'setuptools', 'ensurepip', 'pytest', 'mypy', 'hatchling')"
        " if importlib.util.find_spec(m)];"
        "print(json.dumps(programs + modules))"
    )
    assert found == []


def test_nothing_of_the_build_is_left(image: Image) -> None:
    found = image.python(
        "import json, os; print(json.dumps([p for p in"
        " ('/src', '/wheel', '/build', '/uv', '/cache', '/requirements', '/root/.cache', '/opt/added')"
        " if os.path.exists(p)]))"
    )
    assert found == []
    config = image.inspect()["Config"]
    assert {entry.partition("=")[0] for entry in config["Env"]} == {
        *("PATH", "HOME", "USER", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "OCTJOB_REVISION"),
    }
    history = image.call("history", "--no-trunc", "--format", "{{.CreatedBy}}", image.tag).stdout
    assert "index" not in history, "an index's address may hold a password"


def test_it_says_what_it_is(image: Image) -> None:
    config = image.inspect()["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["octjob"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == "octjob"
    # A result says by it which code it is of.
    assert f"OCTJOB_REVISION={labels['org.opencontainers.image.revision']}" in config["Env"]
    assert image.octjob("--version").startswith("octjob, version ")


def test_modules_were_compiled_before(image: Image) -> None:
    """Nothing is written beside them at run time, so what is missing is compiled at every start."""
    missing = image.python(
        "import importlib.util, json, pathlib, octjob, torch;"
        "files = [f for m in (octjob, torch) for f in pathlib.Path(m.__file__).parent.rglob('*.py')];"
        "print(json.dumps([str(f) for f in files"
        " if not pathlib.Path(importlib.util.cache_from_source(str(f))).exists()][:5]))"
    )
    assert missing == []


@pytest.mark.timeout(600)
def test_docker_stop_saves_the_state_and_the_run_goes_on_elsewhere(image: Image, tmp_path: Path) -> None:
    store, (run,) = prepared(tmp_path, {"finetune": FINETUNE}, seeds=[1])
    open_to_all(tmp_path)
    name = f"octjob-test-{run.run_id}"
    options = ("--volume", f"{tmp_path}:{tmp_path}", "--name", name, "--env", "OMP_NUM_THREADS=1")
    command = image.command("train", "--run", uri_of(run), options=options)
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + PATIENCE_S
    while (progress := read_progress(store, run.run_id)) is None or not progress.epoch:
        assert started.poll() is None, started.communicate()[0]
        assert time.monotonic() < deadline, progress
        time.sleep(0.05)
    image.call("stop", "--time", "60", name)
    said, _ = started.communicate()
    assert started.returncode == 75, said
    assert "stopped by signal 15" in said

    open_to_all(tmp_path)
    assert run_job(uri_of(run), lambda _: None).attempts == 2
    continued = read_predictions(store, run.run_id)
    undisturbed, (same,) = prepared(tmp_path, {"finetune": FINETUNE}, seeds=[1], output=f"{tmp_path}/again")
    run_job(uri_of(same), lambda _: None)
    expected = read_predictions(undisturbed, same.run_id)
    np.testing.assert_array_equal(continued.participant, expected.participant)
    np.testing.assert_allclose(softmax(continued.logits_NK, 1), softmax(expected.logits_NK, 1), atol=2e-5)
