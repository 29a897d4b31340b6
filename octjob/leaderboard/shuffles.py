"""Runs trained on shuffled labels: what their configuration reaches where there is nothing to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from octjob.catalog import RANKING
from octjob.evaluate import ParticipantScores
from octjob.evaluate.arrays import FloatArray
from octjob.evaluate.intervals import percentile_interval
from octjob.leaderboard.controls import control_rows
from octjob.leaderboard.outcome import Outcome, Scored
from octjob.leaderboard.rows import Estimate, Row

SHUFFLED = "shuffled_labels"


def shuffled_rows(outcomes: Sequence[Outcome], metric: str) -> list[Row]:
    """One each; in place of intervals the central 95 % of the shuffles' values."""
    scored = {one.entry.run_id: one.scored for one in outcomes}
    return [_as_shuffled(row, scored[row.run_id]) for row in control_rows(outcomes, metric)]


def _as_shuffled(row: Row, one: Scored | None) -> Row:
    if one is None:
        return row
    return replace(row, metrics={name: _estimate(one, name) for name in RANKING})


def _estimate(one: Scored, metric: str) -> Estimate:
    """The mean, and 2.5 to 97.5 % of the values; None where a shuffle has none."""
    value_F = shuffle_values(one, metric)
    if not np.isfinite(value_F).all():
        return Estimate(None, None, None, "")
    if len(value_F) < 2:
        return Estimate(float(value_F[0]), None, None, "")
    interval = percentile_interval(value_F, 0.95, f"2.5 to 97.5 % of {len(value_F)} shuffles of the labels")
    return Estimate(float(value_F.mean()), interval.low, interval.high, interval.method)


def shuffle_values(one: Scored, metric: str) -> FloatArray:
    """The metric of each shuffle, which is a seed, averaged over the repeats of the folds, [F]."""
    scores = one.scores
    values: dict[int, list[float]] = {}
    for seed, probability_PK in zip(scores.seed_S, scores.probability_SPK, strict=True):
        alone = ParticipantScores(
            scores.participant_P, scores.label_P, probability_PK[None], volume_P=scores.volume_P
        )
        values.setdefault(seed, []).append(one.metric_of(alone, metric))
    return np.array([np.mean(found) for found in values.values()])


def beside_shuffles(rows: Sequence[Row], shuffles: Sequence[Row], metric: str) -> list[Row]:
    """The rows of runs, those told that do no better than the same training on shuffled labels.

    shuffles: as `shuffled_rows` makes them; one is for the run of its checkpoint and configuration.
    """
    bounds = {
        (row.checkpoint.removeprefix(f"{SHUFFLED}-"), row.config): estimate
        for row in shuffles
        if (estimate := row.metric(metric)) is not None
    }
    return [_told(row, bounds.get((row.checkpoint, row.config)), metric) for row in rows]


def _told(row: Row, bound: Estimate | None, metric: str) -> Row:
    value = row.value(metric)
    if bound is None or bound.low is None or bound.high is None or value is None or value > bound.high:
        return row
    where = "lies within" if value >= bound.low else "is below"
    reason = (
        f"its {metric} of {value:.3f} {where} what its training reaches on shuffled labels,"
        f" {bound.low:.3f} to {bound.high:.3f}"
    )
    return replace(row, flags=(*row.flags, "within_shuffled"), reasons=(*row.reasons, reason))
