"""The recipes of CONTRIBUTING.md, followed in a copy of the package: a metric and a head, seen in the table."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from doubles.tiny_sweep import fill_bucket, save_checkpoint, sweep_file

pytestmark = pytest.mark.slow

PACKAGE = Path(__file__).parents[2] / "octjob"
CONTRIBUTING = (PACKAGE.parent / "CONTRIBUTING.md").read_text()

METRIC = '''

@of_confusion
def macro_precision(confusion_BKK: FloatArray) -> FloatArray:
    """Mean precision over the classes that are predicted, [B]."""
    return mean_defined(divide(np.diagonal(confusion_BKK, axis1=1, axis2=2), confusion_BKK.sum(axis=1)))
'''
CATALOGUE = '    Metric("macro_precision", "precision", ranks=True, per_epoch=True, macro=True),\n'
HEAD = '''class CosineHead(nn.Module):
    """Cosine of pooled features to a vector a class: (B, E) -> logits (B, K)."""

    def __init__(self, in_dim: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_dim, num_classes, bias=False)

    def forward(self, x_BE: Tensor) -> Tensor:
        """(B, E) -> logits (B, K)."""
        return 8.0 * F.linear(F.normalize(x_BE), F.normalize(self.fc.weight))


'''


def edit(copy: Path, name: str, before: str, insert: str) -> None:
    """Insert before the first line that starts so; CONTRIBUTING must send people to that file."""
    assert f"octjob/{name}" in CONTRIBUTING
    path = copy / "octjob" / name
    text = path.read_text()
    assert before in text, f"{before!r} is no longer in {name}"
    path.write_text(text.replace(before, insert + before, 1))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, root / "octjob", ignore=shutil.ignore_patterns("__pycache__"))
    with (root / "octjob" / "evaluate" / "weighted.py").open("a") as file:
        file.write(METRIC)
    edit(root, "catalog.py", '    Metric("log_loss"', CATALOGUE)
    edit(root, "models/heads.py", "Head = LinearHead |", HEAD)
    edit(root, "models/heads.py", "LinearHead | MlpHead | AttentiveHead", "CosineHead | ")
    edit(root, "models/heads.py", '"linear", "mlp", "attentive"]', '"cosine", ')
    edit(root, "models/heads.py", '"linear", "mlp", "attentive")', '"cosine", ')
    edit(
        root,
        "models/heads.py",
        '        elif kind == "mlp":',
        '        elif kind == "cosine":\n            head = CosineHead(in_dim, num_classes)\n',
    )
    edit(root, "spec/experiment.py", "    dropout: Fraction = 0.0\n", "    cosine: bool = False\n")
    edit(root, "train/classifier.py", '"mlp" if settings.hidden else', '"cosine" if settings.cosine else ')
    return root


def octjob(copy: Path, *arguments: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "octjob", *arguments]
    done = subprocess.run(command, env=environ, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_metric_and_a_new_head_are_in_the_table(copy: Path) -> None:
    fill_bucket(copy / "bucket").write()
    save_checkpoint(copy / "a.pt")
    watched = {"epochs": 2, "early_stopping": {"enabled": True, "metric": "macro_precision"}}
    path = sweep_file(
        copy,
        {"linear": {"train": watched}, "cosine": {"model": {"head": {"cosine": True}}, "train": watched}},
    )
    octjob(copy, "submit", "--matrix", str(path), "--target", "local", "--concurrency", "1")
    table = octjob(copy, "collect", str(path), "--metric", "macro_precision", "-o", "csv")
    rows = {row["config"]: row for row in csv.DictReader(table.splitlines())}
    for row in rows.values():
        assert 0 <= float(row["macro_precision_low"]) <= float(row["macro_precision"]) <= 1
    assert "precision" in octjob(copy, "collect", str(path), "--metric", "macro_precision").splitlines()[3]
    histories = sorted((copy / "out").glob("tiny/runs/*/history.jsonl"))
    assert len(histories) == 2
    assert all('"holdout/macro_precision"' in path.read_text() for path in histories)
    assert rows["linear"]["macro_auroc"] != rows["cosine"]["macro_auroc"]


def test_a_result_from_before_the_metric_is_a_row_that_says_so(copy: Path, tmp_path: Path) -> None:
    fill_bucket(tmp_path / "bucket").write()
    save_checkpoint(tmp_path / "a.pt")
    path = sweep_file(tmp_path, {"linear": {"train": {"epochs": 1}}})
    octjob(PACKAGE.parent, "submit", "--matrix", str(path), "--target", "local")
    table = octjob(copy, "collect", str(path), "--metric", "macro_precision", "-o", "csv")
    (row,) = csv.DictReader(table.splitlines())
    assert float(row["macro_precision"]) >= 0
    assert "lacks macro_precision; evaluated again from the predictions" in row["reasons"]
