"""Losses against torch's own and against their definition."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from octjob.spec.experiment import Train
from octjob.train.loss import make_loss


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits_BK = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    label_B = torch.randint(0, 4, (7,), generator=generator)
    weight_K = torch.rand(4, generator=generator, dtype=torch.float64) + 0.1
    return logits_BK, label_B, weight_K


@given(st.integers(0, 1000))
def test_focal_with_gamma_0_is_the_weighted_cross_entropy(seed: int) -> None:
    logits_BK, label_B, weight_K = batch(seed)
    focal = make_loss(Train(loss="focal", focal_gamma=0.0), weight_K)(logits_BK, label_B)
    expected = torch.nn.CrossEntropyLoss(weight=weight_K)(logits_BK, label_B)
    assert torch.allclose(focal, expected, atol=1e-12)


@given(st.integers(0, 1000), st.floats(0.5, 5.0))
def test_focal_is_its_definition(seed: int, gamma: float) -> None:
    logits_BK, label_B, _ = batch(seed)
    p_BK = np.exp(logits_BK.numpy()) / np.exp(logits_BK.numpy()).sum(1, keepdims=True)
    p_B = p_BK[np.arange(7), label_B.numpy()]
    expected = np.mean(-((1 - p_B) ** gamma) * np.log(p_B))
    focal = make_loss(Train(loss="focal", focal_gamma=gamma), None)(logits_BK, label_B)
    assert abs(float(focal) - expected) < 1e-12
