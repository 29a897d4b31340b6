"""Does the input tell anything about the labels? A permutation of the labels, within site.

Suffixes: B permutations, P rows (participants or volumes), G participants, R runs.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from octjob.evaluate.arrays import IntArray, StrArray
from octjob.evaluate.intervals import participant_groups
from octjob.evaluate.predictions import ParticipantScores
from octjob.evaluate.relabelled import reached
from octjob.evaluate.weighted import OF_CONFUSION

MIN_PERMUTATIONS = 2000
# With Holm's adjustment the smallest p-value must stay well below 0.05: 1 / 40 of it at the most.
PERMUTATIONS_PER_COMPARISON = 40


def num_permutations(num_comparisons: int) -> int:
    """So many that a p-value adjusted for that many comparisons can still be small."""
    return max(MIN_PERMUTATIONS, PERMUTATIONS_PER_COMPARISON * num_comparisons)


@dataclass(frozen=True)
class Signal:
    """One-sided: how often permuted labels score at least as high. NaN where the metric is undefined."""

    metric: str
    value: float
    p_value: float
    num_permutations: int


def label_permutation(
    scores: ParticipantScores,
    metric: str,
    site_P: StrArray | None = None,
    permutations: int = MIN_PERMUTATIONS,
    seed: int = 0,
) -> Signal:
    """`label_permutations` of one run."""
    return label_permutations([scores], metric, [site_P], permutations, seed)[0]


def label_permutations(
    runs: Sequence[ParticipantScores],
    metric: str,
    sites: Sequence[StrArray | None],
    permutations: int = MIN_PERMUTATIONS,
    seed: int = 0,
) -> list[Signal]:
    """Permute the participants' labels, within the run's `site_P` where it is given, and score the same predictions.

    Within a site, so that a model which only knows the site (and sites differ in their classes) has no signal. All
    seeds see the same permutation, and so do all runs with the same labels and sites: they are made once, and scored
    for all of these runs in a matrix product. Exact: with no signal, p <= a happens with probability at most a.

    Raises:
        ValueError: a metric other than macro_auroc and those of a confusion matrix.
    """
    if metric != "macro_auroc" and metric not in OF_CONFUSION:
        raise ValueError(f"no label permutation of {metric}")
    alike: dict[Hashable, list[int]] = {}
    dealt: dict[Hashable, tuple[IntArray, StrArray | None]] = {}
    for r, (scores, site_P) in enumerate(zip(runs, sites, strict=True)):
        label_G, group_P = participant_groups(scores)
        site_G = None if site_P is None else _of_participants(site_P, group_P, len(label_G))
        key: Hashable = (label_G.tobytes(), None if site_G is None else tuple(site_G.tolist()))
        alike.setdefault(key, []).append(r)
        dealt[key] = label_G, site_G
    found: dict[int, Signal] = {}
    for key, members in alike.items():
        permuted_BG = _permuted(*dealt[key], permutations, np.random.default_rng(seed))
        value_R, count_R = reached([runs[r] for r in members], metric, permuted_BG)
        found |= {
            r: _signal(metric, float(value), int(count), permutations)
            for r, value, count in zip(members, value_R, count_R, strict=True)
        }
    return [found[r] for r in range(len(runs))]


def _signal(metric: str, value: float, count: int, permutations: int) -> Signal:
    p_value = float("nan") if np.isnan(value) else (1 + count) / (1 + permutations)
    return Signal(metric, value, p_value, permutations)


def _of_participants(site_P: StrArray, group_P: IntArray, num_groups: int) -> StrArray:
    site_G = np.empty(num_groups, dtype=site_P.dtype)
    site_G[group_P] = site_P
    return site_G


def _permuted(
    label_G: IntArray, site_G: StrArray | None, permutations: int, generator: np.random.Generator
) -> IntArray:
    """The labels dealt anew, [B, G], in as few bytes as hold them."""
    label_G = label_G.astype(np.min_scalar_type(int(label_G.max())))
    permuted_BG = np.tile(label_G, (permutations, 1))
    sites = [None] if site_G is None else np.unique(site_G).tolist()
    for site in sites:
        members = np.arange(len(label_G)) if site_G is None else np.flatnonzero(site_G == site)
        permuted_BG[:, members] = generator.permuted(permuted_BG[:, members], axis=1)
    return permuted_BG
