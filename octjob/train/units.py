"""The pieces of one run: a (seed, repeat, fold) each, with the volumes it trains on, selects with and scores.

Indices are positions in the cohort's volumes. A participant is in one part of a unit only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from octjob.data.cohort import Volume
from octjob.data.left_out import LeftOut, left_out
from octjob.data.participants import Participant
from octjob.data.sampling import holdout, stratified_folds, subset
from octjob.errors import DataError
from octjob.spec.experiment import Experiment
from octjob.spec.run import Pass, Run

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Unit:
    """One head or network to train. `holdout_N` is empty unless early stopping is on.

    fold: numbers the units of a pass. scored_fold: of the participants, where that is another number.
    left_out: the site or device that it is not trained on. share, draw: the part of the training participants.
    """

    seed: int
    fold: int
    train_N: Indices
    holdout_N: Indices
    eval_N: Indices
    repeat: int = 0
    scored_fold: int | None = None
    left_out: str = ""
    share: float = 1.0
    draw: int = 0

    @property
    def name(self) -> str:
        """For file names and logs."""
        return unit_name(self.seed, self.repeat, self.fold)


def unit_name(seed: int, repeat: int, fold: int) -> str:
    """The name of the unit of these."""
    return f"seed{seed}-repeat{repeat}-fold{fold}"


def used_splits(experiment: Experiment, folds: int | bool) -> tuple[str, ...]:
    """The data set's splits a run touches: with folds, or pooled otherwise, train and val; test stays unseen."""
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


def units_of(volumes: Sequence[Volume], run: Run) -> list[Unit]:
    """Of every pass: its folds, what is left out one after the other, or the parts of the training participants.

    Raises `DataError` as `make_units` and `left_out` do.
    """
    config = run.config
    if run.leave_out is not None:
        pool = [v for v in volumes if v.participant.split in used_splits(config, True)]
        num_classes, least = config.classes.num_classes, run.min_participants
        parts = left_out(pool, run.leave_out, least, num_classes, run.folds, run.fold_seed)
        return [
            _left_out_unit(volumes, config, seed, number, part)
            for seed, _ in run.passes
            for number, part in enumerate(parts)
        ]
    units = make_units(volumes, config, run.passes, run.folds, run.fold_seed)
    places = [(share, draw) for share in run.shares for draw in range(run.draws)]
    smaller = [
        _smaller_unit(volumes, config, unit, 1 + number, share, draw, run.fold_seed)
        for unit in units
        for number, (share, draw) in enumerate(places)
    ]
    return [*units, *smaller]


def _left_out_unit(
    volumes: Sequence[Volume], experiment: Experiment, seed: int, number: int, part: LeftOut
) -> Unit:
    unit = _unit(volumes, experiment, seed, 0, number, (set(part.train), set(part.scored)))
    device_N = np.array([volume.record.device for volume in volumes])

    def of(positions: Indices, devices: frozenset[str]) -> Indices:
        return positions[np.isin(device_N[positions], sorted(devices))] if devices else positions

    made = replace(
        unit,
        train_N=of(unit.train_N, part.trains),
        holdout_N=of(unit.holdout_N, part.trains),
        eval_N=of(unit.eval_N, part.scores),
        scored_fold=part.fold,
        left_out=part.name,
    )
    _require_volumes(made)
    return made


def _smaller_unit(
    volumes: Sequence[Volume],
    experiment: Experiment,
    whole: Unit,
    number: int,
    share: float,
    draw: int,
    deal_seed: int,
) -> Unit:
    people = _participants(volumes)
    train, scored = (
        {volumes[position].participant.id for position in positions}
        for positions in (np.concatenate([whole.train_N, whole.holdout_N]), whole.eval_N)
    )
    chosen = subset([people[one] for one in sorted(train)], share, deal_seed, draw)
    unit = _unit(volumes, experiment, whole.seed, whole.repeat, number, (set(chosen), scored))
    return replace(unit, scored_fold=whole.fold, share=share, draw=draw)


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
    _require_volumes(unit)
    return unit


def _require_volumes(unit: Unit) -> None:
    if not len(unit.train_N) or not len(unit.eval_N):
        raise DataError(
            f"{unit.name}: {len(unit.train_N)} volumes to train on, {len(unit.eval_N)} to score",
            "Widen the selection of devices, regions or eyes, or use fewer folds.",
        )


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
