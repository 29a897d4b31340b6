"""The pieces of one run: a (seed, fold) each, with the volumes it trains on, selects with and scores.

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

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Unit:
    """One head or network to train. `holdout_N` is empty unless early stopping is on."""

    seed: int
    fold: int
    train_N: Indices
    holdout_N: Indices
    eval_N: Indices

    @property
    def name(self) -> str:
        """For file names and logs."""
        return f"seed{self.seed}-fold{self.fold}"


def used_splits(experiment: Experiment, folds: int) -> tuple[str, ...]:
    """The data set's splits a run touches: with folds train and val are pooled, and test stays unseen."""
    return ("train", "val") if folds else ("train", experiment.data.eval_split)


def make_units(
    volumes: Sequence[Volume], experiment: Experiment, seeds: Sequence[int], folds: int
) -> list[Unit]:
    """Every (seed, fold), seeds outermost.

    Raises `DataError` where a part of a unit would be empty.
    """
    units = []
    for seed in seeds:
        for fold in range(max(1, folds)):
            train_ids, eval_ids = _parts(volumes, experiment, seed, folds, fold)
            holdout_ids = _holdout(volumes, experiment, train_ids, seed)
            unit = Unit(
                seed=seed,
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
            units.append(unit)
    return units


def _participants(volumes: Sequence[Volume]) -> dict[str, Participant]:
    return {volume.participant.id: volume.participant for volume in volumes}


def _parts(
    volumes: Sequence[Volume], experiment: Experiment, seed: int, folds: int, fold: int
) -> tuple[set[str], set[str]]:
    people = _participants(volumes)
    splits = used_splits(experiment, folds)
    if folds:
        pool = [p for p in people.values() if p.split in splits]
        fold_of = stratified_folds(pool, folds, seed)
        return {i for i, f in fold_of.items() if f != fold}, {i for i, f in fold_of.items() if f == fold}
    train_split, eval_split = splits
    return (
        {i for i, p in people.items() if p.split == train_split},
        {i for i, p in people.items() if p.split == eval_split},
    )


def _holdout(volumes: Sequence[Volume], experiment: Experiment, train_ids: set[str], seed: int) -> set[str]:
    stopping = experiment.train.early_stopping
    if not stopping.enabled or experiment.train.optimizer == "LBFGS":
        return set()
    people = _participants(volumes)
    return set(holdout([people[i] for i in sorted(train_ids)], stopping.holdout, seed))


def _positions(volumes: Sequence[Volume], ids: set[str]) -> Indices:
    return np.array([i for i, v in enumerate(volumes) if v.participant.id in ids], dtype=np.int64)
