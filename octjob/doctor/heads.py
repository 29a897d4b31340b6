"""What was trained on the features, and what it answers: from results to what gates look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import ValidationError

from octjob.doctor.case import Finished, Told
from octjob.doctor.gates.keys import Same
from octjob.doctor.gates.optimum import Pair
from octjob.doctor.gates.prior import Gain, gain
from octjob.doctor.gates.training import Trained, Unit
from octjob.errors import DataError
from octjob.evaluate import identical_predictions, paired_difference
from octjob.records.layout import differing_keys
from octjob.records.schema import Record
from octjob.spec.effects import idle_reason
from octjob.spec.run import run_identity

# Of more, comparisons of a head with a fit are many, and each takes a bootstrap.
_MAX_PAIRS = 12


class _UnitRecord(Record):
    seed: int
    repeat: int = 0
    fold: int = 0
    scored_epoch: int | None = None
    epochs_run: int | None = None
    encoder_change: float | None = None


class _TrainingRecord(Record):
    optimizer: str = ""
    units: tuple[_UnitRecord, ...] = ()


def same(runs: Sequence[Finished]) -> list[Same]:
    """Runs of the same weights and of different configurations that predict the same."""
    known = {run.scored.result.run_id: run for run in runs if run.spec is not None}
    found = []
    for group in identical_predictions({name: run.scored.scores for name, run in known.items()}):
        for cluster in group.same_probabilities:
            first: dict[str, Finished] = {}
            for run in (known[name] for name in cluster):
                before = first.setdefault(run.scored.weights, run)
                found += [_pair(before, run)] if before is not run else []
    return [one for one in found if one.keys]


def _pair(first: Finished, second: Finished) -> Same:
    assert first.spec is not None
    assert second.spec is not None
    configs = [run_identity(run)["config"] for run in (first.spec, second.spec)]
    differing = tuple(differing_keys(*configs))
    idle = {}
    for key in differing:
        reasons = [idle_reason(key, run.config) for run in (first.spec, second.spec)]
        if all(reasons):
            idle[key] = reasons[0]
    return Same(first.name, second.name, differing, idle)


def num_comparable(runs: Sequence[Finished]) -> int:
    """Runs that share their weights with another run."""
    weights = [run.scored.weights for run in runs]
    return sum(weights.count(one) > 1 for one in weights)


def unused(runs: Sequence[Told]) -> list[str]:
    """What the plan noted of keys without effect."""
    notes = [note for run in runs if run.spec is not None for note in run.spec.notes if " unused: " in note]
    return list(dict.fromkeys(notes))


def trained(runs: Sequence[Finished]) -> list[Trained]:
    """Of the runs that were trained by steps and say how."""
    return [one for run in runs if (one := _trained(run)) is not None]


def _training(run: Finished) -> _TrainingRecord:
    try:
        return _TrainingRecord.model_validate(run.scored.result.training)
    except ValidationError:
        return _TrainingRecord()


def _trained(run: Finished) -> Trained | None:
    record, config = _training(run), None if run.spec is None else run.spec.config
    if record.optimizer in ("", "LBFGS"):
        return None
    curves: dict[tuple[int, int, int], list[float]] = {}
    for line in run.history:
        unit = (line.get("seed", 0), line.get("repeat", 0), line.get("fold", 0))
        if isinstance(loss := line.get("train/loss"), int | float):
            curves.setdefault(unit, []).append(float(loss))
    units = tuple(
        Unit(
            name=f"seed {one.seed}"
            + (f" repeat {one.repeat} fold {one.fold}" if len(record.units) > 1 else ""),
            scored_epoch=one.scored_epoch,
            epochs_run=one.epochs_run,
            encoder_change=one.encoder_change,
            losses=tuple(curves.get((one.seed, one.repeat, one.fold), ())),
        )
        for one in record.units
    )
    finetuned = run.scored.result.mode == "finetune"
    return Trained(
        name=run.name,
        units=units,
        unfreeze_at=max(0, config.model.unfreeze_at_epoch) if finetuned and config is not None else None,
        lr_head=None if config is None else config.train.lr_head,
        lr_encoder=config.train.lr_encoder if finetuned and config is not None else None,
    )


def pairs(runs: Sequence[Finished], metric: str) -> list[Pair]:
    """Linear heads beside logistic regression on the same features, participants and class weights."""
    fits: dict[tuple[str, ...], Finished] = {}
    for run in runs:
        if _is_linear(run) and _training(run).optimizer == "LBFGS":
            fits.setdefault(_features_of(run), run)
    heads = [run for run in runs if _is_linear(run) and _training(run).optimizer in ("AdamW", "SGD")]
    found = [_beside(run, fits.get(_features_of(run)), metric) for run in heads]
    return [one for one in found if one is not None][:_MAX_PAIRS]


def _is_linear(run: Finished) -> bool:
    spec = run.spec
    if spec is None or run.scored.result.mode != "probe":
        return False
    plain = spec.config.train.loss == "cross_entropy" and spec.config.train.sampler == "shuffle"
    return plain and not spec.config.model.head.hidden and spec.config.model.pool_method != "attentive"


def _features_of(run: Finished) -> tuple[str, ...]:
    assert run.spec is not None
    config = run.spec.config
    return (
        run.scored.weights,
        config.model.pool_method,
        str(config.train.class_weights),
        config.data.model_dump_json(exclude={"batch_size", "val_batch_size", "num_workers", "connections"}),
        f"{run.spec.folds} {run.spec.repeats} {run.spec.fold_seed}",
    )


def _beside(run: Finished, fit: Finished | None, metric: str) -> Pair | None:
    head_loss = run.scored.result.train.get("log_loss")
    fit_loss = None if fit is None else fit.scored.result.train.get("log_loss")
    if fit is None or not isinstance(head_loss, int | float) or not isinstance(fit_loss, int | float):
        return None
    try:
        found = paired_difference(fit.scored.scores, run.scored.scores, metric, num_permutations=1)
    except DataError:
        return None
    low, high = found.interval.low, found.interval.high
    if not all(map(np.isfinite, (found.difference, low, high))):
        return None
    return Pair(run.name, fit.name, float(head_loss), float(fit_loss), metric, found.difference, low, high)


def gains(runs: Sequence[Finished]) -> list[Gain]:
    """Of the runs that say which class shares their loss saw."""
    found = [
        None if run.scored.prior is None else gain(run.name, run.scored.scores, run.scored.prior)
        for run in runs
    ]
    return [one for one in found if one is not None]
