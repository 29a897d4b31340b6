"""Which training seeds a run has where its sweep does not say, and what must be said of it when there is one."""

from __future__ import annotations

from dataclasses import dataclass

from octjob.spec.experiment import Experiment
from octjob.spec.protocol import Evaluate
from octjob.spec.run import Run

NUM_SEEDS = 5
ONE_MODEL = (
    "one trained model speaks for the configuration: fine-tuned with one seed; list `seeds` to see others"
)


@dataclass(frozen=True)
class Seeding:
    """per_repeat: repeat r of the folds is trained with the r-th seed alone, else with every seed."""

    seeds: tuple[int, ...]
    per_repeat: bool = False


def seeding(config: Experiment, listed: tuple[int, ...], evaluate: Evaluate) -> Seeding:
    """The seeds of one run.

    Listed seeds are all trained in every repeat. Otherwise folds give each repeat a seed of its own; the split gives
    five to a probe whose optimiser draws random numbers, and one to logistic regression and to fine-tuning. They
    count up from the config's own seed.
    """
    if listed:
        return Seeding(listed)
    if evaluate.protocol == "folds":
        return Seeding(_from(config.seed, evaluate.repeats), per_repeat=True)
    draws = config.mode == "probe" and config.train.optimizer != "LBFGS"
    return Seeding(_from(config.seed, NUM_SEEDS if draws else 1))


def seeding_notes(run: Run) -> tuple[str, ...]:
    """What the plan and the run say of the seeds."""
    return (
        (ONE_MODEL,) if run.config.mode == "finetune" and run.num_units == 1 and run.leave_out is None else ()
    )


def _from(first: int, count: int) -> tuple[int, ...]:
    return tuple(range(first, first + count))
