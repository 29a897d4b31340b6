"""Losses against scikit-learn's, torch's and their definition; class weights act at any batch size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from octjob.spec.experiment import Train
from octjob.train.loss import loss_gradient, make_loss, row_losses


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits_BK = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    label_B = torch.randint(0, 4, (7,), generator=generator)
    weight_K = torch.rand(4, generator=generator, dtype=torch.float64) + 0.1
    return logits_BK, label_B, weight_K


@given(st.integers(0, 1000))
def test_weighted_cross_entropy_sums_to_scikit_learns(seed: int) -> None:
    logits_BK, label_B, weight_K = batch(seed)
    loss_B = weight_K[label_B] * make_loss(Train())(logits_BK, label_B)
    p_BK = torch.softmax(logits_BK, dim=1).numpy()
    weight_B = weight_K[label_B].numpy()
    total = log_loss(label_B.numpy(), p_BK, sample_weight=weight_B, labels=range(4), normalize=False)
    assert float(loss_B.sum()) == pytest.approx(total, abs=1e-12)


@given(st.integers(0, 1000), st.floats(0.0, 5.0))
def test_focal_is_its_definition(seed: int, gamma: float) -> None:
    logits_BK, label_B, _ = batch(seed)
    p_BK = np.exp(logits_BK.numpy()) / np.exp(logits_BK.numpy()).sum(1, keepdims=True)
    p_B = p_BK[np.arange(7), label_B.numpy()]
    expected_B = -((1 - p_B) ** gamma) * np.log(p_B)
    loss_B = make_loss(Train(loss="focal", focal_gamma=gamma))(logits_BK, label_B)
    np.testing.assert_allclose(loss_B.numpy(), expected_B, atol=1e-12)


@given(st.integers(0, 1000), st.sampled_from(["cross_entropy", "focal"]), st.floats(1.0, 5.0))
def test_the_gradient_is_what_autograd_makes_of_the_loss(seed: int, loss: str, gamma: float) -> None:
    logits_BK, label_B, _ = batch(seed)
    train = Train.model_validate({"loss": loss, "focal_gamma": gamma})
    made = logits_BK.clone().requires_grad_()
    loss_B = make_loss(train)(made, label_B)
    loss_B.sum().backward()
    target_KB = torch.nn.functional.one_hot(label_B, 4).double().T
    found_B = row_losses(train, logits_BK.T, target_KB)
    torch.testing.assert_close(found_B, loss_B.detach(), rtol=1e-9, atol=1e-12)
    found_KB = loss_gradient(train, logits_BK.T, target_KB)
    torch.testing.assert_close(found_KB.T, made.grad, rtol=1e-9, atol=1e-12)
