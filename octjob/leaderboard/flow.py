"""Who was scored, and who was not: from what the data set lists to the rows of the predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, ValidationError

from octjob.leaderboard.outcome import Scored
from octjob.leaderboard.rows import Row
from octjob.records.schema import Record

# Participants, eyes and volumes, by split; the empty one is of those whose split no table says.
Sizes = Mapping[str, tuple[int, int, int]]


class StepRecord(Record):
    reason: str
    lost: dict[str, tuple[int, int, int]]


class FlowRecord(Record):
    """`data.flow` in a run's result, as `octjob.data.flow` writes it."""

    schema_name: Literal["octjob.flow/1"] = Field(alias="schema")
    listed: dict[str, tuple[int, int, int]]
    steps: tuple[StepRecord, ...]
    used: dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Step:
    """What one reason left out, by split."""

    reason: str
    lost: Sizes


@dataclass(frozen=True)
class ParticipantFlow:
    """The flow that some runs share. `listed` less all steps is `used` in the splits that the runs use.

    configs: theirs, in the order of the table. num_runs: how many have it. scored: participants, eyes and volumes of
    one pass, by the split that the predictions name (`cv` where folds pool them).
    """

    configs: tuple[str, ...]
    num_runs: int
    listed: Sizes
    steps: tuple[Step, ...]
    used: Sizes
    scored: Sizes


def flows(rows: Sequence[Row], finished: Mapping[str, Scored]) -> tuple[ParticipantFlow, ...]:
    """Those of the runs whose results say it, the one of most runs first. rows: in the order of the table."""
    found: dict[str, tuple[FlowRecord, Sizes, list[Row]]] = {}
    for row in rows:
        one = finished.get(row.run_id)
        record = None if one is None else _read(one)
        if one is None or record is None:
            continue
        scored = _scored(one)
        found.setdefault(f"{record!r} {scored}", (record, scored, []))[2].append(row)
    by_size = sorted(found.values(), key=lambda same: -len(same[2]))
    return tuple(
        ParticipantFlow(
            tuple(dict.fromkeys(row.config for row in same)),
            len(same),
            record.listed,
            tuple(Step(step.reason, step.lost) for step in record.steps),
            record.used,
            scored,
        )
        for record, scored, same in by_size
    )


def _read(one: Scored) -> FlowRecord | None:
    """None where the run was made before there was a flow, or by a version that writes another."""
    stored = one.result.data.get("flow")
    if not isinstance(stored, dict):
        return None
    try:
        return FlowRecord.model_validate(stored)
    except ValidationError:
        return None


def _scored(one: Scored) -> Sizes:
    """Of the first pass: every pass scores the same."""
    predictions = one.predictions
    first_N = (predictions.seed == predictions.seed[0]) & (predictions.repeat == predictions.repeat[0])
    people, eyes = predictions.participant[first_N].tolist(), predictions.eye[first_N].tolist()
    return {one.evaluation.split: (len(set(people)), len(set(zip(people, eyes, strict=True))), len(people))}
