"""What an epoch is, however many heads go through it: its order, its views, its line of history.

Shapes: N volumes of the cohort, or positions among them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from octjob.data.sampling import epoch_order, sample_weights
from octjob.errors import DataError
from octjob.spec.experiment import EarlyStopping, Experiment
from octjob.train.units import Indices, Unit


def order(unit: Unit, label_N: Indices, experiment: Experiment, epoch: int) -> Indices:
    """The unit's training positions in the order of the epoch, as often as the sampler takes each."""
    weighted = experiment.train.sampler == "weighted"
    labels = label_N[unit.train_N]
    weights = sample_weights(labels, experiment.classes.num_classes) if weighted else None
    return np.asarray(unit.train_N[epoch_order(len(labels), unit.seed, epoch, weights)])


def views(seed: int, epoch: int, num_views: int, num_volumes: int) -> Indices:
    """(N,) the view of each volume that the epoch trains on, drawn at random."""
    return np.random.default_rng([seed, epoch]).integers(num_views, size=num_volumes)


def step_size(experiment: Experiment, num_samples: int) -> int:
    """Samples of an optimisation step; the last of an epoch may have fewer."""
    return min(experiment.data.batch_size * experiment.train.accumulate, num_samples)


def steps_per_epoch(experiment: Experiment, num_samples: int) -> int:
    """Optimisation steps an epoch."""
    return math.ceil(num_samples / step_size(experiment, num_samples))


def record(
    unit: Unit, epoch: int, lr: dict[str, float], loss_sum: float, num_correct: float
) -> dict[str, Any]:
    """The training's part of a line of history. Raises `DataError` where the loss is not finite."""
    if not math.isfinite(loss_sum):
        raise DataError(
            f"training loss became {loss_sum} in epoch {epoch}",
            "Lower train.lr_head and train.lr_encoder, or set train.grad_clip.",
        )
    return {
        "seed": unit.seed,
        "repeat": unit.repeat,
        "fold": unit.fold,
        **({"share": unit.share} if unit.share < 1 else {}),
        "epoch": epoch,
        "lr": lr,
        "train/loss": loss_sum / len(unit.train_N),
        "train/accuracy": num_correct / len(unit.train_N),
    }


def improves(stopping: EarlyStopping, value: float, best: float | None) -> bool:
    """Whether an epoch's `value` of the watched metric beats the best one before it."""
    sign = -1.0 if stopping.metric == "loss" else 1.0
    return best is None or sign * (value - best) > stopping.min_delta
