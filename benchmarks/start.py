"""From the start of the process to a probe's first metric, on cached features.

    python -m benchmarks.start [--repeats 3]

CPU and wall seconds, the least of the repeats: other processes only add. The limit is what importing torch takes.
The probe trains one epoch and ends where its evaluation would begin.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Figure, Spent, arguments, spent, tell

ROOT = Path(__file__).parents[1]
FIRST_METRIC = """
import os, sys
from octjob.run import job
job.evaluate = lambda *args, **options: os._exit(0)
job.run_job(sys.argv[1], lambda progress: None)
sys.exit("nothing was evaluated")
"""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [_prepared(Path(folder), number) for number in range(args.repeats + 1)]
        # The first one encodes.
        command = [sys.executable, "-c", FIRST_METRIC]
        probe = [_least([*command, run], 1) for run in runs][1:]
    torch = _least([sys.executable, "-c", "import torch"], args.repeats)
    helped = _least([str(Path(sys.executable).with_name("octjob")), "--help"], args.repeats)
    python = _least([sys.executable, "-c", "import click"], args.repeats)
    cpu, wall = min(one.cpu_s for one in probe), min(one.wall_s for one in probe)
    wanted, limit = "< 4 s", "import torch"
    figures = [
        Figure(
            "probe, to the first metric", "CPU s", cpu, limit=torch.cpu_s, limit_name=limit, wanted=wanted
        ),
        Figure("probe, to the first metric", "s", wall, limit=torch.wall_s, limit_name=limit, wanted=wanted),
        Figure(
            "octjob --help",
            "CPU s",
            helped.cpu_s,
            limit=python.cpu_s,
            limit_name="import click",
            wanted="< 0.1 s",
        ),
    ]
    tell(args, "Start", figures)


def _prepared(folder: Path, number: int) -> str:
    """A submitted run of a tiny sweep in the folder, which finds the features that another left; its URI."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'tests')\n"
        "from doubles.tiny_sweep import prepared, uri_of\n"
        f"configs = {{'probe': {{'train.epochs': 1, 'train.lr_head': {number + 1}e-4}}}}\n"
        f"_, (run,) = prepared(Path(sys.argv[1]), configs, name='tiny{number}')\n"
        "print(uri_of(run))"
    )
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()[-1]


def _least(command: Sequence[str], repeats: int) -> Spent:
    found = []
    for _ in range(repeats):
        with spent() as one:
            subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        found.append(one)
    return min(found, key=lambda one: one.cpu_s)


if __name__ == "__main__":
    main()
