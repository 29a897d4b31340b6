"""Packages that register backbones: the one in tests/plugins, and made-up ones. No torch here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATCHES = ROOT / "tests/plugins/octjob_patches"


def install(package: Path, target: Path) -> None:
    """Build and install a package into a folder, as a person would who has no network."""
    uv = shutil.which("uv") or str(ROOT / ".uv/bin/uv")
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--python", sys.executable)
    command = [uv, "pip", "install", *options, "--target", str(target), str(package)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_offline())
    assert done.returncode == 0, done.stderr


def _offline() -> dict[str, str]:
    return {**os.environ, "UV_OFFLINE": "1"}


def package(target: Path, name: str, module: str, entry: str, version: str = "1.0") -> None:
    """A package as installed: `module` is its source, `entry` what it registers under octjob.backbones."""
    (target / f"{name}.py").write_text(module)
    info = target / f"{name}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[octjob.backbones]\n{entry}\n")
