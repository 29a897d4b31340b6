"""Sweeps of 36 and 1,000 runs collected, and one of 10,000 planned.

    python -m benchmarks.collect_scale [--runs 36 1000] [--planned 10000]

CPU seconds of the whole process, from its start to the table, and its peak memory. The peer scores the draws of
one run after the other with scikit-learn, timed on a few draws and scaled up, and makes nothing else of the table.
10,000 runs are collected by `benchmarks.collect_10k`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from sklearn.metrics import roc_auc_score

from benchmarks.figures import Figure, arguments, spent, tell
from octjob.evaluate import by_participant, evaluate
from octjob.leaderboard.board import NUM_DRAWS
from octjob.records.layout import RESULT, encode, run_key, write_sweep
from octjob.records.predictions import write_predictions
from octjob.records.schema import RunEntry
from octjob.storage.open import open_store
from tests.doubles import sweep_results

ROOT = Path(__file__).parents[1]
WANTED = {36: "< 3 s", 1000: "< 30 s", 10_000: "< 600 s"}
NUM_CONFIGS = 40
PEER_DRAWS = 20
_MEASURED = """
import sys
from octjob.cli import run
code = run(sys.argv[1:])
from benchmarks.figures import peak_mib
print("peak MB", round(peak_mib()), file=sys.stderr)
sys.exit(code)
"""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, nargs="+", default=[36, 1000])
    parser.add_argument("--planned", type=int, default=10_000)
    args = parser.parse_args()
    figures, per_draw = [], _peer_per_draw()
    with tempfile.TemporaryDirectory() as folder:
        for count in args.runs:
            root = Path(folder) / str(count)
            write_results(root, count)
            cpu_s, megabytes = measured("collect", str(root))
            peer = count * NUM_DRAWS * per_draw
            what = f"collect {count:,} runs"
            figures.append(
                Figure(what, "CPU s", cpu_s, peer, "scikit-learn's draws", wanted=WANTED.get(count, ""))
            )
            figures.append(Figure(f"{what}, peak memory", "MB", megabytes))
        path = many_runs(Path(folder), args.planned)
        cpu_s, megabytes = measured("plan", "--offline", "--matrix", str(path))
    figures.append(Figure(f"plan {args.planned:,} runs", "CPU s", cpu_s, wanted="< 3 s"))
    figures.append(Figure(f"plan {args.planned:,} runs, peak memory", "MB", megabytes))
    tell(args, "Many runs", figures, [f"Peer: {PEER_DRAWS} draws timed, {NUM_DRAWS} counted for each run."])


def write_results(root: Path, count: int) -> None:
    """A finished sweep of runs on 65 participants, with few draws behind the intervals: they are only read."""
    store, label_P = open_store(str(root)), sweep_results.labels()
    rng = np.random.default_rng(0)
    entries: list[RunEntry] = []
    first = RunEntry(run_id="first", checkpoint="c0", config="k0")
    record = sweep_results.result(first, sweep_results.skilled(label_P, 1.0, seed=0), "same", 0.9)
    for i in range(count):
        checkpoint, config = f"c{i // NUM_CONFIGS}", f"k{i % NUM_CONFIGS}"
        entry = RunEntry(run_id=f"{checkpoint}.{config}-{i:08x}", checkpoint=checkpoint, config=config)
        entries.append(entry)
        predictions = sweep_results.skilled(label_P, float(rng.uniform(0, 1.5)), seed=i)
        evaluation = evaluate(predictions, 4, num_draws=20, class_names=sweep_results.CLASSES)
        changed = {"run_id": entry.run_id, "checkpoint": checkpoint, "config": config}
        of_run = record.model_copy(update={**changed, "evaluation": evaluation.to_dict()})
        write_predictions(store, entry.run_id, predictions)
        store.put(run_key(entry.run_id, RESULT), encode(of_run))
    write_sweep(store, sweep_results.sweep(entries, baseline="c0"))


def many_runs(folder: Path, count: int) -> Path:
    """Ten checkpoints and as many learning rates as make `count` runs."""
    sweep = {
        "name": "many",
        "output": f"{folder}/out",
        "checkpoints": {f"c{i}": f"gs://bucket/{i}.pt" for i in range(10)},
        "configs": {f"lr{i}": {"overrides": {"train.lr_head": (i + 1) * 1e-6}} for i in range(count // 10)},
        "data": {"source": "b2://bucket/dataset"},
        "compute": {"target": "kubernetes", "accelerator": "v4-32", "image": f"octjob@sha256:{'0' * 64}"},
    }
    path = folder / "many.yaml"
    path.write_text(yaml.safe_dump(sweep))
    return path


def measured(*command: str) -> tuple[float, float]:
    """CPU seconds and peak megabytes of an octjob command in a process of its own."""
    with spent() as used:
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
            cwd=ROOT,
        )
    found = re.search(r"peak MB (\d+)", done.stderr)
    assert found is not None, done.stderr
    return used.cpu_s, float(found[1])


def _peer_per_draw() -> float:
    """CPU seconds of scikit-learn's macro AUROC of one run on one draw."""
    label_P = sweep_results.labels()
    probability_PK = by_participant(sweep_results.skilled(label_P, 1.0, seed=0)).probability_SPK[0]
    draws = [np.random.default_rng(b).integers(0, len(label_P), len(label_P)) for b in range(PEER_DRAWS)]
    began = time.process_time()
    for draw_P in draws:
        roc_auc_score(label_P[draw_P], probability_PK[draw_P], multi_class="ovr")
    return (time.process_time() - began) / PEER_DRAWS


if __name__ == "__main__":
    main()
