"""What a run's process has imported by its first metric: nothing that only the end of it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from doubles.tiny_sweep import prepared, uri_of

LATER = ("pandas", "sklearn", "scipy.stats", "torch._dynamo", "sympy", "google.cloud", "b2sdk", "wandb")
CODE = """
import sys
from octjob.run.job import run_job
seen = []
def listen(progress):
    if progress.best_metric is not None and not seen:
        seen.extend(name for name in sys.argv[2:] if name in sys.modules)
        print("first metric", seen)
run_job(sys.argv[1], listen)
"""


def test_a_probe_scores_its_first_epoch_without_what_only_the_evaluation_needs(tmp_path: Path) -> None:
    _, (run,) = prepared(tmp_path, {"probe": {"train.epochs": 2}})
    command = [sys.executable, "-c", CODE, uri_of(run), *LATER]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["first metric []"]
