"""The ways to attend. Which one is taken is decided in `octjob.models.choice`.

Shapes: B batch, K attention heads, N tokens, F features per head, Q queries of a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from octjob.models.choice import QUERY_BLOCK
from octjob.models.recompute import Recompute

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def sdpa(q_BKNF: Tensor, k_BKNF: Tensor, v_BKNF: Tensor) -> Tensor:
    """torch's own attention: (B, K, N, F) three times -> (B, K, N, F)."""
    return F.scaled_dot_product_attention(q_BKNF, k_BKNF, v_BKNF)


def query_blocks(recompute: Recompute, size: int = QUERY_BLOCK) -> Attend:
    """Attention that looks at `size` queries at a time, so that no N x N array of scores exists.

    A query's row of the softmax is whole in its block, so the numbers are those of `sdpa` up to rounding. For a
    backward pass the scores of a block are computed again: kept, they would be the N x N array after all.
    """

    def attend(q_BKNF: Tensor, k_BKNF: Tensor, v_BKNF: Tensor) -> Tensor:
        blocks = torch.split(q_BKNF, size, dim=2)
        return torch.cat([recompute(_plain, q_BKQF, k_BKNF, v_BKNF) for q_BKQF in blocks], dim=2)

    return attend


def _plain(q_BKQF: Tensor, k_BKNF: Tensor, v_BKNF: Tensor) -> Tensor:
    """softmax(q k' / sqrt(F)) v, the softmax in float32 where the rest is in less."""
    scores_BKQN = (q_BKQF / math.sqrt(q_BKQF.shape[-1])) @ k_BKNF.transpose(-2, -1)
    wide = torch.promote_types(scores_BKQN.dtype, torch.float32)
    weights_BKQN = scores_BKQN.softmax(dim=-1, dtype=wide).to(v_BKNF.dtype)
    return weights_BKQN @ v_BKNF
