"""The lift of a run: its metric minus the mean over untrained encoders, with an interval that knows both are samples.

What is asked is whether a checkpoint is better than an untrained encoder. Where pretraining did nothing, the
checkpoint is one more initialisation, exchangeable with the I that were run. Its distance from their mean then has
the variance of an initialisation 1 + 1/I times: once for itself, 1/I for the mean. An interval of the mean difference
alone, 1/I, would take every lucky initialisation for a better one (Bouthillier et al., Accounting for variance in
machine learning benchmarks, MLSys 2021).

Participants and initialisations are crossed: every encoder scores the same people. The bootstrap draws both: people
by the draws that all runs share; initialisations in closed form, since the lift is linear in them. Drawing both
counts their interaction more than once (Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007), so
that is taken off:

    V = max(P, c Q) + c (S - Q),   c = 1 + 1/I

P: variance of the lift over draws of participants. S: variance of the metric among the initialisations, which holds
how their errors on these very people differ. Q: that interaction by itself, the variance over draws of their
distances from their mean. Under the null hypothesis P is near c Q, and V near c S: the interval is Student's for the
prediction of one more value, with I - 1 degrees of freedom. What participants add for a checkpoint whose errors are
its own, P - c Q, comes on top, with one degree less than the smallest class has people; the two are joined after
Satterthwaite (1946), and the interval is never narrower than that of c S alone: of two or three initialisations S may
be small by chance, and what of P is then left over must not lend it degrees of freedom. `benchmarks/lift.py` prints
how often the interval excludes zero under the null hypothesis.

Suffixes: B draws, I initialisations, P participants (or volumes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octjob.evaluate.arrays import FloatArray
from octjob.evaluate.distributions import student_beyond, student_quantile
from octjob.evaluate.draws import SharedDraws
from octjob.evaluate.intervals import participant_groups, smallest_class
from octjob.evaluate.metrics import mean_over_seeds
from octjob.evaluate.paired import aligned
from octjob.evaluate.predictions import ParticipantScores

# One initialisation says nothing of another.
LEAST_INITIALISATIONS = 2
_TINY = 1e-12


@dataclass(frozen=True)
class Lift:
    """A metric of a run minus its mean over untrained encoders.

    low, high: 95 % unless another level was asked for. error: the standard error, with `degrees` of freedom.
    participants_error: had others been scored. initialisations_error: had the checkpoint and the untrained encoders
    begun otherwise, beyond what the scored participants make them differ; 0 where that explains all of it.
    p_value: that the checkpoint is one more untrained encoder, two-sided. p_holm: adjusted over the lifts of a table.
    """

    value: float
    low: float
    high: float
    error: float
    degrees: float
    participants_error: float
    initialisations_error: float
    p_value: float
    num_initialisations: int
    p_holm: float | None = None


def lift_over(
    run: ParticipantScores,
    initialisations: Sequence[ParticipantScores],
    metric: str = "macro_auroc",
    num_draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Lift:
    """The lift of `run` over `initialisations` scored on the same participants. NaN where the metric is undefined.

    Passes (seeds, repeats) are averaged, as everywhere.

    Raises:
        DataError: an initialisation that scored other participants, labels or classes.
        ValueError: fewer than two initialisations or draws, an unknown metric, or a level outside (0, 1).
    """
    for one in initialisations:
        aligned(run, one)
    draws = SharedDraws(run, num_draws, seed)
    once_BP = np.ones((1, len(run.label_P)))
    value, *value_I = (
        float(mean_over_seeds([metric], one, once_BP)[metric][0]) for one in (run, *initialisations)
    )
    drawn_B, *drawn_I = (draws.in_bag(one, metric) for one in (run, *initialisations))
    smallest = smallest_class(participant_groups(run)[0])
    return lift_of_draws(value, np.array(value_I), drawn_B, np.array(drawn_I), smallest, level)


def lift_of_draws(
    value: float,
    value_I: FloatArray,
    drawn_B: FloatArray,
    drawn_IB: FloatArray,
    smallest: int,
    level: float = 0.95,
) -> Lift:
    """As `lift_over`, from the metric of the run and of the initialisations, and from both in draws that they share.

    smallest: participants of the smallest class.

    Raises:
        ValueError: fewer than two initialisations or draws, or a level outside (0, 1).
    """
    num = len(value_I)
    if num < LEAST_INITIALISATIONS or len(drawn_B) < 2 or not 0 < level < 1:
        raise ValueError(
            f"a lift needs two initialisations, two draws and 0 < level < 1; got {num}, {len(drawn_B)} and {level}"
        )
    difference = value - float(value_I.mean())
    times = 1 + 1 / num
    participants = float((drawn_B - drawn_IB.mean(axis=0)).var(ddof=1))
    interaction = float((drawn_IB - drawn_IB.mean(axis=0)).var(axis=1, ddof=1).sum()) / (num - 1)
    among = float(value_I.var(ddof=1))
    of_initialisations = times * among
    # numpy's maximum keeps what is undefined undefined.
    of_its_own = float(np.maximum(0.0, participants - times * interaction))
    variance = of_initialisations + of_its_own
    degrees = _degrees((of_initialisations, num - 1), (of_its_own, max(1, smallest - 1)))
    both = (math.sqrt(variance), degrees), (math.sqrt(of_initialisations), float(num - 1))

    def reach(one: tuple[float, float]) -> float:
        return student_quantile((1 + level) / 2, one[1]) * one[0]

    error, degrees = max(both, key=reach)
    half_width = reach((error, degrees))
    return Lift(
        value=difference,
        low=difference - half_width,
        high=difference + half_width,
        error=error,
        degrees=degrees,
        participants_error=math.sqrt(participants),
        initialisations_error=math.sqrt(times * float(np.maximum(0.0, among - interaction))),
        p_value=max(_p_value(difference, *one) for one in both),
        num_initialisations=num,
    )


def _degrees(*parts: tuple[float, int]) -> float:
    """Satterthwaite's, of a sum of variances that are each estimated with so many; the least where none varies."""
    total, spread = sum(part for part, _ in parts), sum(part**2 / degrees for part, degrees in parts)
    return total**2 / spread if spread > 0 else float(min(degrees for _, degrees in parts))


def _p_value(difference: float, error: float, degrees: float) -> float:
    if error > _TINY or math.isnan(error):
        return student_beyond(difference / error, degrees)
    return 1.0 if abs(difference) <= _TINY else 0.0
