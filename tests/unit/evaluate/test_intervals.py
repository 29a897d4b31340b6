"""Wilson's interval against scipy, the bootstrap against a plain loop over scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk

from octjob.evaluate import ParticipantScores, Predictions, bootstrap, by_participant, evaluate, wilson
from octjob.evaluate.intervals import participant_groups, stratified_draws, t_factor


def simulated(
    rng: np.random.Generator, counts: tuple[int, ...], signal: float, num_seeds: int = 1
) -> ParticipantScores:
    """Gaussian logits whose right class is raised by `signal`."""
    label = np.repeat(np.arange(len(counts)), counts)
    logits = rng.normal(size=(num_seeds, len(label), len(counts)))
    logits += signal * np.eye(len(counts))[label]
    probability = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    ids = np.array([f"{i:05d}" for i in rng.permutation(len(label))])
    return ParticipantScores(ids, label, probability)


@settings(deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_equals_scipys(successes: tuple[int, int], level: float) -> None:
    k, n = successes
    expected = stats.binomtest(k, n).proportion_ci(level, method="wilson")
    ours = wilson(k, n, level)
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (ours.low == 0) == (k == 0)
    assert (ours.high == 1) == (k == n)


def test_wilson_of_the_seeds_accuracy() -> None:
    interval = wilson(17, 65)
    assert (round(interval.low, 3), round(interval.high, 3)) == (0.170, 0.380)
    assert interval.method == "Wilson score, 17 of 65"


@pytest.mark.parametrize(("k", "n", "level"), [(3, 2, 0.95), (-1, 2, 0.95), (0, 0, 0.95), (1, 2, 1.0)])
def test_wilson_refuses_nonsense(k: int, n: int, level: float) -> None:
    with pytest.raises(ValueError, match="wilson needs"):
        wilson(k, n, level)


def by_sklearn(
    label: NDArray[np.int64], probability_PK: NDArray[np.float64], weight_P: NDArray[np.float64]
) -> dict[str, float]:
    predicted, w = probability_PK.argmax(axis=1), {"sample_weight": weight_P}
    one_vs_rest = range(probability_PK.shape[1])
    return {
        "accuracy": sk.accuracy_score(label, predicted, **w),
        "balanced_accuracy": sk.balanced_accuracy_score(label, predicted, **w),
        "macro_f1": sk.f1_score(label, predicted, average="macro", zero_division=0, labels=range(4), **w),
        "quadratic_kappa": sk.cohen_kappa_score(label, predicted, labels=range(4), weights="quadratic", **w),
        "macro_auroc": np.mean(
            [sk.roc_auc_score(label == k, probability_PK[:, k], **w) for k in one_vs_rest]
        ),
        "macro_auprc": sk.average_precision_score(np.eye(4)[label], probability_PK, average="macro", **w),
        "log_loss": sk.log_loss(label, probability_PK, labels=range(4), **w),
        "brier": sk.brier_score_loss(label, probability_PK, labels=range(4), scale_by_half=False, **w),
    }


def test_the_bootstrap_equals_a_loop_over_scikit_learn_on_the_same_draws() -> None:
    scores = simulated(np.random.default_rng(0), (9, 7, 5, 3), 0.7, num_seeds=2)
    # A coarse grid gives ties within a class and across classes.
    coarse = np.round(scores.probability_SPK, 1) + 1e-3
    coarse /= coarse.sum(axis=2, keepdims=True)
    scores = ParticipantScores(scores.participant_P, scores.label_P, coarse)
    label_G, group_P = participant_groups(scores)
    values: dict[str, list[float]] = {}
    for weight_G in stratified_draws(label_G, 60, seed=11):
        per_seed = [
            by_sklearn(scores.label_P, seed_PK, weight_G[group_P]) for seed_PK in scores.probability_SPK
        ]
        for name in per_seed[0]:
            values.setdefault(name, []).append(float(np.mean([of_seed[name] for of_seed in per_seed])))
    intervals = bootstrap(scores, metrics=tuple(values), num_draws=60, seed=11, level=0.9)
    once = [by_sklearn(scores.label_P, seed_PK, np.ones(24)) for seed_PK in scores.probability_SPK]
    for name, drawn_values in values.items():
        kind = "percentile" if name in ("macro_auprc", "log_loss", "brier") else "logit"
        expected = tuple(np.quantile(drawn_values, [0.05, 0.95]))
        if kind == "logit":
            value = np.mean([of_seed[name] for of_seed in once])
            expected = by_hand(name, float(value), np.array(drawn_values), n=24, smallest=3, level=0.9)
        assert (intervals[name].low, intervals[name].high) == pytest.approx(expected, rel=0, abs=1e-9)
        assert intervals[name].method == f"participant bootstrap stratified by class, {kind}, 60 draws"


def by_hand(
    name: str, value: float, drawn: NDArray[np.float64], n: int, smallest: int, level: float
) -> tuple[float, float]:
    """The formula of the logit interval once more, on the scale from the metric's lowest value to 1."""
    lowest = -1.0 if name == "quadratic_kappa" else 0.0
    guess = {"macro_auroc": 0.5, "quadratic_kappa": 0.0}.get(name, 0.25)
    center = (n * value + 0.5 * guess) / (n + 0.5)
    spread = np.sqrt(n**2 * drawn.var(ddof=1) + 0.5 * (guess - lowest) * (1 - guess)) / (n + 0.5)
    share, width = (center - lowest) / (1 - lowest), spread / (1 - lowest)
    logit = np.log(share / (1 - share))
    half = stats.t.ppf((1 + level) / 2, smallest - 1) * width / (share * (1 - share))
    low, high = (lowest + (1 - lowest) / (1 + np.exp(-x)) for x in (logit - half, logit + half))
    return min(low, value), max(high, value)


def test_a_perfect_score_has_an_interval_that_reaches_down() -> None:
    label_P = np.repeat(np.arange(4), (17, 17, 20, 11))
    scores = ParticipantScores(np.arange(65).astype(str), label_P, np.eye(4)[label_P][None])
    for name, interval in bootstrap(scores, num_draws=50).items():
        assert interval.high == 1, name
        assert 0.8 < interval.low < 0.97, name


def test_students_factor_grows_as_the_smallest_class_shrinks() -> None:
    assert t_factor(11) == pytest.approx(stats.t.ppf(0.975, 10) / stats.norm.ppf(0.975))
    assert t_factor(1) == t_factor(2) > t_factor(5) > t_factor(500) > 1


def test_draws_keep_each_class_at_its_size_and_resample_within_it() -> None:
    label_G = np.array([0, 1, 0, 2, 1, 1])
    draws = stratified_draws(label_G, 3000, seed=0)
    for k, size in ((0, 2), (1, 3), (2, 1)):
        assert draws[:, label_G == k].sum(axis=1) == pytest.approx(np.full(3000, size))
    assert draws.mean(axis=0) == pytest.approx(np.ones(6), abs=0.06)
    assert draws[:, 1].max() == 3
    assert (draws[:, 3] == 1).all()  # the only one of its class


def test_the_variance_of_a_mean_over_draws_is_the_unbiased_one() -> None:
    """Drawing n of n falls short of it by 1 / n."""
    value_G = np.random.default_rng(3).normal(size=8)
    draws = stratified_draws(np.zeros(8, dtype=np.int64), 200_000, seed=0)
    mean_B = draws @ value_G / 8
    assert mean_B.var() == pytest.approx(value_G.var(ddof=1) / 8, rel=0.02)


def test_large_tables_are_handled_in_chunks_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = simulated(np.random.default_rng(1), (10, 10, 10), 0.5)
    whole = bootstrap(scores, num_draws=101)
    monkeypatch.setattr("octjob.evaluate.intervals.CHUNK_ELEMENTS", 300)
    assert bootstrap(scores, num_draws=101) == whole


def test_the_order_of_participants_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    scores = simulated(rng, (12, 9, 6), 0.5)
    order = rng.permutation(27)
    shuffled = ParticipantScores(
        scores.participant_P[order], scores.label_P[order], scores.probability_SPK[:, order]
    )
    assert bootstrap(shuffled, num_draws=200) == bootstrap(scores, num_draws=200)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_auroc"])
def test_intervals_cover_the_truth_about_as_often_as_they_say(metric: str) -> None:
    rng = np.random.default_rng(4)
    large = simulated(rng, (20_000, 20_000, 20_000), 1.0)
    truth = by_large_sample(large, metric)
    covered = 0
    for repeat in range(200):
        interval = bootstrap(simulated(rng, (40, 30, 20), 1.0), (metric,), num_draws=300, seed=repeat)[metric]
        covered += interval.low <= truth <= interval.high
    # 200 repeats at 95 %: 190 expected; 180 is over three standard errors below, 199 just under three above.
    assert 180 <= covered <= 199


def by_large_sample(scores: ParticipantScores, metric: str) -> float:
    probability_PK = scores.probability_SPK[0]
    if metric == "macro_auroc":
        return float(sk.roc_auc_score(scores.label_P, probability_PK, multi_class="ovr"))
    return float(sk.balanced_accuracy_score(scores.label_P, probability_PK.argmax(axis=1)))


def repeated_volumes(times: int) -> Predictions:
    """One volume per participant, repeated: more rows, no more information."""
    scores = simulated(np.random.default_rng(5), (20, 20, 20), 0.8)
    size = 60 * times
    return Predictions(
        participant=np.repeat(scores.participant_P, times),
        eye=np.repeat(["L"], size),
        device=np.repeat(["triton"], size),
        split=np.repeat(["val"], size),
        fold=np.zeros(size, dtype=np.int64),
        seed=np.zeros(size, dtype=np.int64),
        label=np.repeat(scores.label_P, times),
        logits_NK=np.repeat(np.log(scores.probability_SPK[0]), times, axis=0),
    )


def test_volumes_of_one_participant_do_not_make_intervals_narrower() -> None:
    once = bootstrap(by_participant(repeated_volumes(1)))
    five_times = bootstrap(by_participant(repeated_volumes(5), how="volume"))
    for name, interval in once.items():
        assert (five_times[name].low, five_times[name].high) == pytest.approx((interval.low, interval.high))


def test_wilson_is_used_only_where_trials_are_independent() -> None:
    predictions = repeated_volumes(2)
    by_person, by_volume = (
        evaluate(predictions, 3, num_draws=20),
        evaluate(predictions, 3, "volume", num_draws=20),
    )
    assert by_person.intervals["accuracy"].method.startswith("Wilson score")
    assert by_volume.intervals["accuracy"].method.startswith("participant bootstrap")


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown metrics"):
        bootstrap(simulated(np.random.default_rng(0), (3, 3), 1.0), ("f2",))
