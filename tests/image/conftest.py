"""The image that `make image` has built, and the engine that runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TAG = os.environ.get("TAG", "octjob:dev")
# Python in the image, where a test looks into it.
_PYTHON = ("--entrypoint", "/opt/octjob/bin/python")


@dataclass(frozen=True)
class Image:
    """engine: `docker` or what stands in for it. tag: the image's name."""

    engine: str
    tag: str

    def call(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`docker ARGUMENTS`."""
        return subprocess.run([self.engine, *arguments], capture_output=True, text=True, check=check)

    def command(self, *octjob: str, options: tuple[str, ...] = ()) -> list[str]:
        """`docker run` as a pod is run: no network, no writable root, no rights."""
        shut = (
            "--rm",
            "--network",
            "none",
            "--read-only",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
        )
        return [self.engine, "run", *shut, *options, self.tag, *octjob]

    def octjob(self, *arguments: str, options: tuple[str, ...] = ()) -> str:
        """What `octjob ARGUMENTS` prints in it; it must succeed."""
        done = subprocess.run(
            self.command(*arguments, options=options), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def python(self, code: str) -> Any:
        """The JSON that a line of Python prints in it."""
        return json.loads(self.octjob("-c", code, options=_PYTHON).splitlines()[-1])

    def inspect(self) -> dict[str, Any]:
        """What the engine knows of the image."""
        (found,) = json.loads(self.call("image", "inspect", self.tag).stdout)
        document: dict[str, Any] = found
        return document


@pytest.fixture(scope="session")
def image() -> Image:
    """Skips where there is no engine that has the image."""
    for name in ("docker", "/usr/bin/docker", "podman"):
        if (engine := shutil.which(name)) is None:
            continue
        found = Image(engine, TAG)
        if found.call("image", "inspect", TAG, check=False).returncode == 0:
            return found
    pytest.skip(f"no engine here has {TAG}; `make image` builds it")


def open_to_all(folder: Path) -> None:
    """Let the image's user read and write below a folder of ours."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
