"""Debiased linear CKA against its definition, and what it must not depend on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student_t

from octjob.doctor.cka import cka_interval, debiased_linear_cka
from octjob.evaluate.arrays import FloatArray


def by_definition(x_NE: FloatArray, y_NF: FloatArray) -> float:
    """The U-statistic over ordered quadruples of distinct volumes (Song et al., 2012, equation 4)."""

    def hsic(k: FloatArray, m: FloatArray) -> float:
        terms = [
            k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
            for i, j, q, r in itertools.permutations(range(len(k)), 4)
        ]
        return float(np.mean(terms))

    k, m = x_NE @ x_NE.T, y_NF @ y_NF.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@given(seed=st.integers(0, 10_000), n=st.integers(5, 7), share=st.floats(0.3, 3.0))
def test_it_is_the_definition(seed: int, n: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    x_NE = generator.normal(size=(n, 4))
    y_NF = share * x_NE[:, :3] + generator.normal(size=(n, 3)) + 5.0
    with np.errstate(invalid="ignore"):
        expected = by_definition(x_NE, y_NF)
    found = debiased_linear_cka(x_NE, y_NF)
    if np.isnan(expected):
        assert np.isnan(found)
    else:
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_it_is_one_for_a_rotation_a_scale_and_a_shift() -> None:
    generator = np.random.default_rng(0)
    x_NE = generator.normal(size=(40, 6))
    turn_EE = np.linalg.qr(generator.normal(size=(6, 6)))[0]
    assert debiased_linear_cka(x_NE, 3.0 * x_NE @ turn_EE + 2.0) == pytest.approx(1.0)


def test_wide_independent_features_are_not_alike_though_volumes_are_few() -> None:
    generator = np.random.default_rng(1)
    drawn = [
        debiased_linear_cka(generator.normal(size=(30, 500)), generator.normal(size=(30, 500)))
        for _ in range(30)
    ]
    assert np.mean(drawn) == pytest.approx(0.0, abs=0.05)


def test_features_that_do_not_vary_have_none() -> None:
    assert np.isnan(debiased_linear_cka(np.ones((10, 3)), np.arange(30.0).reshape(10, 3)))


@pytest.mark.parametrize("rows", [(3, 3), (10, 9)])
def test_too_few_or_unequal_volumes_are_refused(rows: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="volumes"):
        debiased_linear_cka(np.zeros((rows[0], 2)), np.zeros((rows[1], 2)))


@given(seed=st.integers(0, 10_000))
def test_its_interval_is_the_jackknife_over_groups_computed_anew(seed: int) -> None:
    generator = np.random.default_rng(seed)
    group_N = generator.permutation(np.repeat(np.arange(10), [1, 1, 2, 2, 2, 3, 3, 3, 4, 4]))
    x_NE = generator.normal(size=(25, 5))
    y_NF = x_NE[:, :3] + generator.normal(size=(25, 3))
    without = np.array([debiased_linear_cka(x_NE[group_N != g], y_NF[group_N != g]) for g in range(10)])
    error = np.sqrt(9 / 10 * np.square(without - without.mean()).sum())
    found = cka_interval(x_NE, y_NF, group_N)
    assert found.value == pytest.approx(debiased_linear_cka(x_NE, y_NF))
    assert found.low == pytest.approx(found.value - student_t.ppf(0.975, 9) * error)
    assert found.high == pytest.approx(min(1.0, found.value + student_t.ppf(0.975, 9) * error))


def test_few_groups_have_no_interval() -> None:
    x_NE = np.random.default_rng(2).normal(size=(20, 3))
    found = cka_interval(x_NE, x_NE, np.arange(20) % 4)
    assert found.value == pytest.approx(1.0)
    assert np.isnan(found.low)
