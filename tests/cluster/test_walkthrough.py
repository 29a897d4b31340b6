"""The page that leads a new user through a sweep with a broken run says what really happens."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.cluster.__main__ import NAMESPACE, programs
from tests.cluster.controlplane import ControlPlane
from tests.cluster.tenancy import make_namespace, remove_namespace
from tests.cluster.tryout import write_tryout
from tests.cluster.walkthrough import carry_out, comparable, rewritten, steps

PAGE = Path(__file__).parents[2] / "docs" / "walkthrough.md"


@pytest.mark.timeout(900)
def test_the_walkthrough_prints_what_it_says(
    own_control_plane: ControlPlane, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    plane, folder = own_control_plane, tmp_path / "tryout"
    write_tryout(folder)
    make_namespace(plane, NAMESPACE)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(plane.kubeconfig.read_bytes())
    plane.kubectl("config", "set-context", "--current", "--namespace", NAMESPACE, kubeconfig=kubeconfig)
    path = f"{programs(tmp_path)}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "KUBECONFIG": str(kubeconfig), "PATH": path, "COLUMNS": "110", "TERM": "xterm"}
    page = PAGE.read_text()
    walk = steps(page)
    outputs = {step.command: carry_out(step, folder, env) for step in walk}
    remove_namespace(plane, NAMESPACE)
    assert not [said for said in outputs.values() if "Traceback" in said]
    if request.config.getoption("--update-goldens"):
        PAGE.write_text(rewritten(page, outputs, folder))
        page = PAGE.read_text()
    assert len(outputs) == len(walk) > 10, "each command once, so that its output is known by it"
    for step in steps(page):
        if not step.in_terminal:
            assert comparable(outputs[step.command], folder) == comparable(step.expected, folder), (
                step.command
            )
