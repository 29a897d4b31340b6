"""The shell completes what octjob has, without importing what a Tab should not wait for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from octjob.cli import cli


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
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
        "_OCTJOB_COMPLETE": "bash_complete",
    }
    code = "import sys; from octjob.cli import run; sys.exit(run([]))"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert set(done.stdout.split()) == expected
