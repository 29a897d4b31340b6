"""How far the best run is ahead of each other one, with intervals that hold for all of them although it was picked.

Suffixes: R runs, B bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octjob.evaluate.arrays import FloatArray
from octjob.evaluate.simultaneous import PairErrors, critical_value

_POWER = 0.8
# As in `simultaneous`.
_TINY_ERROR = 1e-9


@dataclass(frozen=True)
class Lead:
    """The leader's value minus this run's. low, high: at the level of all pairs of the ranked runs together.

    tied: the interval includes zero, so that these data cannot tell the two apart.
    """

    difference: float
    low: float
    high: float
    tied: bool


@dataclass(frozen=True)
class Leads:
    """behind: by run, all but the leader. critical: standard errors that a difference must exceed."""

    leader: str
    behind: Mapping[str, Lead]
    critical: float


def leads(
    values: Mapping[str, float], errors: PairErrors, smallest_class: int, leader: str | None = None
) -> Leads:
    """The run with the highest value, of several the first by name, as in a table; or the one that is named. And its
    lead over each other.

    A lead is told apart from none exactly where `rank_ranges` says that the leader beats the run: the multiple of the
    standard error holds for all pairs at once, and so for those with a leader that these very data chose.

    values: as for `rank_ranges`; at least one run. errors: of the differences, in the order of `values`.
    """
    names = list(values)
    first = names.index(min(names, key=lambda name: (-values[name], name)) if leader is None else leader)
    critical = critical_value(errors, smallest_class)
    defined_R = errors.defined_R
    behind = {
        name: _lead(
            values[names[first]] - values[name],
            errors.between(first, r),
            critical,
            bool(defined_R[first] and defined_R[r]),
        )
        for r, name in enumerate(names)
        if r != first
    }
    return Leads(names[first], behind, critical)


def _lead(difference: float, error: float, critical: float, defined: bool) -> Lead:
    if error <= _TINY_ERROR:
        # Runs that predict alike differ by nothing but rounding; one without an error and a constant do, surely.
        return Lead(difference, difference, difference, tied=difference <= _TINY_ERROR or not defined)
    low, high = difference - critical * error, difference + critical * error
    return Lead(difference, low, high, tied=low <= 0)


def recognisable_lead(
    leader: str, others: Sequence[str], draws: Mapping[str, FloatArray], critical: float
) -> float | None:
    """The true lead over each of `others` at which the leader is told apart from all of them with 80 % power.

    In a share of the draws, as in new participants, its differences fall short of the truth; it must still exceed
    `critical` errors in each. None where there is nothing to be ahead of.
    """
    short_RB = []
    for name in others:
        difference_B = draws[leader] - draws[name]
        error = float(difference_B.std(ddof=1))
        if error > _TINY_ERROR:
            short_RB.append(critical * error - (difference_B - difference_B.mean()))
    if not short_RB:
        return None
    return float(np.quantile(np.max(short_RB, axis=0), _POWER))
