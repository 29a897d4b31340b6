"""The metric on parts of the data, for the best run of each checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from octjob.errors import DataError
from octjob.evaluate import by_participant
from octjob.evaluate.intervals import bootstrap
from octjob.leaderboard.outcome import Scored

# With fewer participants an interval says nothing.
MIN_SUBGROUP = 20
_SUBGROUP_DRAWS = 500
Field = Literal["site", "device", "eye"]
FIELDS: tuple[Field, ...] = ("site", "device", "eye")


@dataclass(frozen=True)
class Subgroup:
    """The metric on the volumes of one site, device or eye.

    value: None where it is not defined there: a class is missing, or what one pass scored.
    """

    field: Field
    name: str
    n: int
    value: float | None
    low: float | None
    high: float | None


def subgroups(one: Scored, metric: str) -> tuple[Subgroup, ...]:
    """Sites, devices and eyes with enough participants, where there is more than one of them."""
    predictions, found = one.predictions, []
    for name in FIELDS:
        column = getattr(predictions, name)
        values = [value for value in np.unique(column).tolist() if value]
        if len(values) > 1:
            found += [group for value in values if (group := _subgroup(one, metric, name, value)) is not None]
    return tuple(found)


def _subgroup(one: Scored, metric: str, field: Field, value: str) -> Subgroup | None:
    inside = one.predictions.rows(getattr(one.predictions, field) == value)
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
