"""Folds, hold-outs, class weights, epoch order: exact, balanced, and the same everywhere."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from sklearn.utils.class_weight import compute_class_weight

from octjob.data.participants import Participant
from octjob.data.sampling import (
    class_weights,
    epoch_order,
    holdout,
    sample_weights,
    shuffled_labels,
    stratified_folds,
)
from octjob.errors import DataError

# Participants by class (columns) and site (rows), AI-READI v2 as published.
SITES = {"UW": (160, 97, 92, 34), "UCSD": (83, 74, 99, 33), "UAB": (126, 71, 130, 62)}


def people(table: dict[str, tuple[int, ...]]) -> list[Participant]:
    cells = [(site, k) for site, counts in table.items() for k, n in enumerate(counts) for _ in range(n)]
    return [Participant(f"{i:05}", site, "", label, "train", True) for i, (site, label) in enumerate(cells)]


tables = st.dictionaries(
    st.sampled_from(("UW", "UCSD", "UAB")), st.tuples(*[st.integers(0, 12)] * 3), min_size=1
)


@settings(max_examples=60, deadline=None)
@given(table=tables, num_folds=st.integers(2, 5), seed=st.integers(0, 99))
def test_folds_are_even_within_class_and_within_class_and_site(
    table: dict[str, tuple[int, ...]], num_folds: int, seed: int
) -> None:
    everyone = people(table)
    sizes = Counter(p.label for p in everyone)
    if any(n < num_folds for n in sizes.values()):
        with pytest.raises(DataError, match="folds"):
            stratified_folds(everyone, num_folds, seed)
        return
    folds = stratified_folds(everyone, num_folds, seed)
    assert set(folds) == {p.id for p in everyone}
    groupings = (lambda p: None, lambda p: p.label, lambda p: (p.label, p.site))
    for grouping in groupings:
        counts = Counter((grouping(p), folds[p.id]) for p in everyone)
        for group in {grouping(p) for p in everyone}:
            per_fold = [counts[group, fold] for fold in range(num_folds)]
            assert max(per_fold) - min(per_fold) <= 1
    assert stratified_folds(everyone[::-1], num_folds, seed) == folds


def test_another_seed_and_another_repeat_give_other_folds() -> None:
    everyone = people(SITES)
    deals = [stratified_folds(everyone, 5, seed, repeat) for seed in (0, 1) for repeat in (0, 1)]
    assert all(a != b for i, a in enumerate(deals) for b in deals[:i])


def test_people_alone_at_their_site_are_dealt_anew_too() -> None:
    everyone = people({f"site {i}": (1,) for i in range(4)})

    def pairs(repeat: int) -> frozenset[frozenset[str]]:
        fold_of = stratified_folds(everyone, 2, 0, repeat)
        return frozenset(frozenset(i for i, f in fold_of.items() if f == fold) for fold in (0, 1))

    assert len({pairs(repeat) for repeat in range(40)}) == 3  # all ways to halve four people


@settings(max_examples=60, deadline=None)
@given(table=tables, share=st.floats(0.05, 0.5), seed=st.integers(0, 99))
def test_holdout_takes_the_share_of_each_class_never_none_never_all(
    table: dict[str, tuple[int, ...]], share: float, seed: int
) -> None:
    everyone = people(table)
    sizes = Counter(p.label for p in everyone)
    if any(n < 2 for n in sizes.values()):
        with pytest.raises(DataError, match="held out"):
            holdout(everyone, share, seed)
        return
    held = holdout(everyone, share, seed)
    taken = Counter(p.label for p in everyone if p.id in held)
    for label, size in sizes.items():
        assert 1 <= taken[label] < size
        assert abs(taken[label] - share * size) <= 1
    assert held == holdout(everyone[::-1], share, seed)


def test_holdout_takes_its_share_of_every_site() -> None:
    everyone = people(SITES)
    held = holdout(everyone, 0.15, 7)
    for site, counts in SITES.items():
        taken = sum(p.id in held for p in everyone if p.site == site)
        assert abs(taken - 0.15 * sum(counts)) <= len(counts)


def test_auto_weights_of_the_original_training_set_are_from_the_255_used_not_the_743_listed() -> None:
    labels = np.repeat(np.arange(4), (121, 62, 62, 10))
    weights = class_weights(labels, 4, "auto")
    assert weights is not None
    np.testing.assert_allclose(weights, (0.53, 1.03, 1.03, 6.38), atol=0.006)


@given(st.lists(st.integers(0, 3), min_size=4, max_size=60))
def test_auto_weights_equal_scikit_learn_balanced(labels: list[int]) -> None:
    if set(labels) != set(range(4)):
        for weights_of in (lambda: class_weights(labels, 4, "auto"), lambda: sample_weights(labels, 4)):
            with pytest.raises(DataError, match="no training sample of class"):
                weights_of()
        return
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(class_weights(labels, 4, "auto"), expected, rtol=1e-12)
    drawing = sample_weights(labels, 4)
    for label in range(4):
        assert drawing[np.array(labels) == label].sum() == pytest.approx(0.25)


def test_no_weights_are_none() -> None:
    assert class_weights([0, 1], 2, "none") is None


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.floats(1e-3, 1e3))
def test_given_weights_keep_their_ratios_and_have_mean_1_over_the_samples(
    labels: list[int], scale: float
) -> None:
    weight_K = class_weights(labels, 3, (1.0 * scale, 3.0 * scale, 0.5 * scale))
    assert weight_K is not None
    np.testing.assert_allclose(weight_K / weight_K[0], [1.0, 3.0, 0.5], rtol=1e-12)
    assert weight_K[labels].mean() == pytest.approx(1.0, rel=1e-12)


@given(n=st.integers(1, 200), seed=st.integers(0, 2**40), epoch=st.integers(0, 300))
def test_an_epoch_sees_every_sample_once_in_a_repeatable_order(n: int, seed: int, epoch: int) -> None:
    order = epoch_order(n, seed, epoch)
    assert sorted(order) == list(range(n))
    np.testing.assert_array_equal(order, epoch_order(n, seed, epoch))


def test_epochs_and_seeds_differ() -> None:
    assert len({epoch_order(50, s, e).tobytes() for s in (1, 2, 11) for e in (1, 2, 11)}) == 9


def test_weighted_epochs_show_every_class_equally_often() -> None:
    labels = np.repeat(np.arange(4), (121, 62, 62, 10))
    weights = sample_weights(labels, 4)
    drawn = np.concatenate([labels[epoch_order(255, 3, epoch, weights)] for epoch in range(40)])
    assert len(drawn) == 40 * 255
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), 0.25, atol=0.02)


def test_a_sample_of_weight_0_is_never_drawn() -> None:
    weights = np.array([0.0, 1.0, 0.0, 1.0, 0.0])
    assert set(np.concatenate([epoch_order(5, 0, e, weights) for e in range(50)])) == {1, 3}


@settings(max_examples=60, deadline=None)
@given(table=tables, seed=st.integers(0, 99), repeat=st.integers(0, 3), fold=st.integers(0, 3))
def test_shuffled_labels_stay_within_their_site(
    table: dict[str, tuple[int, ...]], seed: int, repeat: int, fold: int
) -> None:
    everyone = people(table)
    dealt = shuffled_labels(everyone, seed, repeat, fold)
    assert set(dealt) == {p.id for p in everyone}
    assert Counter((p.site, dealt[p.id]) for p in everyone) == Counter((p.site, p.label) for p in everyone)
    assert shuffled_labels(everyone[::-1], seed, repeat, fold) == dealt


def test_every_deal_of_labels_is_as_likely() -> None:
    """Two and two at one site: all six ways, each as often."""
    everyone = people({"UW": (2, 2)})
    ways = Counter(tuple(shuffled_labels(everyone, seed).values()) for seed in range(1200))
    assert len(ways) == 6
    assert chisquare(list(ways.values())).pvalue > 0.001
    of_many = [
        tuple(shuffled_labels(people(SITES), *key).values()) for key in ((0,), (1,), (0, 1), (0, 0, 1))
    ]
    assert len(set(of_many)) == len(of_many)
