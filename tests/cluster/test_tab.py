"""Tab on a real control plane: names of what is there."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from octjob.cli import cli, complete
from tests.cluster.access import ClusterAccess
from tests.cluster.scripted import Scripted


def test_sweeps_runs_and_namespaces(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Scripted(control_plane, namespace, tmp_path, ("a",)).start("a")
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    # A busy machine may take longer than a person at a shell would.
    monkeypatch.setattr(complete, "LIMIT_S", 60.0)
    command = cli.get_command(click.Context(cli), "cancel")
    assert command is not None
    context = click.Context(command)
    context.params["namespace"] = namespace

    def offered(function: object, incomplete: str) -> list[str]:
        assert callable(function)
        return [
            item.value for item in function(context, command.params[0], incomplete) if item.type != "file"
        ]

    run = "a.linear-0000abcd"
    assert offered(complete.complete_target, "") == [run, "demo", f"demo/{run}"]
    assert offered(complete.complete_target, "demo/a") == [f"demo/{run}"]
    assert namespace in offered(complete.complete_namespace, "test-")
