"""How sure a number is: Wilson's interval and the participant-level bootstrap.

Suffixes: B draws, G participants in the order of their ids, P rows (participants or volumes), K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from octjob.catalog import METRICS, RANKING
from octjob.evaluate.arrays import FloatArray, IntArray
from octjob.evaluate.distributions import normal_quantile, student_quantile
from octjob.evaluate.metrics import mean_over_seeds
from octjob.evaluate.predictions import ParticipantScores

# As many participants who are guessed are added to the scored ones, so that a perfect score still has an interval.
NUM_GUESSED = 0.5
# Draws x rows handled at once: 32 MB of float64, whatever the number of volumes.
CHUNK_ELEMENTS = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A confidence interval; `method` says in words how it was made."""

    low: float
    high: float
    level: float
    method: str


def wilson(k: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval (1927) of k successes in n independent trials.

    Raises:
        ValueError: not 0 <= k <= n with n > 0, or a level outside (0, 1).
    """
    if not (0 <= k <= n and n > 0 and 0 < level < 1):
        raise ValueError(
            f"wilson needs 0 <= k <= n, n > 0 and 0 < level < 1; got k={k}, n={n}, level={level}"
        )
    z = -normal_quantile((1 - level) / 2)
    center = (k + z * z / 2) / (n + z * z)
    half_width = z / (n + z * z) * float(np.sqrt(k * (n - k) / n + z * z / 4))
    low = 0.0 if k == 0 else center - half_width
    high = 1.0 if k == n else center + half_width
    return Interval(low, high, level, f"Wilson score, {k} of {n}")


def stratified_draws(label_G: IntArray, num_draws: int, seed: int) -> FloatArray:
    """The weight of each participant in each draw, [B, G].

    Of the n participants of a class n - 1 are drawn with replacement, each draw weighing n / (n - 1): the classes
    keep their sizes, and the variance of a mean is the unbiased one, which drawing n falls short of by 1 / n
    (McCarthy and Snowden, 1985; Rao and Wu, 1988). The only participant of a class is always there once.
    """
    generator = np.random.default_rng(seed)
    weight_BG = np.ones((num_draws, len(label_G)))
    for label in np.unique(label_G):
        members = np.flatnonzero(label_G == label)
        n = len(members)
        if n > 1:
            drawn = generator.multinomial(n - 1, np.full(n, 1 / n), size=num_draws)
            weight_BG[:, members] = drawn * (n / (n - 1))
    return weight_BG


def smallest_class(label_G: IntArray) -> int:
    """Participants of the smallest class that occurs."""
    return int(np.unique(label_G, return_counts=True)[1].min())


@cache
def t_factor(smallest: int, level: float = 0.95) -> float:
    """Student's quantile over the normal one, for one degree of freedom less than the smallest class has people.

    The error of a mean over classes is dominated by the smallest class, and is itself estimated from so few.
    """
    upper = (1 + level) / 2
    return student_quantile(upper, max(1, smallest - 1)) / normal_quantile(upper)


def participant_groups(scores: ParticipantScores) -> tuple[IntArray, IntArray]:
    """Labels of the participants in the order of their ids [G], and each row's participant [P]."""
    _, first_G, group_P = np.unique(scores.participant_P, return_index=True, return_inverse=True)
    return scores.label_P[first_G], group_P


def in_chunks(
    values_of: Callable[[FloatArray], dict[str, FloatArray]], draw_BG: FloatArray, num_rows: int
) -> dict[str, FloatArray]:
    """`values_of` over the draws, a bounded number at a time; each value [B]."""
    step = max(1, CHUNK_ELEMENTS // num_rows)
    parts = [values_of(draw_BG[start : start + step]) for start in range(0, len(draw_BG), step)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def bootstrap(
    scores: ParticipantScores,
    metrics: Sequence[str] = RANKING,
    num_draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Intervals of the named metrics from a bootstrap of participants, stratified by class.

    Metrics that rank, whose highest value is 1, get `logit_interval`, the others (log-loss ...) percentiles. With
    several seeds a draw uses the same participants for all and averages the metric over them, so the interval covers
    the choice of participants, not of seeds. Rows that are volumes follow their participant.
    An undefined metric has NaN bounds. The order of the rows does not matter.

    Raises:
        ValueError: an unknown metric, no draws, or a level outside (0, 1).
    """
    if num_draws < 1 or not 0 < level < 1:
        raise ValueError(f"bootstrap needs num_draws >= 1 and 0 < level < 1; got {num_draws} and {level}")
    scores = scores.ordered()
    label_G, group_P = participant_groups(scores)
    draw_BG = stratified_draws(label_G, num_draws, seed)
    values = in_chunks(
        lambda chunk_BG: mean_over_seeds(metrics, scores, chunk_BG[:, group_P]), draw_BG, len(group_P)
    )
    observed = mean_over_seeds(metrics, scores, np.ones((1, len(group_P))))
    method = f"participant bootstrap stratified by class, {{}}, {num_draws} draws"
    return {
        name: logit_interval(name, float(observed[name][0]), value_B, label_G, level, method.format("logit"))
        if METRICS[name].ranks
        else percentile_interval(value_B, level, method.format("percentile"))
        for name, value_B in values.items()
    }


def logit_interval(
    metric: str, value: float, value_B: FloatArray, label_G: IntArray, level: float, method: str
) -> Interval:
    """`bounded_interval` of a metric that ranks, with its range and what a guess scores in it."""
    guess = guessed(metric, label_G)
    return bounded_interval(value, value_B, label_G, METRICS[metric].lowest, guess, level, method)


def guessed(metric: str, label_G: IntArray) -> float:
    """What participants who are guessed score in a metric that ranks."""
    num_classes = len(np.unique(label_G))
    chance = METRICS[metric].chance(num_classes)
    return 1 / num_classes if chance is None else chance


def bounded_interval(
    value: float,
    value_B: FloatArray,
    label_G: IntArray,
    lowest: float,
    chance: float,
    level: float,
    method: str,
) -> Interval:
    """Symmetric on the logit scale of `lowest` to 1, from the standard deviation of the draws.

    Near 1 the percentiles of a bootstrap cover too little: they cannot exceed what the sample shows. Half a
    participant who is guessed, and scores `chance`, is added first, in the spirit of Agresti and Coull (1998), and
    Student's quantile taken (`t_factor`). benchmarks/verdicts.py prints what this covers. NaN bounds where the value
    is undefined.
    """
    n, span = len(label_G), 1 - lowest
    guess = (chance - lowest) / span
    share = (n * (value - lowest) / span + NUM_GUESSED * guess) / (n + NUM_GUESSED)
    variance = n**2 * value_B.var(ddof=1) / span**2 + NUM_GUESSED * guess * (1 - guess)
    if not np.isfinite(share + variance):
        return Interval(float("nan"), float("nan"), level, method)
    if not 0 < share < 1:  # one class only: a guess is right, and there is nothing to be unsure of
        return Interval(value, value, level, method)
    quantile = t_factor(smallest_class(label_G), level) * normal_quantile((1 + level) / 2)
    half_width = quantile * np.sqrt(variance) / (n + NUM_GUESSED) / (share * (1 - share))
    center = np.log(share / (1 - share))
    low, high = (lowest + span / (1 + np.exp(-(center + sign * half_width))) for sign in (-1.0, 1.0))
    return Interval(min(float(low), value), max(float(high), value), level, method)


def percentile_interval(value_B: FloatArray, level: float, method: str) -> Interval:
    """The central `level` of the values, linear between order statistics."""
    low, high = np.quantile(value_B, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, method)
