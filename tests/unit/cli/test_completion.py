"""The shell completes what octjob has, without importing what a Tab should not wait for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from octjob.cli import cli, complete


@pytest.mark.parametrize("shell", ["zsh", "fish", "bash"])
def test_the_script_calls_octjob_back(shell: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0
    assert f"_OCTJOB_COMPLETE={shell}_complete" in done.output


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("octjob re", {"plain,render", "plain,report", "plain,resume", "plain,retry"}),
        ("octjob cancel --n", {"plain,--no-wait", "plain,--namespace"}),
        ("octjob cancel sweeps/", {"file,sweeps/"}),
    ],
)
def test_tab_offers_commands_options_and_files(words: str, expected: set[str]) -> None:
    env = {
        **os.environ,
        "KUBECONFIG": os.devnull,
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
        "_OCTJOB_COMPLETE": "bash_complete",
    }
    code = "import sys; from octjob.cli import run; sys.exit(run([]))"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert set(done.stdout.split()) == expected


def write_kubeconfig(path: Path, server: str, *names: str) -> Path:
    """Contexts that share a cluster, each with a namespace of its name."""
    document: dict[str, Any] = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [
            {"name": name, "context": {"cluster": "c", "user": "u", "namespace": f"of-{name}"}}
            for name in names
        ],
        "current-context": names[0],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def offered(function: Any, incomplete: str = "") -> list[str]:
    """What it offers behind `octjob status`, but for files."""
    command = cli.get_command(click.Context(cli), "status")
    assert command is not None
    context = click.Context(command)
    items = function(context, command.params[0], incomplete)
    return [item.value for item in items if item.type != "file"]


def test_contexts_are_offered_without_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_kubeconfig(tmp_path / "a", "https://127.0.0.1:1", "gke-one", "gke-two")
    second = write_kubeconfig(tmp_path / "b", "https://127.0.0.1:1", "kind", "gke-two")
    broken = tmp_path / "c"
    broken.write_text("contexts: [")
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, (first, broken, second, tmp_path / "none"))))
    assert offered(complete.complete_context) == ["gke-one", "gke-two", "kind"]
    assert offered(complete.complete_context, "gke-t") == ["gke-two"]


def test_a_tab_waits_for_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complete, "LIMIT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        kubeconfig = write_kubeconfig(tmp_path / "k", f"http://127.0.0.1:{silent.getsockname()[1]}", "one")
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        assert offered(complete.complete_namespace) == ["of-one"]
        assert offered(complete.complete_target) == []


@pytest.mark.parametrize("text", ["gs://bucket/", "./sweeps", "sweeps/", "sweeps/phase3.yaml/a", "/tmp/x"])
def test_no_cluster_is_asked_for_a_path(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sweeps").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(complete, "_ask", lambda *_: pytest.fail("asked"))
    assert offered(complete.complete_target, text) == []
