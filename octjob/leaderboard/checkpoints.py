"""What the checkpoints say of themselves, and how far their weights and their predictions are from each other."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from octjob.evaluate.arrays import FloatArray
from octjob.leaderboard.outcome import Scored
from octjob.leaderboard.rows import Row
from octjob.records.schema import Record

# Of more, a matrix is no longer looked at, and the pairs are many.
MAX_COMPARED = 12
_SKETCH_BYTES = 256 * 4


class SketchRecord(Record):
    """`checkpoint_report.sketch`, as `octjob.models.sketch` writes it."""

    schema_name: Literal["octjob.sketch/1"] = Field(alias="schema")
    layout: str
    norm: float
    values: str


class MarkRecord(Record):
    """`checkpoint_report.fingerprint`."""

    verdict: str = "unknown"
    distance_to_target: float | None = None


class CheckpointRecord(Record):
    """What is shown of `checkpoint_report`; results of before say less."""

    epoch: int | None = None
    step: int | None = None
    encoder_taken: str = ""
    coverage_keys: str = ""
    num_parameters: int | None = None
    weights_digest: str = ""
    fingerprint: MarkRecord = MarkRecord()

    @property
    def from_initialisation(self) -> float | None:
        """Relative distance; None where it is not known. A target that was trained itself is no initialisation."""
        mark = self.fingerprint
        return mark.distance_to_target if mark.verdict in ("trained", "barely trained") else None


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of the sweep, as its first run in the table loaded it.

    verdict: untrained, barely trained, trained or unknown, by the weights themselves. from_initialisation: relative
    distance from its own initialisation; None where that is not in the file. same_weights: other checkpoints of the
    same digest. coverage_keys: loaded/expected parameters.
    """

    name: str
    verdict: str
    epoch: int | None
    step: int | None
    encoder_taken: str
    coverage_keys: str
    num_parameters: int | None
    weights_digest: str
    from_initialisation: float | None
    same_weights: tuple[str, ...]


@dataclass(frozen=True)
class CheckpointPair:
    """Two checkpoints.

    distance: of their weights over the root mean square of the two norms, estimated to about 4 % from sketches, 0
    for equal digests; None where a sketch is missing or the networks differ. agreement: share of participants to whom
    both give the same class. correlation: of their probabilities, each class about its mean. Both are means over the
    `num_configs` configurations in which neither run is constant; None without one.
    """

    first: str
    second: str
    distance: float | None
    agreement: float | None
    correlation: float | None
    num_configs: int


@dataclass(frozen=True)
class Checkpoints:
    """All with a result, in the order of the table, and the pairs of the first `MAX_COMPARED` of them."""

    checkpoints: tuple[Checkpoint, ...] = ()
    pairs: tuple[CheckpointPair, ...] = ()


NO_CHECKPOINTS = Checkpoints()


def checkpoints(rows: Sequence[Row], finished: Mapping[str, Scored]) -> Checkpoints:
    """rows: in the order of the table."""
    first: dict[str, Scored] = {}
    for row in rows:
        if row.run_id in finished:
            first.setdefault(row.checkpoint, finished[row.run_id])
    records = {name: checkpoint_record(one) for name, one in first.items()}
    compared = list(first)[:MAX_COMPARED]
    probabilities = _by_config([row for row in rows if row.checkpoint in set(compared)], finished)
    return Checkpoints(
        tuple(_checkpoint(name, records) for name in first),
        tuple(
            CheckpointPair(a, b, _distance(first[a], first[b]), *_alike(a, b, probabilities))
            for a, b in combinations(compared, 2)
        ),
    )


def checkpoint_record(one: Scored) -> CheckpointRecord:
    """What can be read of the report; nothing of one by another version."""
    return report_record(one.result.checkpoint_report)


def report_record(report: Mapping[str, Any]) -> CheckpointRecord:
    """`checkpoint_record` of the report itself."""
    try:
        return CheckpointRecord.model_validate(report)
    except ValidationError:
        return CheckpointRecord()


def _checkpoint(name: str, records: Mapping[str, CheckpointRecord]) -> Checkpoint:
    record = records[name]
    digest = record.weights_digest
    return Checkpoint(
        name=name,
        verdict=record.fingerprint.verdict,
        epoch=record.epoch,
        step=record.step,
        encoder_taken=record.encoder_taken,
        coverage_keys=record.coverage_keys,
        num_parameters=record.num_parameters,
        weights_digest=digest,
        from_initialisation=record.from_initialisation,
        same_weights=tuple(
            other
            for other, its in records.items()
            if other != name and digest and its.weights_digest == digest
        ),
    )


def _distance(a: Scored, b: Scored) -> float | None:
    return 0.0 if a.weights == b.weights else report_distance(*(s.result.checkpoint_report for s in (a, b)))


def report_distance(a: Mapping[str, Any], b: Mapping[str, Any]) -> float | None:
    """`CheckpointPair.distance` of two checkpoints' reports."""
    digests = [one.get("weights_digest") for one in (a, b)]
    if digests[0] and digests[0] == digests[1]:
        return 0.0
    ours, theirs = _sketch(a), _sketch(b)
    if ours is None or theirs is None or ours[0].layout != theirs[0].layout:
        return None
    scale = math.sqrt((ours[0].norm ** 2 + theirs[0].norm ** 2) / 2)
    difference = float(np.linalg.norm(ours[1] - theirs[1]))
    return difference / scale if scale > 0 and math.isfinite(difference / scale) else None


def _sketch(report: Mapping[str, Any]) -> tuple[SketchRecord, FloatArray] | None:
    try:
        record = SketchRecord.model_validate(report.get("sketch"))
        data = base64.b64decode(record.values, validate=True)
    except (ValidationError, binascii.Error):
        return None
    if len(data) != _SKETCH_BYTES:
        return None
    return record, np.frombuffer(data, "<f4").astype(np.float64)


_Probabilities = Mapping[str, Mapping[str, tuple[tuple[tuple[str, str], ...], FloatArray]]]


def _by_config(rows: Sequence[Row], finished: Mapping[str, Scored]) -> _Probabilities:
    """By configuration and checkpoint: the rows' keys, and the mean over passes of their probabilities (P, K)."""
    found: dict[str, dict[str, tuple[tuple[tuple[str, str], ...], FloatArray]]] = {}
    for row in rows:
        if row.run_id not in finished or row.verdict == "collapsed":
            continue
        scores = finished[row.run_id].scores.ordered()
        mean_PK = scores.probability_SPK.mean(axis=0)
        found.setdefault(row.config, {})[row.checkpoint] = (tuple(scores.row_keys()), mean_PK)
    return found


def _alike(a: str, b: str, by_config: _Probabilities) -> tuple[float | None, float | None, int]:
    """Agreement, correlation, and the number of configurations under which the two scored the same rows."""
    agreements, correlations = [], []
    for of in by_config.values():
        if a not in of or b not in of or of[a][0] != of[b][0] or of[a][1].shape != of[b][1].shape:
            continue
        ours_PK, theirs_PK = of[a][1], of[b][1]
        agreements.append(float(np.mean(ours_PK.argmax(axis=1) == theirs_PK.argmax(axis=1))))
        correlations.append(_correlation(ours_PK, theirs_PK))
    if not agreements:
        return None, None, 0
    known = [value for value in correlations if value is not None]
    return float(np.mean(agreements)), float(np.mean(known)) if known else None, len(agreements)


def _correlation(a_PK: FloatArray, b_PK: FloatArray) -> float | None:
    a, b = ((x_PK - x_PK.mean(axis=0)).ravel() for x_PK in (a_PK, b_PK))
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale > 0 else None
