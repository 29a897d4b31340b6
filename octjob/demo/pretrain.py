"""Short self-supervised pretraining for the demo: masked reconstruction of small OCT volumes.

A quarter of the patches goes through the encoder; a one-block decoder reconstructs the hidden ones from it
(He et al., Masked Autoencoders, arXiv 2111.06377, with plain voxel targets: normalising each patch would make
speckle the larger part of the loss). The file has the original project's layout, its untouched target encoder
included.

Legend: N volumes, B batch, D H W voxels, T tokens, V visible tokens, P voxels of a patch, E embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from octjob.demo.recipe import CheckpointRecipe, DemoRecipe
from octjob.errors import DataError
from octjob.models.encoder import INIT_STD, Block, Encoder3D
from octjob.models.metadata import PRETRAINED_ON
from octjob.models.shape import EncoderGeometry

OnStep = Callable[[int, int, float], None]


class Decoder(nn.Module):
    """From the visible tokens' embeddings to every patch's voxels."""

    def __init__(self, geometry: EncoderGeometry, dim: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.embed = nn.Linear(geometry.embed_dim, dim)
        self.mask_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, geometry.num_tokens, dim))
        narrow = EncoderGeometry(geometry.volume_size, geometry.patch_size, dim, 1, heads, 2.0)
        self.block = Block(narrow)
        self.norm = nn.LayerNorm(dim)
        self.voxels = nn.Linear(dim, math.prod(geometry.patch_size))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD, generator=generator)
                nn.init.zeros_(module.bias)
        for parameter in (self.mask_token, self.pos_embed):
            nn.init.trunc_normal_(parameter, std=INIT_STD, generator=generator)

    def forward(self, visible_BVE: Tensor, place_BT: Tensor) -> Tensor:
        """`place_BT`: where each token stands in (visible, then hidden) order. Returns (B, T, P)."""
        x_BV = self.embed(visible_BVE)
        B, V, dim = x_BV.shape
        hidden = self.mask_token.expand(B, place_BT.shape[1] - V, dim)
        shuffled_BT = torch.cat([x_BV, hidden], dim=1)
        tokens_BT = shuffled_BT.gather(1, place_BT[..., None].expand(-1, -1, dim)) + self.pos_embed
        return self.voxels(self.norm(self.block(tokens_BT)))  # type: ignore[no-any-return]


class Predictor(nn.Module):
    """Gives the decoder's parameters the original's prefix, `predictor.net.`."""

    def __init__(self, net: Decoder) -> None:
        super().__init__()
        self.net = net


@dataclass(frozen=True)
class Pretrained:
    """What a run ended with: steps taken and the mean loss of its last steps (at most 50), NaN without any."""

    steps: int
    loss: float


def pretrain(
    volumes_NDHW: NDArray[np.float32],
    recipe: DemoRecipe,
    checkpoint: CheckpointRecipe,
    out_path: Path,
    progress: OnStep | None = None,
    participants: Sequence[str] = (),
) -> Pretrained:
    """Pretrain on preprocessed volumes and write a checkpoint in the original format to `out_path`.

    `volumes_NDHW`: float32, already resized to the recipe's volume size and z-scored; training split only,
    labels are not asked for. The number of steps is fixed, so the file's weights are bit-identical for one
    seed, machine kind and thread count. `progress(step, steps, loss)` after each step.
    participants: whose volumes these are, which the file's config then says.
    Raises `DataError` if the volumes have another size or there are none.
    """
    geometry = EncoderGeometry(**recipe.encoder.model_dump())
    if volumes_NDHW.ndim != 4 or volumes_NDHW.shape[1:] != geometry.volume_size or not len(volumes_NDHW):
        raise DataError(
            f"pretraining volumes have shape {volumes_NDHW.shape}, not (N, {geometry.volume_size})",
            "Preprocess them to the recipe's volume size; at least one is needed.",
        )
    generator = torch.Generator().manual_seed(checkpoint.seed)
    encoder = Encoder3D(geometry, generator)
    options = recipe.pretraining
    decoder = Decoder(geometry, options.decoder_dim, options.decoder_heads, generator)
    target = {f"target_encoder.encoder.{k}": v.clone() for k, v in encoder.state_dict().items()}

    optimizer = torch.optim.AdamW(
        [*encoder.parameters(), *decoder.parameters()],
        lr=options.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=options.weight_decay,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step, options.warmup_steps, checkpoint.steps)
    )
    volumes = torch.from_numpy(np.ascontiguousarray(volumes_NDHW))
    losses: list[float] = []
    for step in range(1, checkpoint.steps_taken + 1):
        chosen_B = torch.randint(len(volumes), (options.batch_size,), generator=generator)
        loss = _masked_loss(encoder, decoder, volumes[chosen_B], options.mask_ratio, generator)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        if progress is not None:
            progress(step, checkpoint.steps_taken, losses[-1])

    result = Pretrained(len(losses), float(np.mean(losses[-50:])) if losses else math.nan)
    modules = nn.ModuleDict({"context_encoder": encoder, "predictor": Predictor(decoder)})
    content: dict[str, Any] = {
        "epoch": result.steps * options.batch_size // len(volumes),
        "step": result.steps,
        "model_state_dict": {**modules.state_dict(), **target},
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": {"last_epoch": scheduler.last_epoch},
        "loss": result.loss,
        "config": _config(recipe, checkpoint) | ({PRETRAINED_ON: list(participants)} if participants else {}),
    }
    torch.save(content, out_path)
    return result


def _rate(step: int, warmup: int, steps: int) -> float:
    """Linear warm-up, then a cosine to zero; a factor on the learning rate."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def _masked_loss(
    encoder: Encoder3D, decoder: Decoder, x_BDHW: Tensor, mask_ratio: float, generator: torch.Generator
) -> Tensor:
    """Mean squared error over the voxels of hidden patches; only visible patches are ever embedded."""
    geometry = encoder.geometry
    patches_BTP = _patches(x_BDHW, geometry)
    B, T, P = patches_BTP.shape
    visible = max(1, round(T * (1 - mask_ratio)))
    order_BT = torch.rand(B, T, generator=generator).argsort(dim=1)
    seen_BV, hidden_BU = order_BT[:, :visible, None], order_BT[:, visible:, None]

    seen_BVP = patches_BTP.gather(1, seen_BV.expand(-1, -1, P))
    projection = encoder.patch_embed.proj
    tokens_BVE = nn.functional.linear(seen_BVP, projection.weight.flatten(1), projection.bias)
    positions_BTE = encoder.pos_embed.expand(B, -1, -1)
    tokens_BVE = tokens_BVE + positions_BTE.gather(1, seen_BV.expand(-1, -1, geometry.embed_dim))
    for block in encoder.blocks:
        tokens_BVE = block(tokens_BVE)
    drawn_BTP = decoder(encoder.norm(tokens_BVE), order_BT.argsort(dim=1))

    hidden_BUP = hidden_BU.expand(-1, -1, P)
    return nn.functional.mse_loss(drawn_BTP.gather(1, hidden_BUP), patches_BTP.gather(1, hidden_BUP))


def _patches(x_BDHW: Tensor, geometry: EncoderGeometry) -> Tensor:
    """(B, T, P): tokens in (d h w) order, voxels of a patch likewise, as the encoder's projection takes them."""
    (gd, gh, gw), (pd, ph, pw) = geometry.grid, geometry.patch_size
    split = x_BDHW.reshape(len(x_BDHW), gd, pd, gh, ph, gw, pw)
    return split.permute(0, 1, 3, 5, 2, 4, 6).reshape(len(x_BDHW), gd * gh * gw, pd * ph * pw)


def _config(recipe: DemoRecipe, checkpoint: CheckpointRecipe) -> dict[str, Any]:
    encoder, options = recipe.encoder, recipe.pretraining
    return {
        "image_size": list(encoder.volume_size),
        "patch_size": list(encoder.patch_size),
        "embed_dim": encoder.embed_dim,
        "depth": encoder.depth,
        "num_heads": encoder.num_heads,
        "mask_ratio": options.mask_ratio,
        "list_strategy": "+".join(checkpoint.devices),
        "seed": checkpoint.seed,
        "base_lr": options.learning_rate,
        "steps": checkpoint.steps,
    }
