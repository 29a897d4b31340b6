"""Label permutation: against scikit-learn and counting by hand, its size, and what a site explains."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn import metrics as sk

from octjob import catalog
from octjob.evaluate import ParticipantScores, label_permutation
from octjob.evaluate.metrics import mean_over_seeds
from octjob.evaluate.signal import num_permutations

METRICS = catalog.RANKING


def scores(
    rng: np.random.Generator, label_P: np.ndarray, signal: float, num_seeds: int = 1
) -> ParticipantScores:
    logits = rng.normal(size=(num_seeds, len(label_P), 3)) + signal * np.eye(3)[label_P]
    probability = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    return ParticipantScores(np.array([f"{i:04d}" for i in range(len(label_P))]), label_P, probability)


@pytest.mark.parametrize("metric", METRICS)
def test_the_observed_value_is_the_metrics(metric: str) -> None:
    run = scores(np.random.default_rng(0), np.arange(40) % 3, 0.8, num_seeds=3)
    expected = mean_over_seeds([metric], run, np.ones((1, 40)))[metric][0]
    assert label_permutation(run, metric, permutations=5).value == pytest.approx(expected, abs=1e-12)


def test_the_p_value_tends_to_that_of_all_permutations_by_scikit_learn() -> None:
    label_P = np.array([0, 0, 1, 1, 2, 2])
    run = scores(np.random.default_rng(4), label_P, 0.7)
    probability_PK = run.probability_SPK[0]

    def auroc(labels: tuple[int, ...]) -> float:
        return float(sk.roc_auc_score(labels, probability_PK, multi_class="ovr"))

    observed = auroc(tuple(label_P))
    everyone = [auroc(labels) for labels in itertools.permutations(label_P.tolist())]
    exact = np.mean(np.array(everyone) >= observed - 1e-12)
    ours = label_permutation(run, "macro_auroc", permutations=20_000)
    assert ours.p_value == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("metric", ["macro_auroc", "balanced_accuracy"])
def test_small_p_values_are_as_rare_without_signal_as_they_say(metric: str) -> None:
    rng = np.random.default_rng(1)
    label_P = np.arange(45) % 3
    p = [label_permutation(scores(rng, label_P, 0), metric, permutations=199).p_value for _ in range(300)]
    # 300 trials at 5 %: 15 expected, 4 and 27 are three standard errors away.
    assert 4 <= np.sum(np.array(p) <= 0.05) <= 27


def test_knowing_only_the_site_is_no_signal() -> None:
    rng = np.random.default_rng(2)
    site_P = np.repeat(["a", "b", "c"], 60)
    label_P = np.where(rng.random(180) < 0.7, np.repeat(np.arange(3), 60), rng.integers(0, 3, 180))
    knows_site = np.repeat(np.arange(3), 60)
    logits = rng.normal(size=(1, 180, 3)) * 0.5 + 2 * np.eye(3)[knows_site]
    probability = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    run = ParticipantScores(np.arange(180).astype(str), label_P, probability)
    assert label_permutation(run, "macro_auroc").p_value < 0.01
    assert label_permutation(run, "macro_auroc", site_P).p_value > 0.05


def test_volumes_of_a_participant_keep_one_label_when_permuted() -> None:
    """Ten copies of everyone hold no more evidence than one."""
    rng = np.random.default_rng(3)
    once = scores(rng, np.arange(30) % 3, 0.4)
    copies = ParticipantScores(
        np.repeat(once.participant_P, 10),
        np.repeat(once.label_P, 10),
        np.repeat(once.probability_SPK, 10, axis=1),
        volume_P=np.tile(np.arange(10).astype(str), 30),
    )
    one, ten = label_permutation(once, "macro_auroc"), label_permutation(copies, "macro_auroc")
    assert (ten.value, ten.p_value) == pytest.approx((one.value, one.p_value), abs=1e-12)


def test_permutations_grow_with_the_comparisons_so_that_a_hundred_can_be_significant() -> None:
    assert num_permutations(5) == 2000
    for count in (101, 1000):
        smallest = 1 / (1 + num_permutations(count))
        assert smallest * count < 0.05


def test_a_metric_without_a_permutation_is_refused() -> None:
    with pytest.raises(ValueError, match="log_loss"):
        label_permutation(scores(np.random.default_rng(0), np.arange(6) % 3, 0), "log_loss")
