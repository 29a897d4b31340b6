"""What an untrained encoder and the original's head report, seed by seed.

    octjob demo --sweep seed_replay --dir replay-out
    python -m benchmarks.seed_replay replay-out/sweeps/seed_replay

The original reported a training accuracy of 0.357, a training loss of 1.50 (guessing uniformly: ln 4 = 1.386) and a
validation accuracy of 17/65 = 0.2615 for each of three checkpoints, and took the training accuracy for learning and
the missing class weights for the cause. Here nothing can be learned. Printed, for each configuration: the seeds'
training accuracy and loss as the epoch reports them, how many losses are above ln 4, how many seeds score 17/65, and
which class took at least 95 % of the validation predictions in how many seeds.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from dataclasses import dataclass

from octjob.evaluate.verdict import DOMINANT_SHARE
from octjob.records.layout import HISTORY, read_result, read_sweep, run_key
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store

UNIFORM_LOSS = math.log(4)
REPORTED_ACCURACY = 17 / 65


@dataclass(frozen=True)
class Replayed:
    """One configuration; tuples have one value per seed.

    constant_classes: by class, the seeds in which it took at least 95 % of the predictions.
    """

    config: str
    checkpoint_verdict: str
    constant: bool
    train_accuracy_S: tuple[float, ...]
    train_loss_S: tuple[float, ...]
    accuracy_S: tuple[float, ...]
    constant_classes: Counter[int]

    @property
    def num_above_uniform(self) -> int:
        """Seeds whose training loss is above that of guessing uniformly."""
        return sum(loss > UNIFORM_LOSS for loss in self.train_loss_S)

    @property
    def num_reported(self) -> int:
        """Seeds that score what the original reported."""
        return sum(abs(accuracy - REPORTED_ACCURACY) < 1e-9 for accuracy in self.accuracy_S)


def replayed(store: ObjectStore) -> list[Replayed]:
    """Every finished run of the sweep whose results `store` holds."""
    results = [read_result(store, run.run_id) for run in read_sweep(store).runs]
    outcomes = []
    for result in filter(None, results):
        lines = [json.loads(line) for line in store.get(run_key(result.run_id, HISTORY)).splitlines()]
        seeds = result.evaluation["metrics"]["per_seed"]
        counts_SK = [seed["prediction_counts"] for seed in seeds]
        tops = [
            counts.index(max(counts)) for counts in counts_SK if max(counts) >= DOMINANT_SHARE * sum(counts)
        ]
        outcomes.append(
            Replayed(
                config=result.config,
                checkpoint_verdict=result.checkpoint_report["fingerprint"]["verdict"],
                constant=result.evaluation["verdict"]["constant"],
                train_accuracy_S=tuple(line["train/accuracy"] for line in lines),
                train_loss_S=tuple(line["train/loss"] for line in lines),
                accuracy_S=tuple(seed["accuracy"] for seed in seeds),
                constant_classes=Counter(tops),
            )
        )
    return outcomes


def describe(one: Replayed) -> str:
    """A few lines for people."""
    num = len(one.accuracy_S)
    mean_accuracy, mean_loss = sum(one.train_accuracy_S) / num, sum(one.train_loss_S) / num
    classes = ", ".join(f"class {k} in {count}" for k, count in sorted(one.constant_classes.items()))
    return "\n".join(
        (
            f"{one.config}: checkpoint {one.checkpoint_verdict}, {num} seeds, "
            + ("constant (collapsed)" if one.constant else "not constant"),
            f"  train accuracy  {mean_accuracy:.3f} ({min(one.train_accuracy_S):.3f} to "
            f"{max(one.train_accuracy_S):.3f})",
            f"  train loss      {mean_loss:.3f}; above ln 4 in {one.num_above_uniform} of {num}",
            f"  val accuracy    17/65 in {one.num_reported} of {num}",
            f"  constant class  {classes or 'none'}",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", help="the sweep's directory or URI")
    for one in replayed(open_store(parser.parse_args().sweep)):
        print(describe(one))


if __name__ == "__main__":
    main()
