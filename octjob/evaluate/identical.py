"""Runs that predict the same.

Suffixes: P participants (or volumes), S seeds, K classes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from octjob.evaluate.predictions import ParticipantScores

SAME_PROBABILITY = 1e-9


@dataclass(frozen=True)
class IdenticalGroup:
    """Runs that predicted the same class for every participant.

    `constant`: that class is one and the same for everyone, so the runs collapsed alike.
    `same_probabilities`: the names within the group whose probabilities agree to 1e-9 too; different weights
    cannot do that unless the input, or the difference between the weights, is ignored.
    """

    names: tuple[str, ...]
    constant: bool
    same_probabilities: tuple[tuple[str, ...], ...]


def identical_predictions(runs: Mapping[str, ParticipantScores]) -> list[IdenticalGroup]:
    """Groups of two or more runs with identical predicted classes on the same rows, in the runs' order."""
    ordered = {name: scores.ordered() for name, scores in runs.items()}
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, scores in ordered.items():
        predicted_SP = scores.predicted_SP
        key = (tuple(scores.row_keys()), predicted_SP.shape, predicted_SP.tobytes(), scores.num_classes)
        groups.setdefault(key, []).append(name)
    return [
        IdenticalGroup(
            names=tuple(names),
            constant=len(np.unique(ordered[names[0]].predicted_SP)) == 1,
            same_probabilities=_same_probabilities({name: ordered[name] for name in names}),
        )
        for names in groups.values()
        if len(names) > 1
    ]


def _same_probabilities(runs: Mapping[str, ParticipantScores]) -> tuple[tuple[str, ...], ...]:
    """The runs in order, each with the first before it whose probabilities are its own."""
    clusters: list[list[str]] = []
    # What agrees everywhere agrees in any weighted sum: only runs of about the same sum need a closer look.
    sums: list[tuple[float, int]] = []
    shape = next(iter(runs.values())).probability_SPK.shape
    weight_SPK = np.random.default_rng(0).random(shape)
    reach = 2 * SAME_PROBABILITY * float(weight_SPK.sum())
    for name, scores in runs.items():
        total = float((weight_SPK * scores.probability_SPK).sum())
        near = sums[bisect_left(sums, (total - reach,)) : bisect_right(sums, (total + reach, len(runs)))]
        for position in sorted(position for _, position in near):
            difference_SPK = scores.probability_SPK - runs[clusters[position][0]].probability_SPK
            if np.abs(difference_SPK).max() <= SAME_PROBABILITY:
                clusters[position].append(name)
                break
        else:
            insort(sums, (total, len(clusters)))
            clusters.append([name])
    return tuple(tuple(cluster) for cluster in clusters if len(cluster) > 1)
