"""Who beats whom beyond chance: ranks from shared bootstrap draws, and tests against the baseline.

Suffixes: B draws, G participants, P rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from octjob.errors import DataError
from octjob.evaluate import ParticipantScores, holm, paired_difference
from octjob.evaluate.arrays import FloatArray
from octjob.evaluate.intervals import in_chunks, participant_groups, percentile_interval, stratified_draws
from octjob.evaluate.metrics import mean_over_seeds


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


def ranks(
    scores: Mapping[str, ParticipantScores], metric: str, num_draws: int, seed: int, level: float = 0.95
) -> dict[str, int]:
    """1 + how many of the runs beat this one beyond the interval of their paired bootstrap difference.

    All runs must be comparable. Each run's metric is computed once per draw, with the same draws for all, so
    that R runs cost R evaluations and each difference is the one `paired_difference` computes.
    """
    values = draw_values(scores, metric, num_draws, seed)
    return {
        name: 1 + sum(_beats(values[other], values[name], level) for other in values if other != name)
        for name in values
    }


def draw_values(
    scores: Mapping[str, ParticipantScores], metric: str, num_draws: int, seed: int
) -> dict[str, FloatArray]:
    """The metric of each of the comparable runs for each draw of participants, [B]."""
    if not scores:
        return {}
    draw_BG = stratified_draws(participant_groups(next(iter(scores.values())))[0], num_draws, seed)
    return {name: _values(of_run, metric, draw_BG) for name, of_run in scores.items()}


def _values(scores: ParticipantScores, metric: str, draw_BG: FloatArray) -> FloatArray:
    _, group_P = participant_groups(scores)

    def of_chunk(chunk_BG: FloatArray) -> dict[str, FloatArray]:
        return mean_over_seeds([metric], scores, chunk_BG[:, group_P])

    return in_chunks(of_chunk, draw_BG, len(group_P))[metric]


def _beats(winner_B: FloatArray, loser_B: FloatArray, level: float) -> bool:
    return percentile_interval(winner_B - loser_B, level, "").low > 0


def compare(
    pairs: Iterable[tuple[str, str]],
    scores: Mapping[str, ParticipantScores],
    metric: str,
    num_draws: int,
    seed: int,
) -> tuple[dict[str, Comparison], dict[str, str]]:
    """Each (run, baseline run) compared, Holm-adjusted together; and why others could not be, by run."""
    found: dict[str, Comparison] = {}
    refused: dict[str, str] = {}
    for run, baseline in pairs:
        try:
            paired = paired_difference(
                scores[run], scores[baseline], metric, num_draws, num_permutations=num_draws, seed=seed
            )
        except DataError as error:
            refused[run] = f"not compared with {baseline}: {error.message}"
            continue
        found[run] = Comparison(
            baseline_run=baseline,
            difference=_finite(paired.difference),
            low=_finite(paired.interval.low),
            high=_finite(paired.interval.high),
            p_value=_finite(paired.p_value),
            p_holm=None,
        )
    return _adjusted(found), refused


def _adjusted(found: dict[str, Comparison]) -> dict[str, Comparison]:
    tested = {run: one.p_value for run, one in found.items() if one.p_value is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True)) if tested else {}
    return {
        run: Comparison(one.baseline_run, one.difference, one.low, one.high, one.p_value, adjusted.get(run))
        for run, one in found.items()
    }


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
