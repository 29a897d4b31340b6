"""Labels in the wrong rows: found by the data set's own table and by features, and never where rows are right."""

from __future__ import annotations

import numpy as np
import pytest

from octjob.doctor.rows import Moved, against_own, knows
from octjob.evaluate.arrays import FloatArray, IntArray

N = 84


def labelled(seed: int, signal: float = 3.0) -> tuple[FloatArray, IntArray]:
    """Features that know the class, in an order that says nothing of it."""
    generator = np.random.default_rng(seed)
    label_P = generator.integers(4, size=N)
    return generator.normal(size=(N, 16)) + signal * np.eye(16)[label_P], label_P


def rows(label_P: IntArray) -> dict[int, int]:
    return dict(enumerate(label_P.tolist()))


@pytest.mark.parametrize("down", [1, -1])
def test_features_know_by_which_row_labels_were_moved(down: int) -> None:
    x_PE, label_P = labelled(0)
    found = knows(x_PE, np.arange(N), rows(np.roll(label_P, down)))
    assert isinstance(found, Moved)
    assert found.offset == -down
    assert found.whose == ("the row above" if down == 1 else "the row below")
    assert found.agreed > 0.9
    assert found.stayed < 0.65


def test_labels_in_their_rows_are_known_there() -> None:
    x_PE, label_P = labelled(1)
    assert knows(x_PE, np.arange(N), rows(label_P)) == "own"


def test_features_that_know_nothing_accuse_nobody() -> None:
    found = [knows(labelled(seed, 0.0)[0], np.arange(N), rows(labelled(seed + 100)[1])) for seed in range(15)]
    assert not any(isinstance(one, Moved) for one in found)


def test_a_table_sorted_by_class_is_not_moved() -> None:
    x_PE, label_P = labelled(2)
    order = np.argsort(label_P)
    assert knows(x_PE[order], np.arange(N), rows(np.roll(label_P[order], 1))) == "own"


@pytest.mark.parametrize("seed", [0, 34, 111])
def test_a_table_in_the_order_of_its_sites_is_not_moved(seed: int) -> None:
    """Features that know the site know the labels of the next row as well as those of the own one, a little."""
    rng, number = np.random.default_rng(seed), np.arange(120)
    site_P = np.sort(rng.integers(2, size=len(number)))
    label_P = (rng.random(len(number)) < 0.5 + 0.15 * (2 * site_P - 1)).astype(np.int64)
    x_PE = rng.normal(size=(len(number), 4)) + 4.0 * np.outer(site_P, (1, 0, 0, 0))
    assert not isinstance(knows(x_PE, number, rows(label_P)), Moved)


def table(labels: list[str]) -> list[tuple[str, str]]:
    return [(str(1000 + number), label) for number, label in enumerate(labels)]


@pytest.mark.parametrize("down", [1, -1, 2, -2])
def test_the_own_table_tells_by_which_row_labels_were_moved(down: int) -> None:
    labels = [f"g{k}" for k in labelled(3)[1]]
    moved, differing = against_own(table(np.roll(labels, down).tolist()), dict(table(labels)))
    assert moved is not None
    assert moved.offset == -down
    assert moved.agreed == 1.0
    assert differing.num_participants == N
    assert differing.differing > N / 2


def test_a_table_labelled_anew_is_told_and_not_moved() -> None:
    labels = [f"g{k}" for k in labelled(4)[1]]
    other = [f"g{k}" for k in labelled(5)[1]]
    moved, differing = against_own(table(other), dict(table(labels)))
    assert moved is None
    assert differing.differing == sum(a != b for a, b in zip(labels, other, strict=True))
    assert against_own(table(labels), dict(table(labels)))[1].differing == 0
