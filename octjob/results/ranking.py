"""Who beats whom beyond chance: ranks from shared bootstrap draws, and tests against the baseline.

Suffixes: B draws, G participants, P rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from octjob.errors import DataError
from octjob.evaluate import ParticipantScores, holm, paired_difference
from octjob.evaluate.arrays import FloatArray
from octjob.evaluate.intervals import in_chunks, participant_groups, percentile_interval, stratified_draws
from octjob.evaluate.metrics import mean_over_seeds

LEVEL = 0.95
# numpy leaves Python's lock in its long operations; each thread holds some arrays of 32 MB.
NUM_THREADS = 4


@dataclass(frozen=True)
class Comparison:
    """A metric of a run minus that of the baseline's run under the same configuration.

    p_value: paired permutation. p_holm: adjusted over every comparison of the leaderboard.
    """

    baseline_run: str
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    p_holm: float | None


def comparable_groups(scores: Mapping[str, ParticipantScores]) -> list[list[str]]:
    """Names of the runs with the same participants, labels and classes, in order of first appearance."""
    groups: dict[object, list[str]] = {}
    for name, of_run in scores.items():
        rows = of_run.ordered()
        key = (tuple(rows.row_keys()), rows.label_P.tobytes(), rows.num_classes)
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def draw_values(
    scores: Mapping[str, ParticipantScores], metric: str, num_draws: int, seed: int
) -> dict[str, FloatArray]:
    """The metric of each run for each bootstrap draw of its participants, [B].

    Comparable runs get the same draws, so that R runs cost R evaluations and the difference of two of these
    vectors is the one `paired_difference` computes. Vectors of runs that are not comparable must not meet.
    """
    values: dict[str, FloatArray] = {}
    for names in comparable_groups(scores):
        draw_BG = stratified_draws(participant_groups(scores[names[0]])[0], num_draws, seed)
        values |= {name: _values(scores[name], metric, draw_BG) for name in names}
    return values


def _values(scores: ParticipantScores, metric: str, draw_BG: FloatArray) -> FloatArray:
    _, group_P = participant_groups(scores)

    def of_chunk(chunk_BG: FloatArray) -> dict[str, FloatArray]:
        return mean_over_seeds([metric], scores, chunk_BG[:, group_P])

    return in_chunks(of_chunk, draw_BG, len(group_P))[metric]


def ranks(values: Mapping[str, FloatArray]) -> dict[str, int]:
    """1 + how many of the comparable runs beat this one beyond the interval of their paired difference.

    `values`: those of `draw_values`, [B] each.
    """
    return {
        name: 1 + sum(_interval(other_B - own_B)[0] > 0 for other, other_B in values.items() if other != name)
        for name, own_B in values.items()
    }


def _interval(difference_B: FloatArray) -> tuple[float, float]:
    interval = percentile_interval(difference_B, LEVEL, "")
    return interval.low, interval.high


def compare(
    pairs: Sequence[tuple[str, str]],
    scores: Mapping[str, ParticipantScores],
    values: Mapping[str, FloatArray],
    metric: str,
    seed: int,
) -> tuple[dict[str, Comparison], dict[str, str]]:
    """Each (run, baseline run) compared, Holm-adjusted together; and why others could not be, by run.

    `values`: those of `draw_values`; as many permutations are made as there are draws.
    """
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        compared = list(pool.map(lambda pair: _compared(pair, scores, values, metric, seed), pairs))
    found = {run: one for (run, _), one in zip(pairs, compared, strict=True) if isinstance(one, Comparison)}
    refused = {run: one for (run, _), one in zip(pairs, compared, strict=True) if isinstance(one, str)}
    return _adjusted(found), refused


def _compared(
    pair: tuple[str, str],
    scores: Mapping[str, ParticipantScores],
    values: Mapping[str, FloatArray],
    metric: str,
    seed: int,
) -> Comparison | str:
    """The comparison, or in words why there is none."""
    run, baseline = pair
    try:
        # One draw: its bootstrap is that of `values`, which is there already.
        paired = paired_difference(
            scores[run], scores[baseline], metric, num_draws=1, num_permutations=len(values[run]), seed=seed
        )
    except DataError as error:
        return f"not compared with {baseline}: {error.message}"
    low, high = _interval(values[run] - values[baseline])
    return Comparison(
        baseline_run=baseline,
        difference=_finite(paired.difference),
        low=_finite(low),
        high=_finite(high),
        p_value=_finite(paired.p_value),
        p_holm=None,
    )


def _adjusted(found: dict[str, Comparison]) -> dict[str, Comparison]:
    tested = {run: one.p_value for run, one in found.items() if one.p_value is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True)) if tested else {}
    return {run: replace(one, p_holm=adjusted.get(run)) for run, one in found.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class BestOfChance:
    """Balanced accuracy of the best of `num_predictors` random guessers: its mean and 95th percentile."""

    num_predictors: int
    expected: float
    percentile_95: float


def best_of_chance(
    class_counts: Iterable[int], num_predictors: int, seed: int = 0, num_samples: int = 500_000
) -> BestOfChance:
    """Balanced accuracy of the best of several uniform random guessers, by seeded simulation of one of them.

    With N sorted samples of one guesser, the i-th is the best of R with probability (i/N)^R - ((i-1)/N)^R.
    `class_counts`: participants per class that occurs.
    """
    counts_K = np.array([count for count in class_counts if count > 0])
    chance = 1 / len(counts_K)
    right_NK = np.random.default_rng(seed).binomial(counts_K, chance, size=(num_samples, len(counts_K)))
    sorted_N = np.sort((right_NK / counts_K).mean(axis=1))
    below_N = (np.arange(num_samples + 1) / num_samples) ** num_predictors
    return BestOfChance(
        num_predictors=num_predictors,
        expected=float(np.diff(below_N) @ sorted_N),
        percentile_95=float(np.quantile(sorted_N, 0.95 ** (1 / num_predictors))),
    )
