"""octjob from Python: the notebook of the docs, executed; and the same calls where torch is not installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from doubles.tiny_sweep import fill_bucket, save_checkpoint, sweep_file

NOTEBOOK = Path(__file__).parents[2] / "docs" / "examples" / "python.ipynb"


def cells() -> list[str]:
    document = json.loads(NOTEBOOK.read_text())
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_bucket(tmp_path / "bucket").write()
    save_checkpoint(tmp_path / "a.pt")
    sweep_file(tmp_path, {"linear": {"train": {"epochs": 2}}, "logistic": {"train": {"optimizer": "LBFGS"}}})
    shutil.copy(next((tmp_path / "bucket").rglob("*.dcm")), tmp_path / "scan.dcm")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for source in cells():
        exec(compile(source, str(NOTEBOOK), "exec"), names)
    table, rows, feature = names["table"], names["rows"], names["feature"]
    assert isinstance(table, pd.DataFrame)
    assert isinstance(rows, pd.DataFrame)
    assert sorted(table["config"]) == ["linear", "logistic"]
    assert table["macro_auroc"].between(0, 1).all()
    assert [column for column in rows if column.startswith("logit_")] == [f"logit_{k}" for k in range(4)]
    assert len(rows) == 12
    curves = names["curves"]
    assert isinstance(curves, pd.DataFrame)
    assert curves["epoch"].tolist() == [0, 1]
    assert curves["train/loss"].notna().all()
    assert feature.shape == (32,)  # type: ignore[attr-defined]


WITHOUT_TORCH = """
import importlib.util
import sys

find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "torch" else find(name, package)
sys.modules["torch"] = None
import octjob

for call in (
    lambda: octjob.load_encoder("a.pt"),
    lambda: octjob.read_volume("scan.dcm"),
    lambda: octjob.submit("sweep.yaml", target="local"),
):
    try:
        call()
    except octjob.errors.SpecError as error:
        print(f"{error.message} | {error.hint}")
print(len(octjob.plan("sweep.yaml").runs))
"""


def python(folder: Path, source: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", source], env=environ, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_torch_one_line_says_what_to_install(tmp_path: Path) -> None:
    fill_bucket(tmp_path / "bucket").write()
    sweep_file(tmp_path, {"linear": {}})
    *refused, planned = python(tmp_path, WITHOUT_TORCH).splitlines()
    assert len(refused) == 3
    for line in refused:
        assert line.startswith("this installation cannot train: torch not installed | Install octjob[train]")
    assert planned == "1"


def test_importing_octjob_imports_nothing_heavy(tmp_path: Path) -> None:
    heavy = "{'torch', 'numpy', 'pandas', 'pydantic', 'kubernetes', 'click', 'yaml'}"
    assert python(tmp_path, f"import sys, octjob; print({heavy} & set(sys.modules))") == "set()\n"


def test_it_says_what_there_is() -> None:
    import octjob

    assert {"plan", "submit", "open_sweep", "load_encoder", "read_volume"} <= set(dir(octjob))
    with pytest.raises(AttributeError, match="no attribute 'plam'"):
        octjob.plam  # type: ignore[attr-defined]  # noqa: B018
