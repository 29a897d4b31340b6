"""The sweep's two questions as two declared families of comparisons.

Which checkpoint is better, under one configuration; which configuration is better, for one checkpoint. Each family
is adjusted by itself (Holm), and by how many families are asked (Bonferroni), so that a table of equal runs has any
`*` at all one time in twenty. With folds a comparison varies over training sets and speaks of checkpoints and
configurations; without, it is paired over participants and speaks of the two trained models.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from octjob.errors import DataError
from octjob.evaluate import ParticipantScores, holm
from octjob.evaluate.draws import DrawnValues
from octjob.evaluate.intervals import participant_groups, smallest_class
from octjob.evaluate.paired import aligned, difference_interval
from octjob.evaluate.resampled import FoldValues, resampled_difference
from octjob.evaluate.signal import num_permutations
from octjob.evaluate.swapped import AlignedPair, swap_p_values

Family = Literal["checkpoint", "config"]
Pair = tuple[str, str]


@dataclass(frozen=True)
class Comparison:
    """A metric of a run minus that of the reference run.

    reference_run: the reference checkpoint's under the same configuration, or the reference configuration's for the
        same checkpoint.
    speaks_of: two trained models, or what was trained.
    p_holm: adjusted over the family, and for the number of families.
    """

    reference_run: str
    speaks_of: Literal["trained models", "training"]
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    p_holm: float | None = None


@dataclass(frozen=True)
class Material:
    """What comparisons are made from: by run, scores and draws, and the folds' values where there are folds."""

    metric: str
    scores: Mapping[str, ParticipantScores]
    observed: Mapping[str, float]
    draws: Mapping[str, DrawnValues]
    folds: Mapping[str, FoldValues]


@dataclass(frozen=True)
class Compared:
    """The comparisons of one family by run, and why other runs have none."""

    found: Mapping[str, Comparison]
    refused: Mapping[str, str]


def pairs_of(
    runs: Mapping[str, tuple[str, str]], finished: set[str], family: Family, reference: str
) -> tuple[list[Pair], dict[str, str]]:
    """(run, its reference's run) of a family, and why a finished run has no such pair.

    runs: by run id (checkpoint, configuration). reference: the name of the checkpoint or configuration.
    """
    varied, kept = (0, 1) if family == "checkpoint" else (1, 0)
    references: dict[str, list[str]] = defaultdict(list)
    for run, names in runs.items():
        if run in finished and names[varied] == reference:
            references[names[kept]].append(run)
    pairs, refused = [], {}
    for run, names in runs.items():
        if run not in finished or names[varied] == reference:
            continue
        there = references.get(names[kept], [])
        if len(there) == 1:
            pairs.append((run, there[0]))
        else:
            count = "several runs" if there else "no result"
            where = f"under {names[1]}" if family == "checkpoint" else f"for {names[0]}"
            refused[run] = f"not compared: {reference} has {count} {where}"
    return pairs, refused


def compare(pairs: Sequence[Pair], material: Material, seed: int, num_families: int = 1) -> Compared:
    """Each pair compared, adjusted together, and for the number of families that the table has."""
    by_folds = [pair for pair in pairs if all(run in material.folds for run in pair)]
    by_participants = [pair for pair in pairs if not all(run in material.folds for run in pair)]
    permutations = num_permutations(len(pairs) * num_families)
    results = {pair: _over_folds(pair, material) for pair in by_folds}
    results |= _over_participants(by_participants, material, permutations, seed)
    ordered = {pair[0]: results[pair] for pair in pairs}
    found = {run: result for run, result in ordered.items() if isinstance(result, Comparison)}
    refused = {run: result for run, result in ordered.items() if isinstance(result, str)}
    return Compared(_adjusted(found, num_families), refused)


def _over_folds(pair: Pair, material: Material) -> Comparison | str:
    """The comparison over training sets, or in words why there is none."""
    run, reference = pair
    resampled = resampled_difference(material.folds[run], material.folds[reference])
    if resampled.interval is None:
        return f"not compared with {reference}: {resampled.reason}"
    low, high = resampled.interval.low, resampled.interval.high
    return Comparison(reference, "training", resampled.difference, low, high, resampled.p_value)


def _over_participants(
    pairs: Sequence[Pair], material: Material, permutations: int, seed: int
) -> dict[Pair, Comparison | str]:
    """The comparisons of trained models, all permuted together, or in words why there is none."""
    results: dict[Pair, Comparison | str] = {}
    paired: dict[Pair, AlignedPair] = {}
    for run, reference in pairs:
        try:
            paired[run, reference] = aligned(material.scores[run], material.scores[reference])
        except DataError as error:
            results[run, reference] = f"not compared with {reference}: {error.message}"
    p_values = swap_p_values(list(paired.values()), material.metric, permutations, seed)
    for (run, reference), p_value in zip(paired, p_values, strict=True):
        difference = material.observed[run] - material.observed[reference]
        interval = difference_interval(
            difference,
            material.draws[run].in_bag_B - material.draws[reference].in_bag_B,
            smallest_class(participant_groups(material.scores[run])[0]),
        )
        numbers = (_finite(value) for value in (difference, interval.low, interval.high, p_value))
        results[run, reference] = Comparison(reference, "trained models", *numbers)
    return results


def _adjusted(found: Mapping[str, Comparison], num_families: int) -> dict[str, Comparison]:
    tested = {run: one.p_value for run, one in found.items() if one.p_value is not None}
    within = holm(list(tested.values()))
    adjusted = {run: min(1.0, num_families * p) for run, p in zip(tested, within, strict=True)}
    return {run: replace(one, p_holm=adjusted.get(run)) for run, one in found.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
