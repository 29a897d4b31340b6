"""`make test-cluster` tries what failed once more, and says which tests needed that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
FLAKY = """
from pathlib import Path
import pytest

FILE = Path(__file__).with_name("tried")

def test_at_once():
    pass

@pytest.mark.parametrize("name", ["a", "b"])
def test_later(name, tmp_path):
    tried = FILE.with_suffix("." + name)
    first = not tried.exists()
    tried.touch()
    assert not first

def test_never():
    raise AssertionError
"""


def tried(folder: Path, *flags: str) -> list[str]:
    """The lines of pytest as the Makefile calls it."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.cluster.second_try", "-q", str(folder), *flags]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True).stdout.splitlines()


def test_what_needed_the_second_try_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_flaky.py").write_text(FLAKY)
    assert not [line for line in tried(tmp_path) if "second try" in line]
    again = tried(tmp_path, "--last-failed", "--last-failed-no-failures=none")
    (said,) = (line for line in again if "second try" in line)
    assert said == "needed the second try: test_flaky.py::test_later[a], test_flaky.py::test_later[b]"


def test_the_makefile_asks_for_it() -> None:
    (line,) = (line for line in (ROOT / "Makefile").read_text().splitlines() if "CLUSTER_TESTS :=" in line)
    assert "-p tests.cluster.second_try" in line
