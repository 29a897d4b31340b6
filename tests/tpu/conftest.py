"""Traces and compilations, each once a session, in processes of their own; and the table of what was compiled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tpu.compile import ENVIRONMENT, Compiled
from tests.tpu.programs import Chips, Program
from tests.tpu.trace import arguments

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
Compile = Callable[[Program, Chips], Compiled]
TABLE = pytest.StashKey[dict[tuple[Program, str], Compiled]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[TABLE]
    if not rows:
        return
    line = "{:40} {:12} {:>9} {:>9} {:>10} {:>7}"
    terminalreporter.section("what the TPU's compiler made of it, for one chip")
    terminalreporter.line(line.format("program", "chip", "temp GiB", "peak GiB", "compile s", "scores"))
    for (program, chips), made in rows.items():
        sizes = [f"{size / GIB:.2f}" for size in (made.temporaries, made.peak)]
        scores = "yes" if made.scores else "no"
        terminalreporter.line(line.format(program.name, chips, *sizes, f"{made.seconds:.0f}", scores))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Compile:
    """Trace and compile a program for chips."""
    folder = tmp_path_factory.mktemp("stablehlo")
    rows = request.config.stash[TABLE]

    def compile_once(program: Program, chips: Chips) -> Compiled:
        if (program, chips.name) not in rows:
            file = folder / program.name
            if not file.exists():
                run_module("tests.tpu.trace", *arguments(program), str(file))
            tokens = str(program.geometry.num_tokens)
            options = [f"{key}={value}" for key, value in chips.options]
            text = run_module(
                "tests.tpu.compile", str(file), chips.topology, str(program.chips), tokens, *options
            )
            rows[program, chips.name] = Compiled(**json.loads(text.splitlines()[-1]))
        return rows[program, chips.name]

    return compile_once


def run_module(module: str, *args: str) -> str:
    """Standard output of a module run without a network; what it said fails the test where it fails."""
    environment = {key: value for key, value in os.environ.items() if key != "TPU_ACCELERATOR_TYPE"}
    # torch_xla links libpython, which a Python that is not in a system folder has beside it.
    libraries = [str(sysconfig.get_config_var("LIBDIR")), environment.get("LD_LIBRARY_PATH", "")]
    environment |= ENVIRONMENT | {"LD_LIBRARY_PATH": ":".join(filter(None, libraries))}
    command = [*_offline(), sys.executable, "-m", module, *args]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{module} {' '.join(args)}: {done.returncode}\n{done.stderr[-4000:]}"
    return done.stdout


def _offline() -> list[str]:
    """A command that runs another without a network, where this machine allows that."""
    for command in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        if (
            shutil.which("unshare")
            and subprocess.run([*command, "true"], capture_output=True).returncode == 0
        ):
            return command
    return []
