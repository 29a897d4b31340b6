"""What a run's process has imported by the end of its training: nothing that only comes after."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from doubles.tiny_sweep import prepared, uri_of

LATER = ("pandas", "sklearn", "scipy.stats", "torch._dynamo", "sympy", "google.cloud", "b2sdk", "wandb")
CODE = """
import sys
from octjob.run import job
evaluate = job.evaluate
def noted(*args, **options):
    print("trained", [name for name in sys.argv[2:] if name in sys.modules])
    return evaluate(*args, **options)
job.evaluate = noted
job.run_job(sys.argv[1], lambda progress: None)
"""


def test_a_probe_trains_without_what_only_the_evaluation_needs(tmp_path: Path) -> None:
    _, (run,) = prepared(tmp_path, {"probe": {"train.epochs": 2}})
    command = [sys.executable, "-c", CODE, uri_of(run), *LATER]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["trained []"]
