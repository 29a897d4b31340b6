"""Classification losses. Shapes: B batch, K classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from octjob.spec.experiment import Train

Loss = Callable[[Tensor, Tensor], Tensor]


def make_loss(train: Train, class_weight_K: Tensor | None) -> Loss:
    """The configured loss of (logits_BK, label_B), a weighted mean over the batch.

    Weighted as in `torch.nn.CrossEntropyLoss`: divided by the sum of the samples' weights.
    Focal: (1 - p)^gamma times the cross-entropy, Lin et al. 2017.
    """
    if train.loss == "cross_entropy":
        return lambda logits_BK, label_B: F.cross_entropy(logits_BK, label_B, weight=class_weight_K)

    def focal(logits_BK: Tensor, label_B: Tensor) -> Tensor:
        log_p_B = F.log_softmax(logits_BK, dim=-1).gather(1, label_B[:, None])[:, 0]
        weight_B = torch.ones_like(log_p_B) if class_weight_K is None else class_weight_K[label_B]
        loss_B = -((1.0 - log_p_B.exp()) ** train.focal_gamma) * log_p_B
        return (weight_B * loss_B).sum() / weight_B.sum()

    return focal
