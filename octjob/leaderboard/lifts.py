"""Untrained encoders on the table: a row for the initialisations of a configuration, each run's lift over them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from octjob.catalog import RANKING
from octjob.evaluate import holm
from octjob.evaluate.intervals import participant_groups, smallest_class
from octjob.evaluate.lift import LEAST_INITIALISATIONS, Lift, lift_of_draws
from octjob.leaderboard.comparison import Material
from octjob.leaderboard.controls import control_rows
from octjob.leaderboard.outcome import Outcome, Scored
from octjob.leaderboard.ranking import comparable_groups
from octjob.leaderboard.rows import Estimate, Row

RANDOM_INIT = "random_init"
Initialisations = Mapping[str, Mapping[str, Scored]]


def by_config(controls: Sequence[Outcome]) -> Initialisations:
    """By configuration and run id, the untrained encoders that have a result."""
    found: dict[str, dict[str, Scored]] = {}
    for one in controls:
        if one.entry.control == RANDOM_INIT and one.scored is not None:
            found.setdefault(one.entry.config, {})[one.entry.run_id] = one.scored
    return found


def with_lifts(
    rows: Sequence[Row], finished: Mapping[str, Scored], initialisations: Initialisations, material: Material
) -> list[Row]:
    """The rows of runs with their lift, or in words why there is none; unchanged without initialisations.

    finished: the runs. material: of the runs and of the initialisations. p-values are adjusted over all lifts (Holm).
    """
    if not initialisations:
        return list(rows)
    found = {
        row.run_id: _lift(row, finished[row.run_id], initialisations.get(row.config, {}), material)
        for row in rows
        if row.run_id in finished
    }
    lifts = {run_id: one for run_id, one in found.items() if isinstance(one, Lift)}
    adjusted = dict(zip(lifts, holm([one.p_value for one in lifts.values()]), strict=True))
    return [_with_lift(row, found.get(row.run_id), adjusted) for row in rows]


def _with_lift(row: Row, found: Lift | str | None, adjusted: Mapping[str, float]) -> Row:
    if isinstance(found, str):
        return replace(row, reasons=(*row.reasons, f"no lift: {found}"))
    return row if found is None else replace(row, lift=replace(found, p_holm=adjusted[row.run_id]))


def _lift(row: Row, run: Scored, there: Mapping[str, Scored], material: Material) -> Lift | str:
    """The lift over those of the run's architecture that scored whom it scored, or why there is none."""
    alike = [run_id for run_id, one in there.items() if not _differs(run, one)]
    if there and len(alike) < LEAST_INITIALISATIONS:
        differs = next((text for one in there.values() if (text := _differs(run, one))), "")
        if differs:
            return f"the untrained encoders under {row.config} are of another architecture ({differs})"
    if len(alike) < LEAST_INITIALISATIONS:
        count = "one untrained encoder alone has" if alike else "no untrained encoder has"
        return f"{count} a result under {row.config}; it takes {LEAST_INITIALISATIONS}, better 5"
    members = comparable_groups({name: material.scores[name] for name in (row.run_id, *alike)})[0][1:]
    if len(members) < LEAST_INITIALISATIONS:
        return f"the untrained encoders under {row.config} scored other participants, labels or classes"
    found = lift_of_draws(
        material.observed[row.run_id],
        np.array([material.observed[name] for name in members]),
        material.draws[row.run_id].in_bag_B,
        np.stack([material.draws[name].in_bag_B for name in members]),
        smallest_class(participant_groups(run.scores)[0]),
    )
    return (
        found
        if math.isfinite(found.value + found.error)
        else f"{material.metric} is not defined on what was scored"
    )


def _differs(run: Scored, other: Scored) -> str:
    """In what the two encoders' architectures differ by their records; empty where nothing is known to."""
    ours, theirs = _architecture(run), _architecture(other)
    return ", ".join(
        f"{key} {theirs[key]} against {ours[key]}"
        for key in ours
        if key in theirs and theirs[key] != ours[key]
    )


def _architecture(one: Scored) -> dict[str, object]:
    report = one.result.checkpoint_report
    geometry = report.get("geometry")
    sizes = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in (geometry.items() if isinstance(geometry, dict) else ())
    }
    known = {"num_parameters": report.get("num_parameters"), **sizes}
    return {key: value for key, value in known.items() if value is not None}


def initialisation_rows(outcomes: Sequence[Outcome], metric: str) -> list[Row]:
    """A row a configuration for the initialisations that have a result; one each for those that have none."""
    rows = control_rows(outcomes, metric)
    done: dict[str, list[Row]] = {}
    for row in rows:
        if row.metrics is not None:
            done.setdefault(row.config, []).append(row)
    return [*map(_folded, done.values()), *(row for row in rows if row.metrics is None)]


def _folded(rows: Sequence[Row]) -> Row:
    """Means over the initialisations, and their range in place of an interval; counts are summed."""
    means: dict[str, Any] = {
        name: tuple(_mean(values) for values in zip(*(getattr(row, name) for row in rows), strict=False))
        for name in ("per_class_f1", "per_class_auprc")
    }
    means |= {
        name: _mean([getattr(row, name) for row in rows])
        for name in ("train_val_gap", "prior_corrected_balanced_accuracy")
    }
    confusion = np.sum([row.confusion for row in rows], axis=0).tolist() if rows[0].confusion else ()
    return replace(
        rows[0],
        checkpoint=RANDOM_INIT,
        members=tuple(row.run_id for row in rows),
        metrics={name: _over(rows, name) for name in RANKING},
        num_models=sum(row.num_models or 0 for row in rows),
        flags=tuple(dict.fromkeys(flag for row in rows for flag in row.flags)),
        reasons=tuple(dict.fromkeys(reason for row in rows for reason in row.reasons)),
        prediction_counts=tuple(np.sum([row.prediction_counts for row in rows], axis=0).tolist()),
        confusion=tuple(map(tuple, confusion)),
        **means,
    )


def _over(rows: Sequence[Row], metric: str) -> Estimate:
    known = [value for row in rows if (value := row.value(metric)) is not None]
    if not known:
        return Estimate(None, None, None, "")
    if len(known) == 1:
        return Estimate(known[0], None, None, "")
    return Estimate(_mean(known), min(known), max(known), f"mean and range of {len(known)} initialisations")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
