"""Principal axes and shares of variance, against scikit-learn and textbook sums of squares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from octjob.evaluate.feature_map import explained, explained_by, principal_axes


@pytest.mark.parametrize("shape", [(60, 8), (12, 40), (2, 5), (5, 1)])
def test_the_axes_are_those_of_scikit_learn_up_to_a_turn(shape: tuple[int, int]) -> None:
    x_NE = np.random.default_rng(0).normal(size=shape) * np.arange(1, shape[1] + 1)
    at_N2, shares = principal_axes(x_NE)
    number = min(2, *shape)
    theirs = PCA(n_components=number)
    expected = theirs.fit_transform(x_NE)
    for axis in range(number):
        if theirs.explained_variance_ratio_[axis] < 1e-12:
            continue
        sign = np.sign(at_N2[:, axis] @ expected[:, axis])
        np.testing.assert_allclose(at_N2[:, axis], sign * expected[:, axis], atol=1e-8)
        assert at_N2[np.abs(at_N2[:, axis]).argmax(), axis] > 0
    np.testing.assert_allclose(shares[:number], theirs.explained_variance_ratio_, atol=1e-12)


def test_features_that_do_not_vary_have_no_axes() -> None:
    at_N2, shares = principal_axes(np.ones((4, 3)))
    assert (at_N2 == 0).all()
    assert shares == (0.0, 0.0)
    assert explained(np.ones((4, 3)), np.array([0, 0, 1, 1])).share == 0.0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_the_share_is_one_less_what_lies_within_groups(seed: int, num_groups: int) -> None:
    rng = np.random.default_rng(seed)
    x_NE, group_N = rng.normal(size=(30, 4)), rng.integers(0, num_groups, size=30)
    within = sum(
        np.square(x_NE[group_N == g] - x_NE[group_N == g].mean(axis=0)).sum() for g in np.unique(group_N)
    )
    total = np.square(x_NE - x_NE.mean(axis=0)).sum()
    assert explained(x_NE, group_N).share == pytest.approx(1 - within / total, abs=1e-12)


def test_what_chance_explains_is_its_mean_over_shuffles() -> None:
    rng = np.random.default_rng(1)
    x_NE, group_N = rng.normal(size=(40, 6)), np.repeat([0, 1, 2], (20, 15, 5))
    shuffled = [explained(x_NE, rng.permutation(group_N)).share for _ in range(2000)]
    assert explained(x_NE, group_N).expected == pytest.approx(np.mean(shuffled), rel=0.03)


def test_names_of_groups_may_be_text_and_one_group_explains_nothing() -> None:
    x_NE = np.array([[0.0], [0.0], [2.0], [2.0]])
    found = explained_by(x_NE, {"device": np.array(["a", "a", "b", "b"]), "site": np.array(["UW"] * 4)})
    assert (found["device"].share, found["device"].num_groups) == (1.0, 2)
    assert (found["site"].share, found["site"].expected, found["site"].num_groups) == (0.0, 0.0, 1)
