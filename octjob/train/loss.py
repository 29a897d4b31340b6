"""Classification losses. Shapes: B batch, K classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from octjob.spec.experiment import Train

Loss = Callable[[Tensor, Tensor], Tensor]


def make_loss(train: Train) -> Loss:
    """The configured loss of (logits_BK, label_B), sample by sample (B,), before any weight.

    A weighted sum is for whoever sums to take, over a count that does not depend on the weights. Torch's own weighted
    mean divides by the batch's sum of weights, in which the weight of a single sample cancels.
    Focal: (1 - p)^gamma times the cross-entropy, Lin et al. 2017, arXiv:1708.02002.
    """
    gamma = train.focal_gamma if train.loss == "focal" else 0.0

    def loss(logits_BK: Tensor, label_B: Tensor) -> Tensor:
        loss_B = F.cross_entropy(logits_BK, label_B, reduction="none")
        return _power(-torch.expm1(-loss_B), gamma) * loss_B if gamma else loss_B

    return loss


def row_losses(train: Train, logits: Tensor, target: Tensor) -> Tensor:
    """The loss of each row (..., B) by its logits (..., K, B), as `make_loss` has it.

    target: float, 1 for a row's class and 0 for the others, (..., K, B) or what broadcasts to it. By operations on
    single elements: those that torch has for all of this round what is left of a vector otherwise.
    """
    below = logits - logits.amax(-2, keepdim=True)
    loss = below.exp().sum(-2).log() - (below * target).sum(-2)
    focal = train.loss == "focal" and train.focal_gamma
    return _power(-torch.expm1(-loss), train.focal_gamma) * loss if focal else loss


def loss_gradient(train: Train, logits: Tensor, target: Tensor) -> Tensor:
    """The gradient of `row_losses` by the logits, in closed form: like these."""
    below = logits - logits.amax(-2, keepdim=True)
    exponential = below.exp()
    total = exponential.sum(-2, keepdim=True)
    gradient = exponential / total - target
    if train.loss == "focal" and train.focal_gamma:
        loss = total.log() - (below * target).sum(-2, keepdim=True)
        gamma, others = train.focal_gamma, -torch.expm1(-loss)
        gradient = gradient * (
            _power(others, gamma) + gamma * _power(others, gamma - 1) * (-loss).exp() * loss
        )
    return gradient


def _power(x: Tensor, exponent: float) -> Tensor:
    """x ** exponent for x >= 0."""
    return (x.log() * exponent).exp() if exponent else torch.ones_like(x)
