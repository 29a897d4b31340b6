"""How much a metric moves with the participants scored, with the training seed, and with the training sets.

Suffixes: S passes (a seed and a repeat each), R repeats, T seeds within a repeat, B draws, P rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from octjob.evaluate.arrays import FloatArray, to_plain
from octjob.evaluate.draws import SharedDraws
from octjob.evaluate.metrics import mean_over_seeds
from octjob.evaluate.predictions import ParticipantScores

_ONE_SEED = "not separable: one seed"
_ONE_SEED_EACH = "not separable: each training set has one seed"
_ONE_SET = "not separable: one training set, or one deal of the folds"


@dataclass(frozen=True)
class VarianceSources:
    """Standard deviations of a metric over all participants scored once; None where the runs cannot tell.

    participants: had others been drawn from the same classes; bootstrap of the metric averaged over passes.
    seeds: another training seed, the same training sets.
    training_sets: the same participants dealt to folds anew. New people to train on would move it more, since
        training sets of one deal and the next share most of theirs (Bengio and Grandvalet, 2004).
    seeds_and_training_sets: both at once, where every repeat has one seed and they cannot be told apart.
    reasons: why `seeds` or `training_sets` is None.
    """

    metric: str
    participants: float
    seeds: float | None = None
    training_sets: float | None = None
    seeds_and_training_sets: float | None = None
    reasons: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe, NaN as None."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def variance_sources(
    scores: ParticipantScores,
    metric: str = "macro_auroc",
    num_draws: int = 2000,
    seed: int = 0,
    draws: SharedDraws | None = None,
) -> VarianceSources:
    """The three sources, as far as seeds and repeats of `scores` allow.

    Between repeats the participants scored are the same, so nothing of a difference between them is theirs. With
    every seed in every repeat the passes form a table of repeats and seeds, and the components are those of its
    two-way analysis of variance (method of moments; a negative variance counts as 0).

    draws: at least two, which runs on the same participants may share; without, `num_draws` from `seed`.

    Raises:
        ValueError: an unknown metric, or fewer than two draws.
    """
    if draws is None and num_draws < 2:
        raise ValueError(f"variance_sources needs at least two draws, got {num_draws}")
    drawn_B = (draws or SharedDraws(scores, num_draws, seed)).in_bag(scores, metric)
    participants = float(drawn_B.std(ddof=1))
    once_BP = np.ones((1, len(scores.label_P)))
    value_S = np.array([mean_over_seeds([metric], one, once_BP)[metric][0] for one in _passes(scores)])
    return VarianceSources(metric, participants, **_between_passes(scores, value_S))


def _passes(scores: ParticipantScores) -> list[ParticipantScores]:
    return [
        ParticipantScores(
            scores.participant_P, scores.label_P, probability_PK[None], volume_P=scores.volume_P
        )
        for probability_PK in scores.probability_SPK
    ]


def _between_passes(scores: ParticipantScores, value_S: FloatArray) -> dict[str, Any]:
    value_RT = _table(scores, value_S)
    if len(value_S) == 1:
        return {"reasons": {"seeds": _ONE_SEED, "training_sets": _ONE_SET}}
    if value_RT is None or value_RT.shape[1] == 1:
        reasons = dict.fromkeys(("seeds", "training_sets"), _ONE_SEED_EACH)
        return {"seeds_and_training_sets": float(value_S.std(ddof=1)), "reasons": reasons}
    seeds = float(np.sqrt(value_RT.var(axis=1, ddof=1).mean()))
    if len(value_RT) == 1:
        return {"seeds": seeds, "reasons": {"training_sets": _ONE_SET}}
    return {"seeds": seeds, "training_sets": _between_repeats(value_RT)}


def _table(scores: ParticipantScores, value_S: FloatArray) -> FloatArray | None:
    """The values by repeat and seed, [R, T]; None unless every seed is in every repeat."""
    by_pass = dict(zip(zip(scores.repeat_S, scores.seed_S, strict=True), value_S, strict=True))
    repeats, seeds = sorted(set(scores.repeat_S)), sorted(set(scores.seed_S))
    if len(by_pass) != len(repeats) * len(seeds):
        return None
    return np.array([[by_pass[repeat, seed] for seed in seeds] for repeat in repeats])


def _between_repeats(value_RT: FloatArray) -> float:
    """The repeats' component of the two-way analysis of variance without replication."""
    num_repeats, num_seeds = value_RT.shape
    mean_R1, mean_1T = value_RT.mean(axis=1, keepdims=True), value_RT.mean(axis=0, keepdims=True)
    rest_RT = value_RT - mean_R1 - mean_1T + value_RT.mean()
    rest = float((rest_RT**2).sum() / ((num_repeats - 1) * (num_seeds - 1)))
    return float(np.sqrt(max(0.0, float(mean_R1.var(ddof=1)) - rest / num_seeds)))
