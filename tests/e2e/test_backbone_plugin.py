"""The package of docs/backbones.md, installed as the page says: planned, swept here, and in the table."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from doubles.backbones import save_patches
from doubles.packages import PATCHES, ROOT, install
from doubles.tiny_sweep import fill_bucket, save_checkpoint, sweep_file

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/backbones.md").read_text()


def octjob(site: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    environ |= {} if site is None else {"PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "octjob", *arguments]
    return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_page_shows_the_package_that_is_tested() -> None:
    module, project = PATCHES / "octjob_patches.py", PATCHES / "pyproject.toml"
    assert f"```python\n{module.read_text()}```\n" in PAGE
    assert f"```toml\n{project.read_text()}```\n" in PAGE
    assert len(module.read_text().splitlines()) <= 20


def test_a_package_of_twenty_lines_is_in_the_table(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(PATCHES, site)
    fill_bucket(tmp_path / "bucket", train=2, val=2).write()
    save_checkpoint(tmp_path / "a.pt")
    save_patches(tmp_path / "w.pt")
    path = sweep_file(
        tmp_path,
        {"probe": {"train": {"epochs": 2}}},
        checkpoints={
            "a": {"uri": f"{tmp_path}/a.pt", "num_heads": 2},
            "p": {"uri": f"{tmp_path}/w.pt", "backbone": "patches", "options": {"width": 16}},
        },
    )
    unknown = octjob(None, "plan", "--matrix", str(path), "--offline")
    assert unknown.returncode == 2
    assert "checkpoints.p.backbone: no backbone named 'patches'" in unknown.stderr
    submitted = octjob(site, "submit", "--matrix", str(path), "--target", "local", "--concurrency", "1")
    assert submitted.returncode == 0, submitted.stderr
    # Who only reads the table needs no package.
    collected = octjob(None, "collect", f"{tmp_path}/out/tiny", "-o", "csv")
    rows = {row["checkpoint"]: row for row in csv.DictReader(collected.stdout.splitlines())}
    assert rows.keys() == {"a", "p"}
    assert 0 <= float(rows["p"]["macro_auroc"]) <= 1
    (result,) = (tmp_path / "out/tiny/runs").glob("p.probe-*/result.json")
    facts = json.loads(result.read_text())["checkpoint_report"]["backbone"]
    assert facts["distribution"] == "octjob-patches 1.0"
    assert facts["normalisation"] == {"mean": [0.5], "std": [0.25]}
