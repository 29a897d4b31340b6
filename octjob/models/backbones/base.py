"""What an encoder of others has to be, and the module that the rest of octjob sees of it.

Shapes: B batch, D H W voxels, C channels that the encoder takes, N tokens in (d h w) order, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from octjob.errors import DataError, SpecError
from octjob.models.shape import TokenGeometry

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Normalisation:
    """Each volume from 0 to 1 by its minimum and maximum, repeated to `len(mean)` channels, less mean, over std.

    A volume's own range undoes whatever z-score its profile ended with: both are affine.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise SpecError(
                f"normalisation: mean {self.mean} and std {self.std} are not one number each a channel, std above 0",
                "An encoder of RGB pictures has three of each.",
            )

    def __call__(self, x_BCDHW: Tensor) -> Tensor:
        """(B, 1, D, H, W) -> (B, C, D, H, W). A volume without contrast becomes 0 before mean and std."""
        low, high = (f(x_BCDHW, dim=(1, 2, 3, 4), keepdim=True) for f in (torch.amin, torch.amax))
        x_BCDHW = (x_BCDHW - low) / (high - low).clamp_min(torch.finfo(x_BCDHW.dtype).tiny)
        mean, std = (x_BCDHW.new_tensor(one).view(-1, 1, 1, 1) for one in (self.mean, self.std))
        return (x_BCDHW - mean) / std


@dataclass(frozen=True)
class Backbone:
    """An encoder of others, with its weights.

    encode: (B, C, D, H, W) float32 -> tokens (B, N, E). An `nn.Module` is moved to the run's device, identified by
    its weights, and can be fine-tuned if it has parameters; anything else is called on the CPU and stays frozen.
    geometry: the volumes that it takes and the tokens that it makes of one.
    normalisation: in the place of octjob's own; None to be given volumes as their profile leaves them, one channel.
    libraries: distributions whose version decides the numbers, beside the one that registers the backbone.
    ignored, notes: for the load report: parts of the file that were left alone, and what should be known of the rest.
    """

    encode: Encode
    geometry: TokenGeometry
    normalisation: Normalisation | None = None
    libraries: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def module(self) -> nn.Module | None:
        """`encode` where it is a module."""
        return self.encode if isinstance(self.encode, nn.Module) else None

    @property
    def trainable(self) -> bool:
        """Whether there are parameters to fine-tune."""
        return self.module is not None and any(True for _ in self.module.parameters())


class BackboneEncoder(nn.Module):
    """A backbone in the place of octjob's own encoder."""

    def __init__(self, name: str, backbone: Backbone) -> None:
        super().__init__()
        self.name = name
        self.geometry = backbone.geometry
        self.trainable = backbone.trainable
        self.normalise = backbone.normalisation
        # A module is registered as one; what is none is an attribute.
        self.encode = backbone.encode

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """(B, 1, D, H, W) -> tokens (B, N, E); `DataError` for any other shape, of volumes or of tokens."""
        expected = (1, *self.geometry.volume_size)
        if x_BCDHW.ndim != 5 or tuple(x_BCDHW.shape[1:]) != expected:
            raise DataError(
                f"backbone {self.name}: input has shape {tuple(x_BCDHW.shape)}, but it takes {('B', *expected)}",
                "Preprocess volumes to the backbone's volume size.",
            )
        x_BCDHW = x_BCDHW if self.normalise is None else self.normalise(x_BCDHW)
        if isinstance(self.encode, nn.Module):
            tokens_BNE: Tensor = self.encode(x_BCDHW)
        else:
            tokens_BNE = self.encode(x_BCDHW.cpu()).to(x_BCDHW.device)
        promised = (len(x_BCDHW), self.geometry.num_tokens, self.geometry.embed_dim)
        if tuple(tokens_BNE.shape) != promised:
            raise DataError(
                f"backbone {self.name}: made tokens of shape {tuple(tokens_BNE.shape)}, but its geometry promises"
                f" (B, N, E) = {promised}",
                "Correct the geometry of the backbone, or what it returns.",
            )
        return tokens_BNE
