"""How sure a number is: Wilson's interval and the participant-level bootstrap.

Suffixes: B draws, G participants in the order of their ids, P rows (participants or volumes), K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from octjob.evaluate.arrays import FloatArray, IntArray
from octjob.evaluate.metrics import mean_over_seeds
from octjob.evaluate.predictions import ParticipantScores

DEFAULT_METRICS = ("balanced_accuracy", "macro_auroc", "macro_f1", "quadratic_kappa", "accuracy")
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
    z = float(stats.norm.isf((1 - level) / 2))
    center = (k + z * z / 2) / (n + z * z)
    half_width = z / (n + z * z) * float(np.sqrt(k * (n - k) / n + z * z / 4))
    low = 0.0 if k == 0 else center - half_width
    high = 1.0 if k == n else center + half_width
    return Interval(low, high, level, f"Wilson score, {k} of {n}")


def stratified_draws(label_G: IntArray, num_draws: int, seed: int) -> FloatArray:
    """How often each participant is drawn, [B, G] of whole numbers.

    Each class keeps its number of participants; within it this is sampling with replacement (a multinomial
    of equal chances).
    """
    generator = np.random.default_rng(seed)
    count_BG = np.zeros((num_draws, len(label_G)))
    for label in np.unique(label_G):
        members = np.flatnonzero(label_G == label)
        count_BG[:, members] = generator.multinomial(
            len(members), np.full(len(members), 1 / len(members)), size=num_draws
        )
    return count_BG


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
    metrics: Sequence[str] = DEFAULT_METRICS,
    num_draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Percentile intervals of the named metrics from a bootstrap of participants, stratified by class.

    With several seeds a draw uses the same participants for all and averages the metric over them, so the
    interval covers the choice of participants, not of seeds. Rows that are volumes follow their participant.
    An undefined metric has NaN bounds. The order of the rows does not matter.

    Raises:
        ValueError: an unknown metric, no draws, or a level outside (0, 1).
    """
    if num_draws < 1 or not 0 < level < 1:
        raise ValueError(f"bootstrap needs num_draws >= 1 and 0 < level < 1; got {num_draws} and {level}")
    label_G, group_P = participant_groups(scores)
    draw_BG = stratified_draws(label_G, num_draws, seed)
    values = in_chunks(
        lambda chunk_BG: mean_over_seeds(metrics, scores, chunk_BG[:, group_P]), draw_BG, len(group_P)
    )
    method = f"participant bootstrap stratified by class, percentile, {num_draws} draws"
    return {name: percentile_interval(value_B, level, method) for name, value_B in values.items()}


def percentile_interval(value_B: FloatArray, level: float, method: str) -> Interval:
    """The central `level` of the values, linear between order statistics."""
    low, high = np.quantile(value_B, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, method)
