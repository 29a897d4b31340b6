"""From a config to what each chip does at a time, and to what would make that fit. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from octjob.models.choice import Backend, choose_attention
from octjob.models.footprint import Step, Work
from octjob.models.shape import EncoderGeometry
from octjob.spec.experiment import Experiment


def main_work(
    experiment: Experiment, geometry: EncoderGeometry, backend: Backend, shards: int, memory: int | None
) -> Work:
    """The largest thing a chip does: a training step of its share of a batch, or, of a probe, one volume's features.

    shards: chips that a batch is divided among. memory: bytes of one for programs, where known; `auto` goes by it.

    Raises `SpecError` as `choose_attention` does.
    """
    trains = experiment.mode == "finetune"
    batch = math.ceil(experiment.data.batch_size / shards) if trains else 1
    attention = choose_attention(experiment.model.attention, backend, geometry, batch)
    work = Work(geometry, batch, experiment.train.precision, attention, _step(experiment) if trains else None)
    return work.arranged(experiment.train.remat, memory)


def evaluation_work(experiment: Experiment, work: Work, shards: int) -> Work:
    """What a chip does between a fine-tuning's epochs: its share of a batch, forward only."""
    return replace(work, batch=math.ceil(experiment.data.val_batch_size / shards), step=None)


def _step(experiment: Experiment) -> Step:
    train = experiment.train
    return Step(
        remat=False,
        optimizer="SGD" if train.optimizer == "SGD" else "AdamW",
        accumulated=train.accumulate > 1,
        spare=train.early_stopping.enabled,
    )


@dataclass(frozen=True)
class Cure:
    """A change of config that makes a training step fit. keys: what to write, e.g. `train.remat: true`."""

    keys: tuple[str, ...]
    peak: int


def cures(experiment: Experiment, work: Work, backend: Backend, shards: int, memory: int) -> tuple[Cure, ...]:
    """What would make `work` fit into `memory` bytes: each change alone where it suffices, else together.

    A smaller batch comes with accumulation that leaves the step as it is.
    """
    if work.step is None:
        return _alone(_attentions(experiment, work, backend), memory)
    attentions = _attentions(experiment, work, backend)
    remats = [((), work)] if work.step.remat else [(("train.remat: true",), _remat(work))]
    found = _alone([*remats, *attentions, *_smaller(experiment, work, shards, memory)], memory)
    if found:
        return found
    both = [((*keys, "train.remat: true"), _remat(one)) for keys, one in (*attentions, ((), work))]
    both += [
        ((*keys, *more), smaller)
        for keys, one in both
        for more, smaller in _smaller(experiment, one, shards, memory)
    ]
    return _alone(both, memory)


_Change = tuple[tuple[str, ...], Work]


def _alone(changes: list[_Change], memory: int) -> tuple[Cure, ...]:
    return tuple(Cure(keys, work.peak) for keys, work in changes if keys and work.peak <= memory)


def _remat(work: Work) -> Work:
    assert work.step is not None
    return replace(work, step=replace(work.step, remat=True))


def _attentions(experiment: Experiment, work: Work, backend: Backend) -> list[_Change]:
    best = choose_attention("auto", backend, work.geometry, work.batch)
    if experiment.model.attention == "auto" or best == work.attention:
        return []
    return [(("model.attention: auto",), replace(work, attention=best))]


def _smaller(experiment: Experiment, work: Work, shards: int, memory: int) -> list[_Change]:
    """The largest share of a batch that fits and divides it, with as much more accumulation."""
    assert work.step is not None
    for times in range(2, work.batch + 1):
        size, rest = divmod(experiment.data.batch_size, times)
        smaller = replace(work, batch=math.ceil(size / shards), step=replace(work.step, accumulated=True))
        if not rest and smaller.peak <= memory:
            accumulate = experiment.train.accumulate * times
            return [((f"data.batch_size: {size}", f"train.accumulate: {accumulate}"), smaller)]
    return []
