"""The report of 12, 36 and 60 runs drawn from its stored leaderboard.

    python -m benchmarks.report [--runs 12 36 60] [--repeats 5]

CPU seconds, the least of the repeats: other processes only add. "Drawn" is what `octjob collect` does on top of its
table; the limit is the page of a sweep without runs. `octjob report` is the whole process, and its limit the imports
of what it cannot do without. Bytes are those of the page; the limit is again the page without runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, arguments, spent, tell
from octjob.leaderboard.board import build_leaderboard
from octjob.leaderboard.export import to_json
from octjob.records.layout import write_sweep
from octjob.records.schema import RunEntry, SweepRecord
from octjob.report.page import to_html
from octjob.storage.open import open_store

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from doubles.boards import CHECKPOINTS, document  # noqa: E402

NEEDED = "import click, jinja2, pydantic, yaml, octjob.leaderboard.board, octjob.storage.open"
WANTED = {36: "< 5 s"}
MOST_KB = {12: "< 500 kB", 36: "< 500 kB"}
# One page takes less than the clock of CPU time tells apart.
AT_ONCE = 20


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, nargs="+", default=[12, 36, 60])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    empty = _empty()
    without, empty_bytes = _drawn(empty, args.repeats), len(to_html(empty).encode())
    imports = _least([sys.executable, "-c", NEEDED], args.repeats)
    figures = []
    for count in args.runs:
        made = document(CHECKPOINTS, tuple(f"configuration_{k:02}" for k in range(count // len(CHECKPOINTS))))
        cpu_s, wanted = _drawn(made, args.repeats), WANTED.get(count, "")
        whole = _reported(made, args.repeats)
        figures += [
            Figure(f"{count} runs drawn", "CPU s", cpu_s, limit=without, limit_name="no runs", wanted=wanted),
            Figure(
                f"octjob report, {count} runs", "CPU s", whole, limit=imports, limit_name="imports", wanted=wanted
            ),
            Figure(
                f"page of {count} runs", "kB", len(to_html(made).encode()) / 1000, limit=empty_bytes / 1000,
                limit_name="no runs", wanted=MOST_KB.get(count, ""),
            ),
        ]  # fmt: skip
    tell(args, "The report", figures)


def _empty() -> dict[str, Any]:
    record = SweepRecord(name="empty", baseline=None, class_names=("a", "b", "c", "d"), runs=())
    made: dict[str, Any] = json.loads(to_json(build_leaderboard(record, [])))
    return made


def _drawn(made: dict[str, Any], repeats: int) -> float:
    """CPU seconds of the page, once its templates are read: a collector draws in a process that lives."""
    to_html(made)
    found = []
    for _ in range(repeats):
        with spent() as cost:
            for _ in range(AT_ONCE):
                to_html(made)
        found.append(cost.cpu_s / AT_ONCE)
    return min(found)


def _reported(made: dict[str, Any], repeats: int) -> float:
    """CPU seconds of `octjob report`, from the start of the process to the file."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"{folder}/demo")
        runs = tuple(
            RunEntry(**{key: row[key] for key in ("run_id", "checkpoint", "config")}) for row in made["rows"]
        )
        write_sweep(
            store, SweepRecord(name="demo", baseline=None, class_names=tuple(made["class_names"]), runs=runs)
        )
        store.put("leaderboard/leaderboard.json", json.dumps(made).encode())
        return _least(
            [sys.executable, "-m", "octjob", "report", store.root, "-o", f"{folder}/page.html"], repeats
        )


def _least(command: list[str], repeats: int) -> float:
    found = []
    for _ in range(repeats):
        with spent() as cost:
            subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        found.append(cost.cpu_s)
    return min(found)


if __name__ == "__main__":
    main()
