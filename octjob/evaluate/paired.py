"""Two runs on the same participants: difference, interval, exact McNemar, permutation test; Holm.

Suffixes: B draws, G participants, P rows, S seeds, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from octjob.errors import DataError
from octjob.evaluate.arrays import FloatArray, to_plain
from octjob.evaluate.distributions import fair_coin_beyond, normal_quantile
from octjob.evaluate.intervals import (
    Interval,
    in_chunks,
    participant_groups,
    smallest_class,
    stratified_draws,
    t_factor,
)
from octjob.evaluate.metrics import mean_over_seeds
from octjob.evaluate.predictions import ParticipantScores, name_some
from octjob.evaluate.swapped import AlignedPair, swap_p_values


@dataclass(frozen=True)
class McNemar:
    """Exact two-sided McNemar test: participants that only one of the two runs got right."""

    seed_a: int
    seed_b: int
    only_a_right: int
    only_b_right: int
    p_value: float


@dataclass(frozen=True)
class PairedDifference:
    """metric(a) - metric(b). `mcnemar`, one per pair of seeds, is there for accuracy by participant."""

    metric: str
    a: float
    b: float
    difference: float
    interval: Interval
    p_value: float
    p_method: str
    mcnemar: tuple[McNemar, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe, NaN as None."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def paired_difference(
    a: ParticipantScores,
    b: ParticipantScores,
    metric: str = "balanced_accuracy",
    num_draws: int = 2000,
    num_permutations: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> PairedDifference:
    """Difference of a metric between two runs on the same participants.

    Interval: the stratified bootstrap of `intervals`, the same draws for both runs. p-value: two-sided
    permutation test that swaps the two runs' outputs participant by participant (all seeds of one together);
    its null hypothesis is that the runs are interchangeable. Metrics of the order of scores see each run's scores
    as ranks among its own, so that a run which leans to a class can be swapped with one that does not. Both speak
    of these two trained models, not of what another training would give. Passes (seeds, repeats) are paired in
    order; of a run with fewer they are repeated.

    Raises:
        DataError: different participants, labels or number of classes.
        ValueError: an unknown metric.
    """
    a, b = aligned(a, b)
    once_BP = np.ones((1, len(a.label_P)))
    value_a = float(mean_over_seeds([metric], a, once_BP)[metric][0])
    value_b = float(mean_over_seeds([metric], b, once_BP)[metric][0])
    by_participant = a.volume_P is None
    return PairedDifference(
        metric=metric,
        a=value_a,
        b=value_b,
        difference=value_a - value_b,
        interval=_bootstrap_interval(a, b, metric, num_draws, seed, level),
        p_value=permutation_p_value(a, b, metric, num_permutations, seed),
        p_method=f"paired permutation by participant, two-sided, {num_permutations} permutations",
        mcnemar=_mcnemar(a, b) if metric == "accuracy" and by_participant else (),
    )


def aligned(a: ParticipantScores, b: ParticipantScores) -> AlignedPair:
    """The two runs with their rows in one order and as many passes.

    Raises `DataError` for different participants, labels or numbers of classes.
    """
    a, b = a.ordered(), b.ordered()
    if a.row_keys() != b.row_keys():
        keys_a, keys_b = set(a.row_keys()), set(b.row_keys())
        examples = name_some(" ".join(key).strip() for key in keys_a ^ keys_b)
        raise DataError(
            f"the two runs scored different participants or volumes: {len(keys_a - keys_b)} only in the "
            f"first, {len(keys_b - keys_a)} only in the second, {len(keys_a & keys_b)} in both ({examples})",
            hint="Compare runs of one sweep, with the same data selection and split.",
        )
    differs_P = a.label_P != b.label_P
    if differs_P.any():
        raise DataError(
            f"the two runs have different labels for {name_some(a.participant_P[differs_P].tolist())}",
            hint="The runs read different label tables or class mappings.",
        )
    if a.num_classes != b.num_classes:
        raise DataError(
            f"the two runs cannot be paired: {a.num_classes} classes against {b.num_classes}",
            hint="Give both runs the same classes.mapping.",
        )
    num_passes = math.lcm(len(a.seed_S), len(b.seed_S))
    return _repeated(a, num_passes), _repeated(b, num_passes)


def _repeated(run: ParticipantScores, num_passes: int) -> ParticipantScores:
    """The passes over and over, so that runs with 5 and with 1 can be paired; a mean over them stays what it is."""
    times = num_passes // len(run.seed_S)
    if times == 1:
        return run
    probability_SPK = np.tile(run.probability_SPK, (times, 1, 1))
    return ParticipantScores(run.participant_P, run.label_P, probability_SPK, volume_P=run.volume_P)


def _bootstrap_interval(
    a: ParticipantScores, b: ParticipantScores, metric: str, num_draws: int, seed: int, level: float
) -> Interval:
    label_G, group_P = participant_groups(a)

    def differences(draw_BG: FloatArray) -> dict[str, FloatArray]:
        weight_BP = draw_BG[:, group_P]
        value_a_B = mean_over_seeds([metric], a, weight_BP)[metric]
        return {metric: value_a_B - mean_over_seeds([metric], b, weight_BP)[metric]}

    values = in_chunks(differences, stratified_draws(label_G, num_draws, seed), len(group_P))
    observed = float(differences(np.ones((1, len(label_G))))[metric][0])
    return difference_interval(observed, values[metric], smallest_class(label_G), level)


def difference_interval(
    observed: float, difference_B: FloatArray, smallest: int, level: float = 0.95
) -> Interval:
    """Student's interval from the standard deviation of the draws' differences.

    smallest: participants of the smallest class, see `intervals.t_factor`.
    """
    quantile = t_factor(smallest, level) * normal_quantile((1 + level) / 2)
    half_width = quantile * float(difference_B.std(ddof=1)) if len(difference_B) > 1 else float("nan")
    method = f"paired participant bootstrap stratified by class, Student, {len(difference_B)} draws"
    return Interval(observed - half_width, observed + half_width, level, method)


def permutation_p_value(
    a: ParticipantScores, b: ParticipantScores, metric: str, num_permutations: int, seed: int
) -> float:
    """(1 + permutations at least as far from zero) / (1 + permutations), NaN if the metric is undefined.

    See `paired_difference`, which raises what this would.
    """
    return swap_p_values([aligned(a, b)], metric, num_permutations, seed)[0]


def _mcnemar(a: ParticipantScores, b: ParticipantScores) -> tuple[McNemar, ...]:
    tests = []
    for seed_a, seed_b, right_a_P, right_b_P in zip(
        a.seed_S, b.seed_S, a.predicted_SP == a.label_P, b.predicted_SP == b.label_P, strict=True
    ):
        only_a, only_b = int((right_a_P & ~right_b_P).sum()), int((right_b_P & ~right_a_P).sum())
        discordant = only_a + only_b
        p_value = fair_coin_beyond(only_a, discordant) if discordant else 1.0
        tests.append(McNemar(seed_a, seed_b, only_a, only_b, p_value))
    return tuple(tests)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (1979), in the order given.

    Raises:
        ValueError: a value outside 0..1 or NaN.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values must lie in 0..1, got {list(p_values)}")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    result: list[float] = adjusted.tolist()
    return result
