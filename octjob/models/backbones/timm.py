"""2D encoders by timm, B-scan by B-scan: a token a B-scan, as the model itself pools it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from octjob.errors import SpecError
from octjob.extras import require_backbones
from octjob.models.backbones.base import Backbone, Normalisation
from octjob.models.backbones.files import load_strictly, read_json, read_tensors
from octjob.models.shape import TokenGeometry
from octjob.models.statedict import some

_BSCANS = 64
# A masked autoencoder's other half, and what stood for hidden patches: no part of an encoder.
_OTHER_PARTS = ("decoder_", "mask_token")


class BScanEncoder(nn.Module):
    """timm's model on volumes: (B, C, D, H, W) -> a token for each B-scan, (B, D, E)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """All B-scans as one batch of pictures."""
        B, _, D = x_BCDHW.shape[:3]
        x_MCHW = x_BCDHW.transpose(1, 2).flatten(0, 1)
        tokens_BDE: Tensor = self.model(x_MCHW).reshape(B, D, -1)
        return tokens_BDE


def load(
    path: Path,
    *,
    model: str | None = None,
    bscans: int = _BSCANS,
    image_size: int | None = None,
    global_pool: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    ignore: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
) -> Backbone:
    """A file of weights, or a folder with one and timm's own config.json.

    model: timm's name for it; needed where no config.json says its architecture.
    bscans: B-scans that a volume is resized to.
    image_size: rows and columns of one; default the model's own.
    global_pool: how patches become the token of a B-scan; default the model's own.
    mean, std: of the channels; default its pretrained config's.
    ignore: beginnings of names in the file to leave alone, beside classifier and a masked autoencoder's decoder.
    arguments: what else `timm.create_model` is given.
    """
    require_backbones("timm", "timm")
    import timm
    from timm.models import clean_state_dict

    folder = read_json(path / "config.json") if (path / "config.json").is_file() else {}
    stored = folder.get("pretrained_cfg")
    name = _model_name(model, folder)
    with torch.random.fork_rng(devices=[]):
        made: Any = timm.create_model(
            name,
            pretrained=False,
            num_classes=0,
            img_size=image_size,
            global_pool=global_pool,
            **(arguments or {}),
        ).eval()
    said: dict[str, Any] = {**made.pretrained_cfg, **(stored if isinstance(stored, dict) else {})}
    classifier = said.get("classifier") or ()
    parts = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    leave = (*(f"{part}." for part in parts), *_OTHER_PARTS, *ignore)
    tensors, notes = _as_timm_names(made, clean_state_dict(read_tensors(path)), leave)
    ignored = load_strictly(made, tensors, str(path), leave)
    side = image_size or said["input_size"][-1]
    return Backbone(
        encode=BScanEncoder(made),
        geometry=TokenGeometry((bscans, side, side), (bscans, 1, 1), made.num_features),
        normalisation=Normalisation(tuple(mean or said["mean"]), tuple(std or said["std"])),
        libraries=("timm",),
        ignored=ignored,
        notes=notes,
    )


def _model_name(model: str | None, folder: dict[str, object]) -> str:
    import timm

    name = model or folder.get("architecture")
    if not isinstance(name, str):
        raise SpecError(
            "options.model: backbone timm needs the name of the model that the weights are of",
            "Write options: {model: vit_large_patch16_224.mae}, or what else timm.list_models() has.",
        )
    if not timm.is_model(name.partition(".")[0]):
        near = timm.list_models(f"*{name.partition('.')[0][:12]}*")
        raise SpecError(
            f"options.model: timm {timm.__version__} has no model {name}",
            f"Near it: {some(near)}." if near else "timm.list_models() has them all.",
        )
    return name


def _as_timm_names(
    model: nn.Module, tensors: dict[str, Tensor], leave: Sequence[str]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors as the model names them: as they are where they fit, else as timm converts others' releases.

    Its conversion also resamples positions for another image size, which is noted.
    """
    expected = {key: tensor.shape for key, tensor in model.state_dict().items()}
    own = {key: x for key, x in tensors.items() if key in expected or not key.startswith(tuple(leave))}
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None or {key: x.shape for key, x in own.items()} == expected:
        return tensors, ()
    converted: dict[str, Tensor] = convert(dict(tensors), model)
    resampled = [key for key, x in converted.items() if key in tensors and x.shape != tensors[key].shape]
    notes = [
        f"timm resampled {key} from {tuple(tensors[key].shape)} to {tuple(converted[key].shape)}."
        for key in resampled
    ]
    return converted, tuple(notes)
