"""The 3D vision transformer of the original pretraining, with its parameter names.

Shapes: B batch, C input channels, D B-scans, H axial depth, W fast lateral axis, N tokens in (d h w) order,
E embedding, P voxels of a patch, K attention heads, F features per head.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from octjob.errors import DataError
from octjob.models.attention import Attend
from octjob.models.blank import without_values
from octjob.models.recompute import Recompute
from octjob.models.shape import EncoderGeometry

INIT_STD = 0.02
LAYER_NORM_EPS = 1e-5


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens. The weight keeps Conv3d's shape (E, C, d, h, w).

    A convolution whose stride equals its kernel is one matrix product over unfolded patches, which CPUs (a
    fifth faster at full size) and matrix units run better than the convolution.
    """

    def __init__(self, geometry: EncoderGeometry) -> None:
        super().__init__()
        self.geometry = geometry
        patch = geometry.patch_size
        self.proj = nn.Conv3d(geometry.in_channels, geometry.embed_dim, kernel_size=patch, stride=patch)

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, N, E)."""
        (gd, gh, gw), (pd, ph, pw) = self.geometry.grid, self.geometry.patch_size
        B, C = x_BCDHW.shape[:2]
        x_BCdphqwr = x_BCDHW.reshape(B, C, gd, pd, gh, ph, gw, pw)
        patches_BNP = x_BCdphqwr.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(B, gd * gh * gw, C * pd * ph * pw)
        return F.linear(patches_BNP, self.proj.weight.flatten(1), self.proj.bias)


class Attention(nn.Module):
    """Multi-head self-attention. `attend(q, k, v)` on (B, K, N, F) may be a device's own kernel."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.attend: Attend = F.scaled_dot_product_attention

    def forward(self, x_BNE: Tensor) -> Tensor:
        """(B, N, E) -> (B, N, E)."""
        B, N, E = x_BNE.shape
        qkv = self.qkv(x_BNE).reshape(B, N, 3, self.num_heads, E // self.num_heads)
        q_BKNF, k_BKNF, v_BKNF = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed_BKNF = self.attend(q_BKNF, k_BKNF, v_BKNF)
        return self.proj(mixed_BKNF.transpose(1, 2).reshape(B, N, E))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Linear, exact GELU, Linear."""

    def __init__(self, embed_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)

    def forward(self, x_BNE: Tensor) -> Tensor:
        """(B, N, E) -> (B, N, E)."""
        return self.fc2(F.gelu(self.fc1(x_BNE)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, geometry: EncoderGeometry) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(geometry.embed_dim, eps=LAYER_NORM_EPS)
        self.attn = Attention(geometry.embed_dim, geometry.num_heads)
        self.norm2 = nn.LayerNorm(geometry.embed_dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(geometry.embed_dim, geometry.mlp_dim)

    def forward(self, x_BNE: Tensor) -> Tensor:
        """(B, N, E) -> (B, N, E)."""
        x_BNE = x_BNE + self.attn(self.norm1(x_BNE))
        return x_BNE + self.mlp(self.norm2(x_BNE))  # type: ignore[no-any-return]


class Encoder3D(nn.Module):
    """The encoder: learned positions, no class token, no dropout.

    Parameters: `pos_embed` (1, N, E), `patch_embed.proj.{weight,bias}`,
    `blocks.{i}.{norm1,attn.qkv,attn.proj,norm2,mlp.fc1,mlp.fc2}.{weight,bias}`, `norm.{weight,bias}`.
    `generator` seeds the initialisation; without it torch's global seed does. With `recompute` set, a backward
    pass runs each block's forward again, so that only tokens are kept between blocks.
    """

    def __init__(self, geometry: EncoderGeometry, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.geometry = geometry
        self.recompute: Recompute | None = None
        self.pos_embed = nn.Parameter(torch.empty(1, geometry.num_tokens, geometry.embed_dim))
        self.patch_embed = PatchEmbed(geometry)
        self.blocks = nn.ModuleList(Block(geometry) for _ in range(geometry.depth))
        self.norm = nn.LayerNorm(geometry.embed_dim, eps=LAYER_NORM_EPS)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """As the original: positions and Linear weights truncated normal (std 0.02), Linear biases 0,
        LayerNorm 1 and 0, the patch projection by Conv3d's own default. Nothing on the meta device."""
        if self.pos_embed.is_meta:
            return
        nn.init.trunc_normal_(self.pos_embed, std=INIT_STD, generator=generator)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, nn.Conv3d):
                _reset_conv(module, generator)

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """(B, C, D, H, W) -> tokens (B, N, E) after the final norm; `DataError` for any other shape."""
        expected = (self.geometry.in_channels, *self.geometry.volume_size)
        if x_BCDHW.ndim != 5 or tuple(x_BCDHW.shape[1:]) != expected:
            raise DataError(
                f"encoder input has shape {tuple(x_BCDHW.shape)}, but this encoder takes (B, C, D, H, W) = "
                f"{('B', *expected)}",
                "preprocess volumes to the checkpoint's volume size",
            )
        tokens_BNE = self.patch_embed(x_BCDHW) + self.pos_embed
        for block in self.blocks:
            if self.recompute is None:
                tokens_BNE = block(tokens_BNE)
            else:
                tokens_BNE = self.recompute(block, tokens_BNE, parameters=tuple(block.parameters()))
        return self.norm(tokens_BNE)  # type: ignore[no-any-return]


def _reset_conv(conv: nn.Conv3d, generator: torch.Generator | None) -> None:
    """Conv3d's default initialisation: uniform within 1 / sqrt(fan in), weight and bias alike."""
    bound = 1 / math.sqrt(conv.weight[0].numel())
    nn.init.uniform_(conv.weight, -bound, bound, generator=generator)
    if conv.bias is not None:
        nn.init.uniform_(conv.bias, -bound, bound, generator=generator)


def empty_encoder(geometry: EncoderGeometry) -> Encoder3D:
    """An encoder on the meta device: parameter shapes without memory, no random numbers drawn."""
    with without_values():
        return Encoder3D(geometry)


def init_encoder(geometry: EncoderGeometry, seed: int) -> Encoder3D:
    """A random float32 encoder on the CPU, in eval mode: the control every checkpoint must beat.

    The same seed gives the same weights; torch's global random state is neither used nor changed.
    """
    encoder = empty_encoder(geometry).to_empty(device="cpu")
    encoder.reset_parameters(torch.Generator().manual_seed(seed))
    return encoder.eval()
