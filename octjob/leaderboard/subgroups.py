"""The metric on parts of the data, for the best run of each checkpoint."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field as Key
from pydantic import ValidationError

from octjob.errors import DataError
from octjob.evaluate import by_participant
from octjob.evaluate.arrays import StrArray
from octjob.evaluate.intervals import bootstrap
from octjob.leaderboard.outcome import Scored
from octjob.records.schema import Record

# With fewer participants an interval says nothing.
MIN_SUBGROUP = 20
_SUBGROUP_DRAWS = 500
Field = Literal["site", "device", "eye", "age", "pretraining"]
# Those that are columns of the predictions, and those that the result says.
COLUMNS: tuple[Field, ...] = ("site", "device", "eye")
GROUPS: tuple[Field, ...] = ("age", "pretraining")
_UNKNOWN: dict[Field, str] = {
    "age": "the participants table says no ages",
    "pretraining": "neither the checkpoint nor the sweep says whose scans it was pretrained on",
}
_BEFORE = "not recorded by this run, which an earlier octjob carried out"


class GroupsRecord(Record):
    """`data.groups` in a run's result, as `octjob.data.groups` writes it: each participant's group."""

    schema_name: Literal["octjob.groups/1"] = Key(alias="schema")
    age: dict[str, str] | None
    pretraining: dict[str, str] | None


@dataclass(frozen=True)
class Grouping:
    """How many scored participants are in each group of a field that only the result knows; else why not."""

    field: Field
    sizes: Mapping[str, int]
    unknown: str = ""


@dataclass(frozen=True)
class Subgroup:
    """The metric on the volumes of one site, device or eye, or of one group of participants.

    value: None where it is not defined there: a class is missing, or what one pass scored.
    """

    field: Field
    name: str
    n: int
    value: float | None
    low: float | None
    high: float | None


def subgroups(one: Scored, metric: str) -> tuple[Subgroup, ...]:
    """Sites, devices, eyes and groups with enough participants, where there is more than one of them."""
    found = []
    for name, column in group_columns(one).items():
        values = [value for value in np.unique(column).tolist() if value]
        if len(values) > 1:
            made = (_subgroup(one, metric, name, value, column) for value in values)
            found += [group for group in made if group is not None]
    return tuple(found)


def group_columns(one: Scored) -> dict[Field, StrArray]:
    """The group of each row of the predictions, by field; empty where it is not known."""
    columns: dict[Field, StrArray] = {name: getattr(one.predictions, name) for name in COLUMNS}
    return columns | {name: _column(one, of) for name, of in _groups(one).items() if of is not None}


def groupings(one: Scored) -> tuple[Grouping, ...]:
    """Of `GROUPS`, in their order."""
    groups = _groups(one)
    scored = set(one.predictions.participant.tolist())
    found = []
    for name in GROUPS:
        of = groups.get(name)
        sizes = Counter(of[identity] for identity in sorted(scored) if identity in of) if of else Counter()
        unknown = "" if sizes else _UNKNOWN[name] if name in groups else _BEFORE
        found.append(Grouping(name, dict(sorted(sizes.items())), unknown))
    return tuple(found)


def _groups(one: Scored) -> dict[Field, dict[str, str] | None]:
    """By participant; no field at all in results of before, or of a version that writes them otherwise."""
    try:
        record = GroupsRecord.model_validate(one.result.data.get("groups"))
    except ValidationError:
        return {}
    return {"age": record.age, "pretraining": record.pretraining}


def _column(one: Scored, group_of: Mapping[str, str]) -> StrArray:
    return np.array([group_of.get(identity, "") for identity in one.predictions.participant.tolist()])


def _subgroup(one: Scored, metric: str, field: Field, value: str, column: StrArray) -> Subgroup | None:
    inside = one.predictions.rows(column == value)
    n = len(np.unique(inside.participant))
    if n < MIN_SUBGROUP:
        return None
    if len(np.unique(inside.label)) < len(np.unique(one.predictions.label)):
        return Subgroup(field, value, n, None, None, None)
    try:
        scores = by_participant(inside, how=one.how)
    except DataError:
        # A pass lacks one of these participants' volumes of this kind.
        return Subgroup(field, value, n, None, None, None)
    interval = bootstrap(scores, (metric,), num_draws=_SUBGROUP_DRAWS)[metric]
    observed = one.metric_of(scores, metric)
    return Subgroup(field, value, n, *(_finite(x) for x in (observed, interval.low, interval.high)))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
