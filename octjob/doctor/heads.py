"""What was trained on the features, and what it answers: from results to what gates look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from octjob.doctor.case import Finished, Told
from octjob.doctor.gates.keys import Same
from octjob.doctor.gates.optimum import Pair
from octjob.doctor.gates.prior import Gain, gain
from octjob.doctor.gates.training import Trained, Unit
from octjob.errors import DataError
from octjob.evaluate import identical_predictions, paired_difference
from octjob.evaluate.predictions import ParticipantScores
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


@dataclass(frozen=True, eq=False)
class Fit:
    """Logistic regression on the features of a head. log_loss: of its training samples, in nats."""

    name: str
    log_loss: float
    scores: ParticipantScores


def linear(runs: Sequence[Finished]) -> dict[str, list[Finished]]:
    """Heads that logistic regression on the same features, participants and class weights is the optimum of, by what
    they share."""
    found: dict[str, list[Finished]] = {}
    for run in runs:
        if _is_linear(run) and _training(run).optimizer in ("AdamW", "SGD"):
            found.setdefault(_features_of(run), []).append(run)
    return found


def recorded_fits(runs: Sequence[Finished]) -> dict[str, Fit]:
    """Of the runs that are such a regression, by what a head has to share with them."""
    found: dict[str, Fit] = {}
    for run in runs:
        loss = run.scored.result.train.get("log_loss")
        fits = _is_linear(run) and _training(run).optimizer == "LBFGS"
        if fits and isinstance(loss, int | float):
            found.setdefault(_features_of(run), Fit(run.name, float(loss), run.scored.scores))
    return found


def pairs(heads: Mapping[str, Sequence[Finished]], fits: Mapping[str, Fit], metric: str) -> list[Pair]:
    """Each head beside the fit on what it shares. The intervals of all hold together (Bonferroni), since one of them
    that is above zero is enough to blame a head."""
    both = [(run, fits[shared]) for shared, runs in heads.items() if shared in fits for run in runs][
        :_MAX_PAIRS
    ]
    level = 1 - 0.05 / max(1, len(both))
    found = [_beside(run, fit, metric, level) for run, fit in both]
    return [one for one in found if one is not None]


def _is_linear(run: Finished) -> bool:
    spec = run.spec
    if spec is None or run.scored.result.mode != "probe":
        return False
    plain = spec.config.train.loss == "cross_entropy" and spec.config.train.sampler == "shuffle"
    return plain and not spec.config.model.head.hidden and spec.config.model.pool_method != "attentive"


def _features_of(run: Finished) -> str:
    assert run.spec is not None
    config = run.spec.config
    shared = (
        run.scored.weights,
        config.model.pool_method,
        str(config.train.class_weights),
        config.data.model_dump_json(exclude={"batch_size", "val_batch_size", "num_workers", "connections"}),
        f"{run.spec.folds} {run.spec.repeats} {run.spec.fold_seed}",
    )
    return "\n".join(shared)


def _beside(run: Finished, fit: Fit, metric: str, level: float) -> Pair | None:
    loss = run.scored.result.train.get("log_loss")
    if not isinstance(loss, int | float):
        return None
    try:
        found = paired_difference(fit.scores, run.scored.scores, metric, num_permutations=1, level=level)
    except DataError:
        return None
    low, high = found.interval.low, found.interval.high
    if not all(map(np.isfinite, (found.difference, low, high))):
        return None
    return Pair(run.name, fit.name, float(loss), fit.log_loss, metric, found.difference, low, high)


def gains(runs: Sequence[Finished]) -> list[Gain]:
    """Of the runs that say which class shares their loss saw."""
    found = [
        None if run.scored.prior is None else gain(run.name, run.scored.scores, run.scored.prior)
        for run in runs
    ]
    return [one for one in found if one is not None]
