"""How time and memory grow with volumes, runs and concurrent runs, and what gives first.

    python -m benchmarks.growth [--volumes 100 1000 10000 100000 250000] [--runs 10 100 1000]

Volumes: a probe (`octjob train`'s own code, five epochs, batches of 32) on cached features of 16 numbers, one
participant for ten volumes; CPU seconds by the stage of the run, and the most memory of its process. Runs: `plan` and
`collect` of a made sweep. Concurrent runs, in simulated time (`benchmarks.simulated_time`): runs that divide the
encoding, some of several hosts each, and some with more volumes that take a second each, as a large encoder's do.
The exponent is that of time against number between the last two sizes: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from doubles.aireadi_bucket import Bucket
from doubles.tiny_sweep import SITES, save_checkpoint, submitted, sweep_file, uri_of

from benchmarks.collect_scale import many_runs, measured, write_results
from benchmarks.figures import Figure, arguments, peak_mib, tell
from benchmarks.shared_encoding import together
from octjob.features.encode import Encoding
from octjob.features.store import FeatureStore, Form, Shards
from octjob.models.pooling import VECTORS
from octjob.run.inputs import load_encoder
from octjob.run.shared import Shared
from octjob.runtime.single import Single
from octjob.spec.run import Run
from octjob.storage.open import open_store

VOLUMES_A_PERSON = 10
# The whole of AI-READI v3's structural volumes, and four times that.
LARGEST = 250_000


def main() -> None:
    """Print the three tables' worth of figures."""
    parser = arguments(__doc__)
    parser.add_argument("--volumes", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000, LARGEST])
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 100, 1_000])
    parser.add_argument("--concurrent", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--carry-out", metavar="URI", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.carry_out:
        print(json.dumps(carried_out(args.carry_out)))
        return
    figures, notes = volumes(args.volumes)
    more, more_notes = runs(args.runs)
    shares, share_notes = concurrent(args.concurrent)
    tell(args, "Growth", [*figures, *more, *shares], [*notes, *more_notes, *share_notes])


def volumes(sizes: Sequence[int]) -> tuple[list[Figure], list[str]]:
    """A probe on the cached features of more and more volumes."""
    found = {size: probe(size) for size in sizes}
    figures = []
    for size, (stages, most_mib) in found.items():
        figures.append(Figure(f"probe on {size:,} volumes, after the imports", "CPU s", sum(stages.values())))
        figures.append(Figure(f"probe on {size:,} volumes, peak memory", "MiB", most_mib))
    last, before = found[sizes[-1]][0], found[sizes[-2]][0]
    heaviest = max(last, key=lambda stage: last[stage])
    stages = ", ".join(
        f"{stage} {last[stage]:.1f} s (exponent {exponent(sizes, before[stage], last[stage]):.2f})"
        for stage in last
    )
    return figures, [
        f"Volumes, at {sizes[-1]:,}: {stages}. First bottleneck: {heaviest}. In all the exponent is "
        f"{exponent(sizes, sum(before.values()), sum(last.values())):.2f}."
    ]


def probe(size: int) -> tuple[dict[str, float], float]:
    """CPU seconds by stage, and the peak in MiB, of a process that carries out a probe."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder / "bucket", size)
        save_checkpoint(folder / "a.pt", embed_dim=16)
        overrides = {"train.epochs": 5, "data.batch_size": 32, "train.precision": "fp32"}
        _, plan = submitted(sweep_file(folder, {"probe": overrides}))
        (run,) = plan.runs
        keep_features(run, size)
        command = [sys.executable, "-m", "benchmarks.growth", "--carry-out", uri_of(run)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(answer.splitlines()[-1])
    return found["stages"], found["peak_mib"]


def fill(root: Path, size: int) -> None:
    """The tables of a bucket without volumes: their features are there already."""
    bucket = Bucket(root)
    for number in range(max(size // VOLUMES_A_PERSON, 16)):
        identity = str(1000 + number)
        split = "train" if number // 4 % 3 else "val"
        bucket.person(identity, label=number % 4, split=split, site=SITES[number % 3])
        for _ in range(min(VOLUMES_A_PERSON, size)):
            bucket.volume(identity)
    bucket.write()


def keep_features(run: Run, size: int) -> None:
    """Random features for every volume of the bucket, as if some run had encoded them."""
    loaded = load_encoder(run, Shared(), lambda done, total: None)
    encoding = Encoding(loaded, run.config, Single("cpu"))
    store, form = open_store(run.cache), Form("identity", VECTORS)
    shards = Shards(lambda form: FeatureStore(store, encoding.key, form))
    rng = np.random.default_rng(0)
    for number in range(max(size // VOLUMES_A_PERSON, 16) * VOLUMES_A_PERSON):
        # The mean and the maximum over the tokens.
        shards.add(form, f"1.2.826.{number + 1}", rng.normal(size=(2, 16)).astype(np.float32))
    shards.close()


def carried_out(uri: str) -> dict[str, Any]:
    """Carry the run out in this process, and tell its CPU seconds by stage and its peak."""
    from octjob.records.schema import Progress
    from octjob.run.job import run_job

    stages: dict[str, float] = {}
    stage, since = "starting", time.process_time()

    def listen(progress: Progress) -> None:
        nonlocal stage, since
        now = time.process_time()
        stages[stage] = stages.get(stage, 0.0) + now - since
        stage, since = progress.stage, now

    run_job(uri, listen)
    return {
        "stages": stages,
        "peak_mib": peak_mib(),
    }


def runs(sizes: Sequence[int]) -> tuple[list[Figure], list[str]]:
    """Planning and collecting larger and larger sweeps, each as a command."""
    figures, spent_s = [], []
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_results(folder / "results", size)
            plan_s, _ = measured("plan", "--offline", "--matrix", str(many_runs(folder, size)))
            collect_s, peak_mb = measured("collect", str(folder / "results"))
        figures.append(Figure(f"plan, {size:,} runs", "CPU s", plan_s))
        figures.append(Figure(f"collect, {size:,} runs", "CPU s", collect_s))
        figures.append(Figure(f"collect, {size:,} runs, peak memory", "MB", peak_mb))
        spent_s.append((plan_s, collect_s))
    (plan_before, collect_before), (plan_last, collect_last) = spent_s[-2:]
    return figures, [
        f"Runs, at {sizes[-1]:,}: plan grows with exponent {exponent(sizes, plan_before, plan_last):.2f}, collect "
        f"with {exponent(sizes, collect_before, collect_last):.2f}."
    ]


def concurrent(counts: Sequence[int]) -> tuple[list[Figure], list[str]]:
    """Runs that divide 400 volumes of 50 ms or 4,000 of a second, a request to the store taking 10 ms."""
    figures, efficiency = [], 1.0
    for count in counts:
        found, efficiency = dividing(count)
        figures += found
    for count in counts[1:-1]:
        figures += dividing(count, num_hosts=4)[0]
    for count in counts[-2:]:
        found, slow = dividing(count, num_volumes=4_000, encode_s=1.0)
        figures += found
    return figures, [
        f"Concurrent runs, in simulated time: {counts[-1]} of them reach {efficiency:.0%} of the encoding divided "
        f"with 400 volumes of 50 ms, six for each, and {slow:.0%} with 4,000 of a second. Each run fetches what "
        "every other wrote, so that requests grow with their number."
    ]


def dividing(
    count: int, num_volumes: int = 400, encode_s: float = 0.05, num_hosts: int = 1
) -> tuple[list[Figure], float]:
    """What `count` runs of so many hosts take, and which share of the encoding divided that is."""
    wall_s, shares, requests = together(count, num_volumes, encode_s, 0.01, num_hosts)
    limit_s = num_volumes * encode_s / (count * num_hosts)
    runs = f"{count} runs" if num_hosts == 1 else f"{count} runs of {num_hosts} hosts"
    what = f"{runs} encode {num_volumes:,} volumes" + ("" if encode_s < 1 else f" of {encode_s:g} s")
    return [
        Figure(what, "s", wall_s, limit=limit_s, limit_name="encoding divided"),
        Figure(f"{what}: requests to the store a volume", "", requests / num_volumes),
        Figure(f"{what}: volumes encoded twice", "", sum(shares) - num_volumes),
    ], limit_s / wall_s


def exponent(sizes: Sequence[int], before: float, last: float) -> float:
    """Of the growth between the last two sizes."""
    if before <= 0 or last <= 0:
        return 0.0
    return math.log(last / before) / math.log(sizes[-1] / sizes[-2])


if __name__ == "__main__":
    main()
