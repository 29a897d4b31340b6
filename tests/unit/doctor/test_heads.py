"""Heads beside logistic regression: one of many must not be blamed by chance."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from doubles.boards import predictions
from scipy import stats

from octjob.doctor.heads import Fit, pairs
from octjob.evaluate import by_participant


def test_the_intervals_of_many_heads_hold_together() -> None:
    head, fit = (by_participant(predictions(skill, seed)) for skill, seed in ((0.9, 1), (1.2, 2)))
    scored = SimpleNamespace(result=SimpleNamespace(train={"log_loss": 1.2}), scores=head)
    run = cast(Any, SimpleNamespace(name="a.head", scored=scored))
    fits = {"features": Fit("a.logistic", 0.4, fit)}
    (alone,) = pairs({"features": [run]}, fits, "macro_auroc")
    first, *others = pairs({"features": [run] * 12}, fits, "macro_auroc")
    assert others == [first] * 11
    assert first.difference == alone.difference
    smallest = int(np.bincount(head.label_P).min())
    wider = stats.t.ppf(1 - 0.025 / 12, smallest - 1) / stats.t.ppf(0.975, smallest - 1)
    assert (first.high - first.low) / (alone.high - alone.low) == pytest.approx(wider)
