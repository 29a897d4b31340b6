"""What the runs of a sweep are worth side by side: draws they share, signal, rank ranges, the winner's worth.

Suffixes: P rows (participants or volumes), G participants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial

import numpy as np

from octjob.evaluate import (
    ParticipantScores,
    RankRange,
    SelectionCorrected,
    holm,
    rank_ranges,
    selection_corrected,
)
from octjob.evaluate.arrays import StrArray
from octjob.evaluate.draws import DrawnValues, SharedDraws
from octjob.evaluate.intervals import participant_groups, smallest_class
from octjob.evaluate.lead import Leads, leads
from octjob.evaluate.power import detectable_difference, participants_needed
from octjob.evaluate.signal import label_permutations, num_permutations
from octjob.evaluate.simultaneous import PairErrors
from octjob.evaluate.threads import in_threads


def comparable_groups(scores: Mapping[str, ParticipantScores]) -> list[list[str]]:
    """Names of the runs with the same participants, labels and classes, in order of first appearance."""
    groups: dict[object, list[str]] = {}
    for name, of_run in scores.items():
        rows = of_run.ordered()
        key = (tuple(rows.row_keys()), rows.label_P.tobytes(), rows.num_classes)
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def main_group(scores: Mapping[str, ParticipantScores], of_baseline: Set[str]) -> list[str]:
    """The largest comparable group, the one that is ranked; with a tie for it, one that has a run `of_baseline`."""
    groups = comparable_groups(scores)
    return max(groups, key=lambda names: (len(names), bool(of_baseline & set(names))), default=[])


def draw_all(
    scores: Mapping[str, ParticipantScores], metric: str, num_draws: int, seed: int
) -> dict[str, DrawnValues]:
    """The metric of each run in bootstrap draws of its participants.

    Comparable runs get the same draws. Values of runs that are not comparable must not meet.
    """
    values: dict[str, DrawnValues] = {}
    for names in comparable_groups(scores):
        draws = SharedDraws(scores[names[0]], num_draws, seed)
        of_runs = in_threads(partial(draws.values, metric=metric), [scores[name] for name in names])
        values |= zip(names, of_runs, strict=True)
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
    site_P = [sites.get(name) for name in scores]
    of_runs = label_permutations(list(scores.values()), metric, site_P, num_permutations(len(scores)), seed)
    found = dict(zip(scores, of_runs, strict=True))
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
    winner = selection_corrected(
        np.stack([values[name].in_bag_B for name in group]),
        np.stack([values[name].out_of_bag_B for name in group]),
    )
    of_fit = {name: observed[name] for name in fit}
    errors = PairErrors(np.stack([values[name].in_bag_B for name in fit]))
    ranks = rank_ranges(
        of_fit, {name: values[name].in_bag_B for name in fit}, smallest_class(label_G), errors=errors
    )
    ahead = leads(of_fit, errors, smallest_class(label_G))
    if not len(errors):
        return Ranking(ranks, ahead, winner)
    first, second = sorted(range(len(fit)), key=lambda r: -observed[fit[r]])[:2]
    return Ranking(
        ranks,
        ahead,
        winner,
        detectable_difference(errors.median()),
        participants_needed(
            len(label_G), observed[fit[first]] - observed[fit[second]], errors.between(first, second)
        ),
    )


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
