"""From tokens to what a head sees, and to what is kept of them for every head.

Shapes: B batch, N tokens in (d h w) order, E embedding, T pooled tokens, M pooling methods.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from octjob.errors import DataError, SpecError
from octjob.models.shape import Geometry, TokenGeometry, Triple

POOL_METHODS = ("mean", "max")
PROBE_GRID: Triple = (4, 6, 6)
# What is kept of every encoded volume: (M, E), a row for each of the methods. It costs next to nothing.
VECTORS = "-".join(POOL_METHODS)
_GRID = "grid-"


def pool_tokens(tokens_NE: Tensor, method: str) -> Tensor:
    """Mean or max over the tokens: (N, E) -> (E), or (B, N, E) -> (B, E)."""
    if method == "mean":
        return tokens_NE.mean(dim=-2)
    if method == "max":
        return tokens_NE.amax(dim=-2)
    if method == "cls":
        raise SpecError(
            "pool_method: cls: this encoder has no class token, only one token per patch",
            f"use one of {', '.join(POOL_METHODS)}, or the attentive head",
        )
    raise SpecError(f"pool_method: {method}: unknown", f"use one of {', '.join(POOL_METHODS)}")


def token_grid(tokens_BNE: Tensor, geometry: Geometry, grid: Triple = PROBE_GRID) -> Tensor:
    """Average the token grid down to `grid`: (B, N, E) -> (B, T, E), T = prod(grid), still in (d h w) order.

    Adaptive average pooling: where `grid` does not divide the encoder's grid, neighbouring windows overlap.
    Raises `DataError` if N is not the geometry's, `SpecError` if `grid` is finer than the encoder's.
    """
    if tokens_BNE.ndim != 3 or tokens_BNE.shape[1] != geometry.num_tokens:
        raise DataError(
            f"tokens have shape {tuple(tokens_BNE.shape)}, but the geometry's grid {geometry.grid} means "
            f"(B, {geometry.num_tokens}, E)",
            "pass the tokens of the encoder with this geometry",
        )
    if any(wanted < 1 or wanted > have for wanted, have in zip(grid, geometry.grid, strict=True)):
        raise SpecError(
            f"token grid {grid} does not fit in the encoder's grid {geometry.grid}",
            "ask for at least 1 and at most the encoder's own number of tokens along each axis",
        )
    B, _, E = tokens_BNE.shape
    tokens_BEdhw = tokens_BNE.transpose(1, 2).reshape(B, E, *geometry.grid)
    return F.adaptive_avg_pool3d(tokens_BEdhw, grid).flatten(2).transpose(1, 2)


def pooling_for(pool_method: str, geometry: Geometry) -> str:
    """What has to be kept for a head of this `model.pool_method`: `VECTORS`, or `grid-DxHxW` for attentive.

    The grid is `PROBE_GRID`, or the encoder's own where that is coarser. Encoders of others that make no more tokens
    than `PROBE_GRID` has, such as one a B-scan, keep them all.
    """
    if pool_method != "attentive":
        return VECTORS
    if isinstance(geometry, TokenGeometry) and geometry.num_tokens <= math.prod(PROBE_GRID):
        grid = geometry.grid
    else:
        d, h, w = (min(a, b) for a, b in zip(PROBE_GRID, geometry.grid, strict=True))
        grid = (d, h, w)
    return _GRID + "x".join(map(str, grid))


def pool(tokens_BNE: Tensor, pooling: str, geometry: Geometry) -> Tensor:
    """What is kept of the tokens: (B, M, E) for `VECTORS`, (B, T, E) for a grid."""
    if pooling == VECTORS:
        return torch.stack([pool_tokens(tokens_BNE, method) for method in POOL_METHODS], dim=1)
    d, h, w = (int(length) for length in pooling.removeprefix(_GRID).split("x"))
    return token_grid(tokens_BNE, geometry, (d, h, w))


def row_of(pool_method: str) -> int | slice:
    """The part of what is kept that a head of this `model.pool_method` sees: a row of `VECTORS`, or all tokens."""
    return slice(None) if pool_method == "attentive" else POOL_METHODS.index(pool_method)
