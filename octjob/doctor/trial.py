"""Heads that are trained for a moment on cached features, to see what a configuration does. Nothing is kept of them.

Shapes: N volumes, E features, T tokens, K classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from octjob.data.cohort import Volume
from octjob.doctor.cached import Features
from octjob.runtime.single import Single
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run
from octjob.train.classifier import make_head
from octjob.train.loop import Loop, Task, Training
from octjob.train.scaling import scaled
from octjob.train.scoring import Scorer
from octjob.train.source import FeatureSource
from octjob.train.step import Step
from octjob.train.units import Indices, Unit, make_units

_EIGHT = 8
# A head that takes fewer steps than that in its run gets so many here: what is asked is whether it can learn.
_LEAST_STEPS, _MOST_STEPS = 1000, 3000
_LOOK_EVERY = 50
# Of the log-loss of knowing nothing, what is left of it once eight samples are known by heart.
BY_HEART = 0.1


@dataclass(frozen=True, eq=False)
class Bench:
    """A run's first unit, with the cached features of its volumes, float32 (1, N, E) or (1, N, T, E)."""

    run: Run
    volumes: Sequence[Volume]
    unit: Unit
    x_1N: Tensor


def make_bench(run: Run, volumes: Sequence[Volume], features: Features) -> Bench | None:
    """volumes: of the splits that the run uses. None where a part of its first unit is not in the cache.

    Raises `DataError` as `make_units` does.
    """
    there = [one for one in volumes if one.record.sop_instance_uid in features]
    if len({one.participant.split for one in there}) < (1 if run.is_pooled else 2):
        return None
    unit = make_units(there, run.config, run.passes[:1], run.folds, run.fold_seed)[0]
    x_N = np.stack([features[one.record.sop_instance_uid] for one in there])
    return Bench(run, there, unit, torch.from_numpy(x_N)[None])


class _EnoughError(Exception):
    """The steps asked for are taken."""


@dataclass
class _Steps:
    """Ends a training after so many optimisation steps."""

    most: int

    def after_step(self, training: Training) -> None:
        if training.epoch * training.steps_per_epoch + training.step >= self.most:
            raise _EnoughError

    def after_epoch(self, training: Training, records: Sequence[dict[str, Any]]) -> None:
        self.after_step(training)


def head_after(bench: Bench, config: Experiment, num_steps: int) -> Mapping[str, Tensor]:
    """The weights of the bench's head after its first optimisation steps under `config`."""
    x_1N, _ = scaled(config, bench.x_1N, bench.unit)
    scorer = Scorer(bench.volumes, config)
    head = make_head(config, x_1N.shape[-1], bench.unit.seed)
    task = Task(bench.unit, scorer.label_N, scorer.class_weights(bench.unit), scorer.for_unit(bench.unit))
    loop = Loop(head, FeatureSource(x_1N), task, config, Single("cpu"))
    with contextlib.suppress(_EnoughError):
        loop.run(_Steps(num_steps))
    return loop.weights()


def same_weights(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """To the bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@dataclass(frozen=True)
class Eight:
    """log-loss on eight samples before and after so many steps at a constant learning rate, in nats; `knows_nothing`
    is that of even odds."""

    before: float
    after: float
    num_steps: int
    knows_nothing: float

    @property
    def by_heart(self) -> bool:
        """Whether nothing is left to learn of them."""
        return self.after < BY_HEART * self.knows_nothing


def learn_eight(bench: Bench, lr_head: float) -> Eight:
    """Train the configured head on eight training samples, of as many classes as there are."""
    config = bench.run.config
    train = config.train.model_copy(update={"lr_head": lr_head})
    data = config.data.model_copy(update={"batch_size": _EIGHT})
    head_keys = config.model.head.model_copy(update={"dropout": 0.0})
    model = config.model.model_copy(update={"head": head_keys})
    plain = config.model_copy(update={"train": train, "data": data, "model": model})
    x_1N, _ = scaled(plain, bench.x_1N, bench.unit)
    label_N = Scorer(bench.volumes, config).label_N
    eight = _eight(bench.unit.train_N, label_N)
    x_8, label_8 = x_1N[0, eight].contiguous(), torch.from_numpy(label_N[eight])
    step = Step(make_head(plain, x_1N.shape[-1], bench.unit.seed), plain, Single("cpu"), len(eight))
    per_epoch = -(-len(bench.unit.train_N) // config.data.batch_size)
    most = max(_LEAST_STEPS, min(_MOST_STEPS, config.train.epochs * per_epoch))
    knows_nothing = float(np.log(config.classes.num_classes))
    before = after = _loss(step, x_8, label_8)
    for number in range(1, most + 1):
        step.add(x_8, label_8, torch.ones(len(eight)))
        step.apply(1.0)
        if number % _LOOK_EVERY == 0:
            after = _loss(step, x_8, label_8)
            if not after >= BY_HEART * knows_nothing:
                return Eight(before, after, number, knows_nothing)
    return Eight(before, after, most, knows_nothing)


def _eight(train_N: Indices, label_N: Indices) -> Indices:
    """Of each class in turn the first that is left."""
    by_class = [train_N[label_N[train_N] == k].tolist() for k in np.unique(label_N[train_N])]
    longest = max(map(len, by_class))
    turns = [some[i] for i in range(longest) for some in by_class if i < len(some)]
    return np.array(turns[:_EIGHT], np.int64)


def _loss(step: Step, x_8: Tensor, label_8: Tensor) -> float:
    with torch.no_grad():
        return float(F.cross_entropy(step.model(x_8), label_8))
