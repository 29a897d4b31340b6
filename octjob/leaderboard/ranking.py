"""What the runs of a sweep are worth side by side: draws they share, signal, rank ranges, the winner's worth.

Suffixes: B draws, R runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from octjob.evaluate import (
    ParticipantScores,
    RankRange,
    SelectionCorrected,
    Signal,
    holm,
    label_permutation,
    rank_ranges,
    selection_corrected,
)
from octjob.evaluate.arrays import FloatArray, StrArray
from octjob.evaluate.draws import DrawnValues, drawn_values, shared_draws
from octjob.evaluate.intervals import participant_groups, smallest_class
from octjob.evaluate.lead import Leads, leads
from octjob.evaluate.power import detectable_difference, participants_needed
from octjob.evaluate.signal import num_permutations

# numpy leaves Python's lock in its long operations.
NUM_THREADS = 4


def comparable_groups(scores: Mapping[str, ParticipantScores]) -> list[list[str]]:
    """Names of the runs with the same participants, labels and classes, in order of first appearance."""
    groups: dict[object, list[str]] = {}
    for name, of_run in scores.items():
        rows = of_run.ordered()
        key = (tuple(rows.row_keys()), rows.label_P.tobytes(), rows.num_classes)
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def draw_all(
    scores: Mapping[str, ParticipantScores], metric: str, num_draws: int, seed: int
) -> dict[str, DrawnValues]:
    """The metric of each run in bootstrap draws of its participants.

    Comparable runs get the same draws. Values of runs that are not comparable must not meet.
    """
    values: dict[str, DrawnValues] = {}
    for names in comparable_groups(scores):
        draw_BG = shared_draws(scores[names[0]], num_draws, seed)
        values |= {name: drawn_values(scores[name], metric, draw_BG) for name in names}
    return values


@dataclass(frozen=True)
class AdjustedSignal:
    """A run's label permutation, and its p-value adjusted over the sweep's runs (Holm)."""

    p_value: float
    p_holm: float
    num_runs: int


def signals(
    scores: Mapping[str, ParticipantScores], sites: Mapping[str, StrArray], metric: str, seed: int
) -> dict[str, AdjustedSignal]:
    """Whether each run knows anything of the labels; runs on which the metric is undefined are left out."""
    permutations = num_permutations(len(scores))

    def of_run(name: str) -> Signal:
        return label_permutation(scores[name], metric, sites.get(name), permutations, seed)

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        found = dict(zip(scores, pool.map(of_run, scores), strict=True))
    p = {name: one.p_value for name, one in found.items() if not math.isnan(one.p_value)}
    adjusted = dict(zip(p, holm(list(p.values())), strict=True))
    return {name: AdjustedSignal(p[name], adjusted[name], len(p)) for name in p}


@dataclass(frozen=True)
class Ranking:
    """How the comparable runs stand to each other.

    ranks: of the runs that may have one. winner: what picking the best of all comparable runs is worth.
    detectable: the difference found with 80 % power, median over the ranked pairs. needed: participants that the
    difference between the first two would need, None where there is none. leads: of the first over each other.
    """

    ranks: Mapping[str, RankRange]
    leads: Leads | None = None
    winner: SelectionCorrected | None = None
    detectable: float | None = None
    needed: int | None = None


def standing(
    group: Sequence[str],
    fit: Sequence[str],
    scores: Mapping[str, ParticipantScores],
    observed: Mapping[str, float],
    values: Mapping[str, DrawnValues],
) -> Ranking:
    """Of the comparable runs `group`, rank those that are `fit`, best first.

    observed: the metric of every fit run, by run.
    """
    if not fit:
        return Ranking({})
    label_G, _ = participant_groups(scores[group[0]])
    of_fit, draws = {name: observed[name] for name in fit}, {name: values[name].in_bag_B for name in fit}
    ranks = rank_ranges(of_fit, draws, smallest_class(label_G))
    ahead = leads(of_fit, draws, smallest_class(label_G))
    winner = selection_corrected(
        np.stack([values[name].in_bag_B for name in group]),
        np.stack([values[name].out_of_bag_B for name in group]),
    )
    errors = _pair_errors(fit, values)
    if not errors:
        return Ranking(ranks, ahead, winner)
    first, second = sorted(fit, key=lambda name: -observed[name])[:2]
    return Ranking(
        ranks,
        ahead,
        winner,
        detectable_difference(float(np.median(list(errors.values())))),
        participants_needed(
            len(label_G), observed[first] - observed[second], errors[frozenset((first, second))]
        ),
    )


def _pair_errors(names: Sequence[str], values: Mapping[str, DrawnValues]) -> dict[frozenset[str], float]:
    """Bootstrap standard error of each pair's difference, where it is defined and not zero."""
    draw_RB = np.stack([values[name].in_bag_B for name in names])
    covariance_RR: FloatArray = np.atleast_2d(np.cov(draw_RB))
    found = {}
    for i, j in combinations(range(len(names)), 2):
        variance = covariance_RR[i, i] + covariance_RR[j, j] - 2 * covariance_RR[i, j]
        found[frozenset((names[i], names[j]))] = math.sqrt(max(0.0, float(variance)))
    return found


@dataclass(frozen=True)
class BestOfChance:
    """Balanced accuracy of the best of `num_predictors` random guessers: its mean and 95th percentile."""

    num_predictors: int
    expected: float
    percentile_95: float


def best_of_chance(
    class_counts: Sequence[int], num_predictors: int, seed: int = 0, num_samples: int = 500_000
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
