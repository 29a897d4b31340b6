"""What the report shows of single runs beyond their row: curves, calibration, sources of variance, subgroups."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from octjob.evaluate import VarianceSources, variance_sources
from octjob.evaluate.calibration import Calibration, calibration
from octjob.leaderboard.outcome import Scored
from octjob.leaderboard.rows import Row
from octjob.leaderboard.subgroups import Grouping, Subgroup, groupings, subgroups

# A page of more panels is not looked at.
MAX_DETAILED = 60
_VARIANCE_DRAWS = 500
_MAX_POINTS = 100
_WATCHED = "balanced_accuracy"


@dataclass(frozen=True)
class Curve:
    """Balanced accuracy by epoch, mean over the units that got so far; at most 100 epochs, evenly taken.

    evaluated: the scored split. held_out: training participants kept back for early stopping; empty without.
    """

    epoch: tuple[int, ...]
    evaluated: tuple[float, ...]
    held_out: tuple[float, ...]


@dataclass(frozen=True)
class Detail:
    """Of one run. variance, subgroups, groupings: of the best run of each checkpoint only."""

    run_id: str
    curve: Curve | None
    calibration: Calibration
    variance: VarianceSources | None = None
    subgroups: tuple[Subgroup, ...] = ()
    groupings: tuple[Grouping, ...] = ()


def details(
    rows: Sequence[Row],
    finished: Mapping[str, Scored],
    metric: str,
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
) -> tuple[Detail, ...]:
    """Of the first `MAX_DETAILED` rows with a result. rows: in the order of the table. histories: by run id."""
    shown = detailed(rows)
    best = best_runs(rows)
    found = []
    for row in shown:
        one, is_best = finished[row.run_id], row.run_id in best
        found.append(
            Detail(
                row.run_id,
                _curve(histories.get(row.run_id, ())),
                calibration(one.scores, one.prior),
                variance_sources(one.scores, metric, num_draws=_VARIANCE_DRAWS) if is_best else None,
                subgroups(one, metric) if is_best else (),
                groupings(one) if is_best else (),
            )
        )
    return tuple(found)


def best_runs(rows: Sequence[Row]) -> list[str]:
    """The best ranked run of each checkpoint that has details, in the order of the table; their ids."""
    first: dict[str, str] = {}
    for row in detailed(rows):
        if row.rank is not None:
            first.setdefault(row.checkpoint, row.run_id)
    return list(first.values())


def detailed(rows: Sequence[Row]) -> list[Row]:
    """The rows that have details, in the order given."""
    return [row for row in rows if row.metrics is not None][:MAX_DETAILED]


def _curve(history: Sequence[Mapping[str, Any]]) -> Curve | None:
    if not history:
        return None
    evaluated, held_out = _by_epoch(history, "eval"), _by_epoch(history, "holdout")
    epochs = sorted(evaluated)
    step = max(1, math.ceil(len(epochs) / _MAX_POINTS))
    taken = epochs[::step]
    return Curve(
        tuple(taken),
        tuple(evaluated[epoch] for epoch in taken),
        tuple(held_out[epoch] for epoch in taken if epoch in held_out),
    )


def _by_epoch(history: Sequence[Mapping[str, Any]], part: str) -> dict[int, float]:
    values: dict[int, list[float]] = defaultdict(list)
    for line in history:
        if "share" in line:
            continue  # trained on a part of the participants
        value = line.get(f"{part}/{_WATCHED}")
        if isinstance(value, int | float) and math.isfinite(value):
            values[int(line["epoch"])].append(float(value))
    return {epoch: float(np.mean(found)) for epoch, found in values.items()}
