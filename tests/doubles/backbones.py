"""Checkpoints of others' encoders, tiny and random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

TIMM_MODEL = "test_vit"
TIMM: dict[str, Any] = {"model": TIMM_MODEL, "image_size": 32, "bscans": 4}


def moved(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """As after some training: biases and norms have left their beginnings."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


def save_vjepa2(folder: Path, **changes: Any) -> torch.nn.Module:
    """A V-JEPA 2 model of 8 frames of 16 x 16, as `save_pretrained` leaves it, and the model itself."""
    from transformers import VJEPA2Config, VJEPA2Model

    sizes = {"patch_size": 8, "crop_size": 16, "frames_per_clip": 8, "tubelet_size": 2, "mlp_ratio": 2}
    encoder = {"hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2}
    predictor = {"pred_hidden_size": 12, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    torch.manual_seed(0)
    model = moved(VJEPA2Model(VJEPA2Config(**{**sizes, **encoder, **predictor, **changes})))
    model.save_pretrained(folder)
    return model


def save_timm(path: Path) -> torch.nn.Module:
    """The weights of a tiny ViT for pictures of 32 x 32 with its classifier, and the model without it."""
    import timm

    torch.manual_seed(0)
    model = moved(timm.create_model(TIMM_MODEL, pretrained=False, img_size=32))
    torch.save(model.state_dict(), path)
    model.reset_classifier(0)
    return model


def save_patches(path: Path, width: int = 16) -> None:
    """Weights for the plug-in of tests/plugins."""
    torch.manual_seed(0)
    torch.save(
        {f"project.{k}": v for k, v in torch.nn.Conv3d(1, width, (4, 8, 8)).state_dict().items()}, path
    )
