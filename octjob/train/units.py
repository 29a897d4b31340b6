"""The pieces of one run: a (seed, repeat, fold) each, with the volumes it trains on, selects with and scores.

Indices are positions in the cohort's volumes. A participant is in one part of a unit only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from octjob.data.cohort import Volume
from octjob.data.participants import Participant
from octjob.data.sampling import holdout, stratified_folds
from octjob.errors import DataError
from octjob.spec.experiment import Experiment
from octjob.spec.run import Pass

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Unit:
    """One head or network to train. `holdout_N` is empty unless early stopping is on."""

    seed: int
    fold: int
    train_N: Indices
    holdout_N: Indices
    eval_N: Indices
    repeat: int = 0

    @property
    def name(self) -> str:
        """For file names and logs."""
        return unit_name(self.seed, self.repeat, self.fold)


def unit_name(seed: int, repeat: int, fold: int) -> str:
    """The name of the unit of these."""
    return f"seed{seed}-repeat{repeat}-fold{fold}"


def used_splits(experiment: Experiment, folds: int) -> tuple[str, ...]:
    """The data set's splits a run touches: with folds train and val are pooled, and test stays unseen."""
    return ("train", "val") if folds else ("train", experiment.data.eval_split)


def make_units(
    volumes: Sequence[Volume],
    experiment: Experiment,
    passes: Sequence[Pass],
    folds: int = 0,
    fold_seed: int = 0,
) -> list[Unit]:
    """Every fold of every pass (seed and repeat), in their order. Folds depend on repeat and `fold_seed` only.

    Raises `DataError` where a part of a unit would be empty.
    """
    return [
        _unit(volumes, experiment, seed, repeat, fold, parts)
        for seed, repeat in passes
        for fold, parts in enumerate(_parts(volumes, experiment, folds, fold_seed, repeat))
    ]


def _unit(
    volumes: Sequence[Volume],
    experiment: Experiment,
    seed: int,
    repeat: int,
    fold: int,
    parts: tuple[set[str], set[str]],
) -> Unit:
    train_ids, eval_ids = parts
    holdout_ids = _holdout(volumes, experiment, train_ids, seed)
    unit = Unit(
        seed=seed,
        repeat=repeat,
        fold=fold,
        train_N=_positions(volumes, train_ids - holdout_ids),
        holdout_N=_positions(volumes, holdout_ids),
        eval_N=_positions(volumes, eval_ids),
    )
    if not len(unit.train_N) or not len(unit.eval_N):
        raise DataError(
            f"{unit.name}: {len(unit.train_N)} volumes to train on, {len(unit.eval_N)} to score",
            "Widen the selection of devices, regions or eyes, or use fewer folds.",
        )
    return unit


def _participants(volumes: Sequence[Volume]) -> dict[str, Participant]:
    return {volume.participant.id: volume.participant for volume in volumes}


def _parts(
    volumes: Sequence[Volume], experiment: Experiment, folds: int, fold_seed: int, repeat: int
) -> list[tuple[set[str], set[str]]]:
    """Who is trained on and who is scored, fold by fold."""
    people = _participants(volumes)
    splits = used_splits(experiment, folds)
    if folds:
        pool = [p for p in people.values() if p.split in splits]
        fold_of = stratified_folds(pool, folds, fold_seed, repeat)
        return [
            ({i for i, f in fold_of.items() if f != fold}, {i for i, f in fold_of.items() if f == fold})
            for fold in range(folds)
        ]
    train, scored = ({i for i, p in people.items() if p.split == split} for split in splits)
    return [(train, scored)]


def _holdout(volumes: Sequence[Volume], experiment: Experiment, train_ids: set[str], seed: int) -> set[str]:
    stopping = experiment.train.early_stopping
    if not stopping.enabled or experiment.train.optimizer == "LBFGS":
        return set()
    people = _participants(volumes)
    return set(holdout([people[i] for i in sorted(train_ids)], stopping.holdout, seed))


def _positions(volumes: Sequence[Volume], ids: set[str]) -> Indices:
    return np.array([i for i, v in enumerate(volumes) if v.participant.id in ids], dtype=np.int64)
