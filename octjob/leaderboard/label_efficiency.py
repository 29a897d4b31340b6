"""How the metric grows with the participants trained on, for the best run of each checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octjob.leaderboard.details import best_runs
from octjob.leaderboard.outcome import Scored
from octjob.leaderboard.rows import Row
from octjob.records.parts import read_parts_facts


@dataclass(frozen=True)
class LearningPoint:
    """value: the metric ranked by, mean over `draws` parts of this share. lowest, highest: of them, no interval.

    participants: trained on, mean over the draws.
    """

    share: float
    participants: int
    draws: int
    value: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class LearningCurve:
    """Of one run, by rising share; the last is what the table shows."""

    run_id: str
    points: tuple[LearningPoint, ...]


def learning_curves(
    rows: Sequence[Row], finished: Mapping[str, Scored], metric: str
) -> tuple[LearningCurve, ...]:
    """Those of `evaluate: {protocol: label_efficiency}`. rows: in the order of the table."""
    made = (LearningCurve(run_id, _points(finished[run_id], metric)) for run_id in best_runs(rows))
    return tuple(one for one in made if one.points)


def _points(one: Scored, metric: str) -> tuple[LearningPoint, ...]:
    record = read_parts_facts(one.result.data)
    points = []
    for share in dict.fromkeys(part.share for part in record.parts) if record else ():
        found = [
            (value, part.participants)
            for part in (record.parts if record else ())
            if part.share == share and (value := part.metrics.get(metric)) is not None
        ]
        if found:
            value_D, people_D = (np.array(column) for column in zip(*found, strict=True))
            low, mean, high = (float(f(value_D)) for f in (np.min, np.mean, np.max))
            points.append(LearningPoint(share, round(people_D.mean()), len(found), mean, low, high))
    return tuple(points)
