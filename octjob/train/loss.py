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
        return (-torch.expm1(-loss_B)) ** gamma * loss_B if gamma else loss_B

    return loss
