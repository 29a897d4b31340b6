"""What the finished runs of a sweep left, in the types that the gates look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from octjob.data.flow import OTHER_SITE
from octjob.doctor.gates.control import Plane
from octjob.doctor.gates.coverage import Cell, Population
from octjob.doctor.gates.features import Lift, Spread
from octjob.doctor.gates.keys import Same
from octjob.doctor.gates.labels import Scoring, passes
from octjob.doctor.gates.optimum import Pair
from octjob.doctor.gates.preprocessing import Prepared
from octjob.doctor.gates.prior import Gain, gain
from octjob.doctor.gates.training import Trained, Unit
from octjob.doctor.gates.weights import Apart, Loaded
from octjob.errors import DataError
from octjob.evaluate import identical_predictions, paired_difference
from octjob.evaluate.feature_map import Explained
from octjob.leaderboard.board import Leaderboard
from octjob.leaderboard.outcome import Scored
from octjob.records.layout import differing_keys
from octjob.records.schema import Record
from octjob.spec.effects import idle_reason
from octjob.spec.run import Run, run_identity

History = Sequence[Mapping[str, Any]]
# Of more, comparisons of a head with a fit are many, and each takes a bootstrap.
_MAX_PAIRS = 12


@dataclass(frozen=True)
class Finished:
    """A run with a result. spec: None where there is none that this version reads. history: its epochs."""

    name: str
    scored: Scored
    spec: Run | None
    history: History = ()

    @property
    def report(self) -> Mapping[str, Any]:
        """What was loaded."""
        return self.scored.result.checkpoint_report

    @property
    def checkpoint(self) -> str:
        """Its checkpoint's name."""
        return self.scored.result.checkpoint


class _CellRecord(Record):
    site: str
    split: str
    expected: int
    found: int


class _CoverageRecord(Record):
    cells: tuple[_CellRecord, ...] = ()


class _StepRecord(Record):
    reason: str
    lost: dict[str, tuple[int, int, int]]


class _FlowRecord(Record):
    listed: dict[str, tuple[int, int, int]]
    steps: tuple[_StepRecord, ...] = ()


class _DataRecord(Record):
    coverage: _CoverageRecord = _CoverageRecord()
    flow: _FlowRecord | None = None


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


def populations(runs: Sequence[Finished]) -> list[Population]:
    """Distinct ones, each with the runs that share it."""
    found: dict[str, tuple[_DataRecord, list[str]]] = {}
    for run in runs:
        try:
            record = _DataRecord.model_validate(run.scored.result.data)
        except ValidationError:
            record = _DataRecord()
        found.setdefault(record.model_dump_json(), (record, []))[1].append(run.name)
    return [_population(record, names) for record, names in found.values()]


def _population(record: _DataRecord, names: Sequence[str]) -> Population:
    cells = tuple(Cell(c.site, c.split, c.expected, c.found) for c in record.coverage.cells)
    if record.flow is None:
        return Population(tuple(names), cells)
    listed = sum(size[0] for size in record.flow.listed.values())
    steps = [step for step in record.flow.steps if step.reason == OTHER_SITE]
    unselected = sum(size[0] for step in steps for size in step.lost.values())
    return Population(tuple(names), cells, listed, unselected)


def scorings(runs: Sequence[Finished]) -> list[Scoring]:
    """Of every run, its predictions."""
    return [_scoring(run) for run in runs]


def _scoring(run: Finished) -> Scoring:
    table = run.scored.predictions
    groups = run.scored.result.data.get("groups")
    seen = groups.get("pretraining") if isinstance(groups, dict) else None
    return Scoring(
        name=run.name,
        participant_N=table.participant,
        pass_N=passes(table.seed, table.repeat),
        fold_N=table.fold,
        label_N=table.label,
        logits_NK=table.logits_NK,
        coding="" if run.spec is None else str(sorted(run.spec.config.classes.mapping.items())),
        pretrained_on=sum(map(bool, seen.values())) if isinstance(seen, dict) else None,
    )


def loaded(runs: Sequence[Finished], baseline: str | None) -> list[Loaded]:
    """Distinct encoders, in the order of the runs."""
    found: dict[tuple[str, str, str], Loaded] = {}
    for run in runs:
        report = run.report
        mark = report.get("fingerprint") or {}
        verdict = run.scored.weights_verdict
        # A target that was trained itself is no initialisation.
        measured = verdict in ("trained", "barely trained")
        one = Loaded(
            checkpoint=run.checkpoint,
            run=run.name,
            uri=str(report.get("uri", "")),
            encoder_taken=str(report.get("encoder_taken", "")),
            verdict=verdict,
            epoch=report.get("epoch"),
            distance=mark.get("distance_to_target") if measured else None,
            digest=str(report.get("weights_digest", "")),
            reference=run.checkpoint == baseline,
        )
        found.setdefault((one.checkpoint, one.encoder_taken, one.digest), one)
    return list(found.values())


def apart(board: Leaderboard) -> list[Apart]:
    """The pairs of checkpoints."""
    return [Apart(pair.first, pair.second, pair.distance) for pair in board.checkpoints.pairs]


def prepared(runs: Sequence[Finished]) -> list[Prepared]:
    """How each run made its volumes."""
    found = []
    for run in runs:
        data = None if run.spec is None else run.spec.config.data
        geometry = run.report.get("geometry") or {}
        size = tuple(geometry.get("volume_size") or ())
        profile, dtype = ("", "") if data is None else (data.profile, data.volume_dtype)
        found.append(Prepared(run.name, run.checkpoint, profile, size, dtype))
    return found


def untrained_baseline(runs: Sequence[Finished], baseline: str | None) -> str | None:
    """The sweep's baseline, where its weights say that they are untrained."""
    verdicts = {run.scored.weights_verdict for run in runs if run.checkpoint == baseline}
    return baseline if verdicts == {"untrained"} else None


def lifts(board: Leaderboard, runs: Sequence[Finished]) -> list[Lift]:
    """Of the probes that the leaderboard compares with the baseline checkpoint."""
    probes = {run.scored.result.run_id for run in runs if run.scored.result.mode == "probe"}
    found = []
    for row in board.rows:
        one, value = row.vs_checkpoint, row.value(board.metric)
        if one is None or value is None or row.run_id not in probes:
            continue
        if one.difference is not None and one.low is not None and one.high is not None:
            numbers = (value - one.difference, one.difference, one.low, one.high, one.p_holm)
            found.append(Lift(row.name, row.checkpoint, board.metric, *numbers))
    return found


def spreads(board: Leaderboard, names: Iterable[str]) -> list[Spread]:
    """Of the checkpoints `names` that recorded where their features lie."""
    wanted = set(names)
    maps = [one for one in board.feature_maps if not one.missing and one.checkpoint in wanted]
    return [Spread(one.checkpoint, varies=any(one.axes)) for one in maps]


def planes(board: Leaderboard, names: Iterable[str]) -> list[Plane]:
    """Of the checkpoints `names` that recorded where their features lie."""
    wanted = set(names)
    return [
        Plane(
            one.checkpoint,
            np.stack([np.array(one.x), np.array(one.y)], axis=1),
            np.array(one.label, np.int64),
            np.array(one.device, np.int64),
            _times(one.explained.get("device")),
            _times(one.explained.get("class")),
        )
        for one in board.feature_maps
        if not one.missing and one.checkpoint in wanted and one.x
    ]


def _times(one: Explained | None) -> float:
    return one.share / one.expected if one is not None and one.expected > 0 else 0.0


def same(runs: Sequence[Finished]) -> list[Same]:
    """Runs of the same weights and of different configurations that predict the same."""
    known = {run.scored.result.run_id: run for run in runs if run.spec is not None}
    found = []
    for group in identical_predictions({name: run.scored.scores for name, run in known.items()}):
        for cluster in group.same_probabilities:
            first, *others = [known[name] for name in cluster]
            found += [_pair(first, other) for other in others if other.scored.weights == first.scored.weights]
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


def unused(runs: Sequence[Finished]) -> list[str]:
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
