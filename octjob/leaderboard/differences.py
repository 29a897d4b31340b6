"""The metric on a part of the data against the rest, for the best run of each checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from octjob.errors import DataError
from octjob.evaluate import by_participant
from octjob.evaluate.arrays import BoolArray, StrArray
from octjob.evaluate.contrasts import Contrast, contrasts
from octjob.evaluate.recalibration import too_few
from octjob.leaderboard.outcome import Scored
from octjob.leaderboard.subgroups import MIN_SUBGROUP, Field, group_columns

# What AI-READI says of a participant that a model should not depend on; its participants table says no sex.
FIELDS: tuple[Field, ...] = ("site", "device", "age")
# With fewer participants of a class on either side the difference hangs on one of them.
MIN_OF_CLASS = 3


@dataclass(frozen=True)
class GroupDifference:
    """metric(name) - metric(rest), n and n_rest participants; a participant scanned by two devices counts in both.

    rest: the other group where there are two, else empty: all others of the field. difference, low, high: None where
    there is none, and `reason` says why.
    """

    field: Field
    name: str
    rest: str
    n: int
    n_rest: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def differences(
    one: Scored, metric: str, class_names: Sequence[str], num_draws: int = 2000
) -> tuple[GroupDifference, ...]:
    """Of each group with enough participants, against all others of its field whose group is known."""
    found: list[GroupDifference] = []
    made: dict[int, Contrast] = {}
    columns = group_columns(one)
    for field in FIELDS:
        for name, rest, inside_N, outside_N in _pairs(columns.get(field)):
            n, n_rest = (len(np.unique(one.predictions.participant[side])) for side in (inside_N, outside_N))
            if min(n, n_rest) < MIN_SUBGROUP:
                continue
            contrast, reason = _contrast(one, inside_N, outside_N, class_names)
            if contrast is not None:
                made[len(found)] = contrast
            found.append(GroupDifference(field, name, rest, n, n_rest, reason=reason))
    for place, made_of in zip(made, contrasts(list(made.values()), metric, num_draws), strict=True):
        low, high = made_of.interval.low, made_of.interval.high
        found[place] = replace(found[place], difference=made_of.difference, low=low, high=high)
    return tuple(found)


def _pairs(column: StrArray | None) -> list[tuple[str, str, BoolArray, BoolArray]]:
    """Each group and what it is compared with; of two groups one, as the other is the same turned round."""
    if column is None:
        return []
    names = [name for name in np.unique(column).tolist() if name]
    if len(names) < 2:
        return []
    if len(names) == 2:
        return [(names[0], names[1], column == names[0], column == names[1])]
    return [(name, "", column == name, (column != name) & (column != "")) for name in names]


def _contrast(
    one: Scored, inside_N: BoolArray, outside_N: BoolArray, class_names: Sequence[str]
) -> tuple[Contrast | None, str]:
    """Or why there is none."""
    sides = []
    classes = sorted(set(one.predictions.label.tolist()))
    for side, side_N in (("", inside_N), ("among the others ", outside_N)):
        rows = one.predictions.rows(side_N)
        people = set(zip(rows.participant.tolist(), rows.label.tolist(), strict=True))
        fewest = min((sum(label == k for _, label in people), k) for k in classes)
        if fewest[0] < MIN_OF_CLASS:
            return None, f"{side}{too_few(fewest[1], fewest[0], class_names, MIN_OF_CLASS)}"
        try:
            sides.append(by_participant(rows, how=one.how))
        except DataError:
            return None, "a pass lacks some of these participants' volumes"
    return Contrast(*sides), ""
