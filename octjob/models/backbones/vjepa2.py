"""Official V-JEPA 2 video encoders, by transformers: B-scans are frames, grey is repeated to three channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from octjob.errors import DataError, SpecError
from octjob.extras import require_backbones
from octjob.models.backbones.base import Backbone, Normalisation
from octjob.models.backbones.files import load_strictly, read_json, read_tensors
from octjob.models.shape import TokenGeometry

_IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_PREPROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json")
# Video classifiers keep the model under this name, and add parts of their own.
_WRAPPER = "vjepa2."
_OTHER_PARTS = ("predictor.", "pooler.", "classifier.")


class VideoEncoder(nn.Module):
    """transformers' encoder on volumes: (B, 3, D, H, W) -> tokens (B, N, E) after its final norm."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Frames come before channels there."""
        tokens_BNE: Tensor = self.encoder(x_BCDHW.transpose(1, 2)).last_hidden_state
        return tokens_BNE


def load(path: Path, *, frames: int | None = None) -> Backbone:
    """A folder as `save_pretrained` leaves it.

    frames: B-scans that a volume is resized to; default the config's `frames_per_clip`. Its positions are rotary, so
    that other numbers work than it was trained with.
    """
    require_backbones("vjepa2", "transformers")
    from transformers import VJEPA2Config, VJEPA2Model

    settings = _settings(path)
    config = VJEPA2Config.from_dict(settings)
    with torch.random.fork_rng(devices=[]):
        encoder: nn.Module = VJEPA2Model(config).encoder
    tensors = {key.removeprefix(_WRAPPER): tensor for key, tensor in read_tensors(path).items()}
    own = {key.removeprefix("encoder."): tensor for key, tensor in tensors.items()}
    ignored = load_strictly(encoder, own, str(path), _OTHER_PARTS)
    normalisation, notes = _normalisation(path)
    return Backbone(
        encode=VideoEncoder(encoder),
        geometry=_geometry(config, config.frames_per_clip if frames is None else frames),
        normalisation=normalisation,
        libraries=("transformers",),
        ignored=ignored,
        notes=notes,
    )


def _settings(path: Path) -> dict[str, Any]:
    if not (path / "config.json").is_file():
        raise DataError(
            f"{path}: no folder with a config.json, as transformers' save_pretrained leaves it",
            "Name the folder, not the file of weights.",
        )
    settings = read_json(path / "config.json")
    if settings.get("model_type") != "vjepa2":
        raise DataError(
            f"{path}: model_type is {settings.get('model_type')!r}, not 'vjepa2'",
            "The folder holds another model of transformers.",
        )
    return settings


def _geometry(config: Any, frames: int) -> TokenGeometry:
    patch, tubelet, crop = config.patch_size, config.tubelet_size, config.crop_size
    if type(frames) is not int or frames < tubelet or frames % tubelet:
        raise SpecError(
            f"options.frames: expected a multiple of {tubelet}, the frames of a token, got {frames!r}",
            f"Leave it out for the config's {config.frames_per_clip}.",
        )
    side = crop // patch
    return TokenGeometry((frames, crop, crop), (frames // tubelet, side, side), config.hidden_size)


def _normalisation(path: Path) -> tuple[Normalisation, tuple[str, ...]]:
    for name in _PREPROCESSORS:
        if (path / name).is_file():
            settings = read_json(path / name)
            mean, std = settings.get("image_mean"), settings.get("image_std")
            if isinstance(mean, list) and isinstance(std, list):
                return Normalisation(tuple(map(float, mean)), tuple(map(float, std))), ()
    return _IMAGENET, (f"No {_PREPROCESSORS[0]} says mean and std: ImageNet's were taken.",)
