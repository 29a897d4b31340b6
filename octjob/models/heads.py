"""Classification heads on encoder features.

Shapes: B batch, E input features, K classes, T tokens, M attention heads, F features per attention head, q queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from octjob.errors import SpecError

HeadKind = Literal["linear", "mlp", "attentive"]
INIT_STD = 0.02


class LinearHead(nn.Module):
    """Dropout, Linear: pooled features (B, E) -> logits (B, K)."""

    def __init__(self, in_dim: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_dim, num_classes)

    def forward(self, x_BE: Tensor) -> Tensor:
        """(B, E) -> logits (B, K)."""
        return self.fc(self.dropout(x_BE))  # type: ignore[no-any-return]


class MlpHead(nn.Module):
    """Linear to `hidden`, GELU, dropout, Linear: pooled features (B, E) -> logits (B, K)."""

    def __init__(self, in_dim: int, num_classes: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_dim, hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x_BE: Tensor) -> Tensor:
        """(B, E) -> logits (B, K)."""
        return self.fc2(self.dropout(F.gelu(self.fc1(x_BE))))  # type: ignore[no-any-return]


class AttentiveHead(nn.Module):
    """One learned query attends to all tokens, then Linear: tokens (B, T, E) -> logits (B, K).

    One cross-attention block, after the attentive probe of V-JEPA (Bardes et al. 2024, arXiv:2404.08471) but
    without its self-attention blocks: hundreds of participants cannot train tens of millions of parameters.
    `hidden` > 0 adds a residual MLP of that width after the attention. The result does not depend on the
    tokens' order: positions are already in the tokens.
    """

    def __init__(
        self, in_dim: int, num_classes: int, num_heads: int, dropout: float = 0.0, hidden: int = 0
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.empty(1, 1, in_dim))
        self.norm_tokens = nn.LayerNorm(in_dim)
        self.to_q = nn.Linear(in_dim, in_dim)
        self.to_kv = nn.Linear(in_dim, 2 * in_dim)
        self.proj = nn.Linear(in_dim, in_dim)
        self.mlp = (
            nn.Sequential(
                nn.LayerNorm(in_dim), nn.Linear(in_dim, hidden), nn.GELU(), nn.Linear(hidden, in_dim)
            )
            if hidden
            else None
        )
        self.norm = nn.LayerNorm(in_dim)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_dim, num_classes)

    def attention(self, tokens_BTE: Tensor) -> Tensor:
        """How much the query attends to each token, mean over the heads: (B, T, E) -> (B, T), which sum to one."""
        B, T, E = tokens_BTE.shape
        split = (self.num_heads, E // self.num_heads)
        q_M1F = self.to_q(self.query).unflatten(2, split)[0].transpose(0, 1)
        k_BTMF = self.to_kv(self.norm_tokens(tokens_BTE)).reshape(B, T, 2, *split)[:, :, 0]
        scores_BMT = torch.einsum("mqf,btmf->bmt", q_M1F, k_BTMF) / split[1] ** 0.5
        mean_BT: Tensor = scores_BMT.softmax(dim=-1).mean(dim=1)
        return mean_BT

    def forward(self, tokens_BTE: Tensor) -> Tensor:
        """(B, T, E) -> logits (B, K)."""
        B, T, E = tokens_BTE.shape
        split = (self.num_heads, E // self.num_heads)
        q_BM1F = self.to_q(self.query).expand(B, 1, E).unflatten(2, split).transpose(1, 2)
        kv_BT2MF = self.to_kv(self.norm_tokens(tokens_BTE)).reshape(B, T, 2, *split)
        k_BMTF, v_BMTF = kv_BT2MF.permute(2, 0, 3, 1, 4).unbind(0)
        mixed_BM1F = F.scaled_dot_product_attention(q_BM1F, k_BMTF, v_BMTF)
        x_BE = (self.query + self.proj(mixed_BM1F.transpose(1, 2).reshape(B, 1, E))).squeeze(1)
        if self.mlp is not None:
            x_BE = x_BE + self.mlp(x_BE)
        return self.fc(self.dropout(self.norm(x_BE)))  # type: ignore[no-any-return]


Head = LinearHead | MlpHead | AttentiveHead


def build_head(
    kind: HeadKind,
    in_dim: int,
    num_classes: int,
    *,
    seed: int,
    hidden: int = 0,
    dropout: float = 0.0,
    num_heads: int = 0,
) -> Head:
    """A float32 head on the CPU in train mode, initialised from `seed` alone, torch's global state untouched.

    linear and mlp take pooled features (B, E); attentive takes tokens (B, T, E). `hidden`: 0 for linear, the
    MLP's width for mlp, 0 or the residual MLP's width for attentive. `num_heads`: attentive only; 0 means
    `in_dim // 64`. Raises `SpecError` for combinations that would have no effect or no meaning.
    """
    _check_head(kind, in_dim, num_classes, hidden, dropout, num_heads)
    head: Head
    # Drawn twice, but not on the meta device: leaving that imports sympy, two seconds in every process.
    with torch.random.fork_rng(devices=[]):
        if kind == "linear":
            head = LinearHead(in_dim, num_classes, dropout)
        elif kind == "mlp":
            head = MlpHead(in_dim, num_classes, hidden, dropout)
        else:
            head = AttentiveHead(in_dim, num_classes, num_heads or max(1, in_dim // 64), dropout, hidden)
    _reset(head, torch.Generator().manual_seed(seed))
    return head


def apply_head(weights: Mapping[str, Tensor], x_BE: Tensor) -> Tensor:
    """Logits (B, K) of a linear or MLP head with these weights, in evaluation."""
    if "fc.weight" in weights:
        return F.linear(x_BE, weights["fc.weight"], weights["fc.bias"])
    hidden_BH = F.gelu(F.linear(x_BE, weights["fc1.weight"], weights["fc1.bias"]))
    return F.linear(hidden_BH, weights["fc2.weight"], weights["fc2.bias"])


def _check_head(
    kind: HeadKind, in_dim: int, num_classes: int, hidden: int, dropout: float, num_heads: int
) -> None:
    if kind not in ("linear", "mlp", "attentive"):
        raise SpecError(f"head: {kind}: unknown", "use one of linear, mlp, attentive")
    if in_dim < 1 or num_classes < 2 or hidden < 0 or num_heads < 0 or not 0 <= dropout < 1:
        raise SpecError(
            f"head: in_dim {in_dim}, num_classes {num_classes}, hidden {hidden}, dropout {dropout}, "
            f"num_heads {num_heads} do not make a head",
            "in_dim >= 1, num_classes >= 2, hidden >= 0, num_heads >= 0, 0 <= dropout < 1",
        )
    if kind == "linear" and hidden:
        raise SpecError(f"head: linear with hidden {hidden}", "set hidden to 0, or choose the mlp head")
    if kind == "mlp" and not hidden:
        raise SpecError("head: mlp with hidden 0", "set hidden to the width of the MLP, such as 256")
    if kind != "attentive" and num_heads:
        raise SpecError(f"head: num_heads has no effect on the {kind} head", "remove num_heads")
    if kind == "attentive" and in_dim % (num_heads or max(1, in_dim // 64)):
        raise SpecError(
            f"head: {num_heads or in_dim // 64} attention heads do not divide {in_dim} features",
            "set num_heads to a divisor of the encoder's embed_dim",
        )


def _reset(head: nn.Module, generator: torch.Generator) -> None:
    """Weights and query truncated normal (std 0.02), biases 0, LayerNorm 1 and 0."""
    if isinstance(head, AttentiveHead):
        nn.init.trunc_normal_(head.query, std=INIT_STD, generator=generator)
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=INIT_STD, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
