"""What fixes an encoder's shapes. No torch here: what plans a run reads it too.

Shapes: D B-scans, H axial depth, W fast lateral axis, N tokens, E embedding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from octjob.errors import DataError

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class EncoderGeometry:
    """Everything that fixes the encoder's parameter shapes and its arithmetic.

    volume_size: voxels (D, H, W). patch_size: voxels (d, h, w), also the stride. mlp_ratio: hidden /
    embed_dim. num_heads leaves no trace in the parameters' shapes: see
    `octjob.models.geometry.read_geometry`.
    """

    volume_size: Triple
    patch_size: Triple
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float = 4.0
    in_channels: int = 1

    def __post_init__(self) -> None:
        whole = all(
            p > 0 and v > 0 and v % p == 0 for v, p in zip(self.volume_size, self.patch_size, strict=True)
        )
        if not whole:
            raise DataError(
                f"encoder geometry: volume {self.volume_size} is not a whole number of patches "
                f"{self.patch_size}",
                "each of D, H and W must be a multiple of the patch in that axis",
            )
        if min(self.num_heads, self.embed_dim, self.depth, self.in_channels) < 1 or (
            self.embed_dim % self.num_heads
        ):
            raise DataError(
                f"encoder geometry: embed_dim {self.embed_dim} cannot be split over {self.num_heads} heads "
                f"(depth {self.depth}, in_channels {self.in_channels})",
                "num_heads must divide embed_dim, and all of them must be at least 1",
            )

    @property
    def grid(self) -> Triple:
        """Patches along (D, H, W)."""
        (d, h, w), (pd, ph, pw) = self.volume_size, self.patch_size
        return d // pd, h // ph, w // pw

    @property
    def num_tokens(self) -> int:
        """N, the product of `grid`."""
        return math.prod(self.grid)

    @property
    def mlp_dim(self) -> int:
        """Width of the hidden layer of each block's MLP."""
        return round(self.embed_dim * self.mlp_ratio)


@dataclass(frozen=True)
class TokenGeometry:
    """What octjob has to know of an encoder of others.

    volume_size: voxels (D, H, W) that it takes. grid: tokens along (D, H, W); they come in (d h w) order.
    """

    volume_size: Triple
    grid: Triple
    embed_dim: int

    def __post_init__(self) -> None:
        sizes = (*self.volume_size, *self.grid, self.embed_dim)
        whole = len(sizes) == 7 and all(type(size) is int and size > 0 for size in sizes)
        if not whole or any(g > v for g, v in zip(self.grid, self.volume_size, strict=True)):
            raise DataError(
                f"token geometry: volume {self.volume_size}, grid {self.grid} and embed_dim {self.embed_dim} are not"
                " whole numbers from 1 on, with no more tokens than voxels along an axis",
                "Give volume_size and grid as (D, H, W).",
            )

    @property
    def num_tokens(self) -> int:
        """N, the product of `grid`."""
        return math.prod(self.grid)


Geometry = EncoderGeometry | TokenGeometry


def geometry_from(plain: Mapping[str, Any]) -> Geometry:
    """What `asdict` made of one, as a checkpoint's report has it."""
    kind = EncoderGeometry if "patch_size" in plain else TokenGeometry
    known = {field.name for field in fields(kind)}
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in plain.items() if key in known
    }
    return kind(**values)


ORIGINAL_GEOMETRY = EncoderGeometry(
    volume_size=(64, 384, 384), patch_size=(4, 16, 16), embed_dim=768, depth=12, num_heads=12
)
