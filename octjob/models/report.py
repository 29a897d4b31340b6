"""The load report: which weights a run used, where they came from and what they look like."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from torch import Tensor

from octjob.models.fingerprint import Fingerprint
from octjob.models.geometry import NumHeadsSource
from octjob.models.shape import EncoderGeometry, Geometry
from octjob.models.sketch import WeightsSketch
from octjob.models.statedict import EncoderPair
from octjob.models.tensors import is_dense


@dataclass(frozen=True)
class BackboneFacts:
    """An encoder of others: who registered it, and what decides its features beside weights and geometry.

    distribution: name and version of the package that registers it. libraries: versions by distribution.
    source: SHA-256 of the module that it is registered from; empty for those that come with octjob. normalisation:
    mean and std of each channel; None where volumes are taken as their profile leaves them.
    """

    name: str
    distribution: str
    libraries: dict[str, str]
    source: str
    options: dict[str, object]
    normalisation: dict[str, tuple[float, ...]] | None
    trainable: bool


@dataclass(frozen=True)
class LoadReport:
    """Everything worth knowing about a checkpoint after reading it. Plain values, JSON through `to_dict`.

    sha256: of the file; of a folder, of its files' names and sums. size: bytes. encoder_taken: context, target,
    unlabelled, or the backbone's name. coverage_keys: loaded/expected parameters. coverage: fraction of the encoder's
    elements that came from the file. num_heads_source: None for a backbone. weights_digest: of the tensors alone;
    encoder_digest: of tensors and geometry (heads and grid change the features but not the tensors), and of all else
    that decides a backbone's features; the one to key cached features with. sketch: from which the distance to other
    checkpoints' weights can be estimated. untrained_seed: drew all weights, where none of the file's are taken;
    `uri`, `sha256`, `size`, `format`, `encoder_taken` and `geometry` then say whose architecture it is.
    """

    uri: str
    sha256: str
    size: int
    format: str
    encoder_taken: str
    coverage_keys: str
    coverage: float
    num_parameters: int
    geometry: Geometry
    num_heads_source: NumHeadsSource | None
    epoch: int | None
    step: int | None
    loss: float | None
    prefixes_stripped: list[str]
    ignored_parts: list[str]
    weights_digest: str
    encoder_digest: str
    fingerprint: Fingerprint
    notes: list[str]
    sketch: WeightsSketch
    untrained_seed: int | None = None
    backbone: BackboneFacts | None = None

    def to_dict(self) -> dict[str, object]:
        """Nested plain values, ready for JSON."""
        return asdict(self)


def encoder_digest(weights: str, geometry: EncoderGeometry) -> str:
    """sha256 over the weights' digest and the geometry."""
    text = json.dumps([weights, asdict(geometry)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def scalar(payload: Mapping[str, object], key: str) -> float | None:
    """A finite number stored under `key`, as a number or a one-element tensor; else None."""
    value = payload.get(key)
    if isinstance(value, Tensor) and is_dense(value) and value.numel() == 1:
        value = value.item()
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)
    return None


def whole(payload: Mapping[str, object], key: str) -> int | None:
    """`scalar` as an integer."""
    value = scalar(payload, key)
    return None if value is None else int(value)


def explain(selection: EncoderPair, mark: Fingerprint, epoch: int | None, loss: float | None) -> list[str]:
    """What the numbers mean, in plain language."""
    notes = []
    original = selection.layout == "original"
    if mark.untrained:
        notes.append(
            "Every Linear bias is exactly 0 and every LayerNorm exactly 1 and 0, as at initialisation: these "
            "weights were never trained."
        )
    if original and selection.chosen.role == "target" and mark.untrained:
        notes.append(
            "The original pretraining never updated its target (EMA) encoder: it is the random "
            "initialisation. Only the context encoder was trained."
        )
    if selection.layout == "official" and selection.chosen.role == "target":
        notes.append("Official V-JEPA 2 layout: the EMA target encoder was taken.")
    if mark.distance_to_target is not None and not mark.untrained:
        notes.append(_explain_distance(mark))
    elif mark.verdict == "unknown":
        notes.append(
            "Biases and LayerNorms have moved, but there is no initialisation to measure how far against."
        )
    if original and epoch == 0:
        notes.append(
            "Saved in epoch 0. In the original pretraining best_checkpoint.pt is always epoch 0; prefer the "
            "highest checkpoint_epoch_*.pt."
        )
    if original and loss == 0:
        notes.append(
            "The stored validation loss is exactly 0: validation used an all-zero mask and measured nothing."
        )
    return notes


def _explain_distance(mark: Fingerprint) -> str:
    percent = f"{100 * (mark.distance_to_target or 0):.3g} %"
    if mark.verdict == "barely trained":
        return (
            f"Only {percent} from its own initialisation: about one warm-up epoch. Expect features close to "
            "random ones."
        )
    if mark.verdict == "trained":
        return f"{percent} from its own initialisation (the file's target encoder, never updated)."
    return f"{percent} from the file's target encoder, which was itself trained."
