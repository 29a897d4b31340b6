"""What each token has to do with a prediction: exact for linear heads on pooled tokens, attention for attentive ones.

Shapes: T tokens, E embedding, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from octjob.errors import SpecError


def contrast(weight_KE: Tensor, predicted: int) -> Tensor:
    """The weights (E) of a class's logit over the mean of all logits: what is common to all decides nothing."""
    return weight_KE[predicted] - weight_KE.mean(dim=0)


def contributions(
    tokens_TE: Tensor, weight_E: Tensor, pool_method: str, shift_E: Tensor, scale_E: Tensor
) -> Tensor:
    """Each token's part (T) of `weight_E @ ((pooled - shift_E) / scale_E)`; the parts sum to it.

    Under mean pooling each token has an equal share of every feature; under max pooling a feature belongs to the
    token that has its maximum, the first of several.
    """
    if pool_method == "mean":
        share_TE = torch.full_like(tokens_TE, 1 / len(tokens_TE))
    elif pool_method == "max":
        share_TE = torch.zeros_like(tokens_TE).scatter_(0, tokens_TE.argmax(dim=0, keepdim=True), 1.0)
    else:
        raise SpecError(
            f"pool_method: {pool_method}: not of a linear head on pooled tokens", "use mean or max"
        )
    return (share_TE * (tokens_TE - shift_E) / scale_E) @ weight_E
