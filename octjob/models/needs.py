"""From a config to what each chip does at a time, and to what would make that fit. No torch here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from octjob.models.choice import Backend, choose_attention
from octjob.models.footprint import FULL, Step, Work
from octjob.models.shape import EncoderGeometry
from octjob.spec.experiment import Experiment


def main_work(
    experiment: Experiment, geometry: EncoderGeometry, backend: Backend, shards: int, memory: int | None
) -> Work:
    """The largest thing a chip does: a training step of its share of a batch, or, of a probe, one volume's features.

    shards: chips that a batch is divided among. memory: bytes of one for programs, where known; `auto` goes by it,
    and so do the parts that a batch is taken in.

    Raises `SpecError` as `choose_attention` does.
    """
    trains = experiment.mode == "finetune"
    batch = math.ceil(experiment.data.batch_size / shards) if trains else 1
    attention = choose_attention(experiment.model.attention, backend, geometry, batch)
    work = Work(geometry, batch, experiment.train.precision, attention, _step(experiment) if trains else None)
    return _in_parts(experiment, work.arranged(experiment.train.remat, memory), shards, memory)


def evaluation_work(experiment: Experiment, work: Work, shards: int) -> Work:
    """What a chip does between a fine-tuning's epochs: its share of a batch, forward only, in one part."""
    return replace(work, batch=math.ceil(experiment.data.val_batch_size / shards), step=None)


def _in_parts(experiment: Experiment, work: Work, shards: int, memory: int | None) -> Work:
    """The same, its batch in as few parts as keep `memory` from getting full; whole where no number of parts helps.

    Where none leaves what the arithmetic may be off by, what fits by the arithmetic will do.
    """
    if work.step is None or memory is None or work.peak <= FULL * memory:
        return work
    parts = list(_parts(experiment, work, shards))
    sparing = next((one for one in parts if one.peak <= FULL * memory), None)
    return sparing or next((one for one in (work, *parts) if one.peak <= memory), work)


def _parts(experiment: Experiment, work: Work, shards: int) -> Iterator[Work]:
    """The batch in more and more equal parts, where that leaves a chip less at a time."""
    assert work.step is not None
    share = work.batch
    for times in range(2, experiment.data.batch_size + 1):
        size, rest = divmod(experiment.data.batch_size, times)
        if not rest and math.ceil(size / shards) < share:
            share = math.ceil(size / shards)
            yield replace(work, batch=share, step=replace(work.step, accumulated=True, microbatches=times))


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

    A smaller batch is none of them: that it is taken in parts has been tried, and is tried again after each change.
    """
    if work.step is None:
        return _alone(_attentions(experiment, work, backend), memory)
    attentions = _attentions(experiment, work, backend)
    remats = [] if work.step.remat else [(("train.remat: true",), _remat(work))]
    both = [((*keys, "train.remat: true"), _remat(one)) for keys, one in attentions]
    for changes in ([*remats, *attentions], both):
        parts = [(keys, _in_parts(experiment, one, shards, memory)) for keys, one in changes]
        if found := _alone(parts, memory):
            return found
    return ()


_Change = tuple[tuple[str, ...], Work]


def _alone(changes: list[_Change], memory: int) -> tuple[Cure, ...]:
    return tuple(Cure(keys, work.peak) for keys, work in changes if work.peak <= memory)


def _remat(work: Work) -> Work:
    assert work.step is not None
    return replace(work, step=replace(work.step, remat=True))


def _attentions(experiment: Experiment, work: Work, backend: Backend) -> list[_Change]:
    best = choose_attention("auto", backend, work.geometry, work.batch)
    if experiment.model.attention == "auto" or best == work.attention:
        return []
    return [(("model.attention: auto",), replace(work, attention=best))]
