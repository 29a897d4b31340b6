"""How long `octjob doctor` takes on a sweep of 36 runs whose features are cached.

    python -m benchmarks.doctor_speed [--participants 400] [--features 768]

Six small encoders under six configurations are run first, which is not counted. Their cached features are then turned
into as many as a real encoder's, so that what is read and compared has a user's size. Prints seconds, with the
reading of records, tables and cache.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.numpy

from benchmarks.doctor import HEAD, LOGISTIC, healthy, planted
from octjob.doctor.examine import examine
from octjob.run.job import run_job
from octjob.run.shared import Shared
from octjob.spec.expand import plan_sweep
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store
from octjob.storage.sealed import seal, unseal
from octjob.targets.submit import write_plan

CONFIGS = {
    "logistic": LOGISTIC,
    "head": HEAD,
    "decayed": HEAD | {"train.weight_decay": 0.01},
    "mlp": HEAD | {"model.head.hidden": 16},
    "dropout": HEAD | {"model.head.dropout": 0.2},
    "standardised": HEAD | {"train.standardize": True},
}
NUM_TRAINED = 5


def finished_sweep(folder: Path, participants: int) -> tuple[ObjectStore, ObjectStore, int]:
    """Six encoders, one of them untrained, under six configurations: the sweep, its cache, the number of runs."""
    counts = {"train": (participants // 6,) * 4, "val": (participants // 12,) * 4}
    checkpoints = {f"c{number}": number + 1 for number in range(NUM_TRAINED)}
    plant = replace(healthy(), configs=CONFIGS, checkpoints=checkpoints, counts=counts)
    plan = plan_sweep(planted(plant, folder, seed=0))
    store, shared = open_store(plan.output), Shared()
    write_plan(plan, store, update=False)
    for run in plan.runs:
        run_job(f"{run.output}/runs/{run.run_id}", lambda progress: None, shared=shared)
    return store, open_store(plan.cache), len(plan.runs)


def widen(cache: ObjectStore, num_features: int) -> int:
    """Turn every cached feature into so many, which know the same; returns the bytes."""
    generator, size = np.random.default_rng(0), 0
    turn: np.ndarray | None = None
    for shard in [one for one in cache.list("features/") if one.key.endswith(".sealed")]:
        features = safetensors.numpy.load(unseal(cache.get(shard.key)) or b"")
        width = next(iter(features.values())).shape[-1]
        turn = generator.normal(size=(width, num_features)) / np.sqrt(width) if turn is None else turn
        data = safetensors.numpy.save({uid: (x @ turn).astype(np.float32) for uid, x in features.items()})
        cache.put(shard.key, seal(data))
        size += len(data)
    return size


def main() -> None:
    """Print how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--participants", type=int, default=400, help="in train and val (400)")
    parser.add_argument("--features", type=int, default=768, help="of each volume (768)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, cache, num_runs = finished_sweep(Path(folder) / "sweep", args.participants)
        size = widen(cache, args.features)
        began, worked = time.perf_counter(), time.process_time()
        found = examine(store)
        took, worked = time.perf_counter() - began, time.process_time() - worked
    judged = sum(one.verdict != "not judged" for one in found.findings)
    print(
        f"{num_runs} runs, {args.participants} volumes of {args.features} features, {size / 2**20:.0f} MiB of cache:"
        f" {took:.1f} s ({worked:.1f} s of processor time), {judged} of {len(found.findings)} gates judged"
    )


if __name__ == "__main__":
    main()
