"""A stand-in for the original pretraining: the same module tree and the same file, written anew and naively.

The attention is a plain softmax and the patch embedding a real convolution, so that it can be the oracle for
octjob's encoder. B batch, N tokens, E embedding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

Triple = tuple[int, int, int]


class NaiveAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x_BNE: Tensor) -> Tensor:
        dim = x_BNE.shape[-1]
        head_dim = dim // self.num_heads
        q, k, v = self.qkv(x_BNE).split(dim, dim=-1)
        heads = []
        for i in range(self.num_heads):
            part = slice(i * head_dim, (i + 1) * head_dim)
            scores = torch.einsum("bnf,bmf->bnm", q[..., part], k[..., part]) / math.sqrt(head_dim)
            heads.append(torch.softmax(scores, dim=-1) @ v[..., part])
        return self.proj(torch.cat(heads, dim=-1))


class NaiveMlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        return self.fc2(0.5 * h * (1 + torch.erf(h / math.sqrt(2))))


class NaiveBlock(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = NaiveAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = NaiveMlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, patch_size: Triple, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(1, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class NaiveViT(nn.Module):
    """(B, 1, D, H, W) -> (B, N, E)."""

    def __init__(self, volume_size: Triple, patch_size: Triple, dim: int, depth: int, num_heads: int) -> None:
        super().__init__()
        num_tokens = math.prod(v // p for v, p in zip(volume_size, patch_size, strict=True))
        self.patch_embed = PatchEmbed(patch_size, dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, num_tokens, dim))
        self.blocks = nn.ModuleList(NaiveBlock(dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class EmaWrapper(nn.Module):
    """Puts the second `.encoder.` into the target's keys. Nothing ever updates it, as in the original."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)


class Predictor(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, dim), nn.BatchNorm1d(dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, x_BNE: Tensor) -> Tensor:
        return self.net(x_BNE.flatten(0, 1)).reshape(x_BNE.shape)


class VJEPA3D(nn.Module):
    """context_encoder, target_encoder.encoder (a frozen copy of its initialisation) and predictor.net."""

    def __init__(
        self,
        volume_size: Triple = (16, 64, 64),
        patch_size: Triple = (4, 16, 16),
        embed_dim: int = 128,
        depth: int = 2,
        num_heads: int = 2,
    ) -> None:
        super().__init__()
        self.volume_size = volume_size
        self.patch_size = patch_size
        self.context_encoder = NaiveViT(volume_size, patch_size, embed_dim, depth, num_heads)
        self.target_encoder = EmaWrapper(copy.deepcopy(self.context_encoder))
        self.predictor = Predictor(embed_dim)

    def forward(self, context_view: Tensor, target_view: Tensor) -> Tensor:
        predicted = self.predictor(self.context_encoder(context_view))
        wanted = self.target_encoder(target_view)
        return 2 - 2 * torch.cosine_similarity(predicted, wanted, dim=-1).mean()


def make_original_checkpoint(
    *,
    trained: bool = True,
    num_steps: int = 8,
    lr: float = 5e-3,
    seed: int = 1337,
    epoch: int = 0,
    loss: float = 0.0,
    config: dict[str, Any] | None = None,
    **size: Any,
) -> tuple[VJEPA3D, dict[str, Any]]:
    """The module after `num_steps` of real training (none if not `trained`), and the dict to save.

    `size`: volume_size, patch_size, embed_dim, depth, num_heads of `VJEPA3D`. `config` is merged over the
    original's keys; a value None removes the key.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VJEPA3D(**size)
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.05)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
        steps = num_steps if trained else 0
        for _ in range(steps):
            views = torch.randn(2, 1, 1, *model.volume_size)
            optimizer.zero_grad()
            model(views[0], views[1]).backward()
            optimizer.step()
            scheduler.step()
    settings = {
        "image_size": list(model.volume_size),
        "patch_size": list(model.patch_size),
        "target_spacing": [0.05, 0.02, 0.02],
        "mask_ratio": 0.6,
        "list_strategy": "single_domain",
        "seed": seed,
        "base_lr": lr,
        "epochs": 120,
        "use_bf16": True,
        "wandb": {"project": "oct", "tags": ["double"]},
        **(config or {}),
    }
    kept = {key: value for key, value in settings.items() if value is not None}
    return model.eval(), {
        "epoch": epoch,
        "step": steps,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "loss": loss,
        "config": dict(OmegaConf.create(kept)),  # shallow, as in the original: nested values stay OmegaConf
    }


def save_original_checkpoint(path: Path, **options: Any) -> VJEPA3D:
    """Write the file of `make_original_checkpoint(**options)` with plain `torch.save`; returns the module."""
    model, payload = make_original_checkpoint(**options)
    torch.save(payload, path)
    return model


def rename_state(payload: dict[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    """The payload with every key of its state dict renamed."""
    state = {rename(key): tensor for key, tensor in payload["model_state_dict"].items()}
    return {**payload, "model_state_dict": state}
