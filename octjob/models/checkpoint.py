"""Reading a pretrained encoder: all of it, or an error that says why not.

Nothing is loaded partially. The file is opened without running anything in it (`container`), one encoder is
chosen by name (`statedict`), its geometry read from the tensors and checked against the config (`geometry`),
every parameter demanded with its shape, and what the weights look like is written down (`fingerprint`,
`report`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from octjob.errors import DataError
from octjob.models.backbones.base import BackboneEncoder
from octjob.models.container import open_container
from octjob.models.encoder import Encoder3D, empty_encoder
from octjob.models.fingerprint import fingerprint, weights_digest
from octjob.models.geometry import read_geometry
from octjob.models.metadata import plain_config, pretrained_on
from octjob.models.report import LoadReport, encoder_digest, explain, scalar, whole
from octjob.models.shape import Triple
from octjob.models.sketch import sketch
from octjob.models.statedict import (
    Choice,
    EncoderPair,
    FoundEncoder,
    describe,
    require_keys,
    select_encoder,
    some,
)
from octjob.models.tensors import require_dense

log = logging.getLogger(__name__)

Encoder = Encoder3D | BackboneEncoder


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder in eval mode, float32 on the CPU, and how it was read.

    pretrained_on: ids of the participants whose scans it saw, as the file says them; None where it does not.
    """

    encoder: Encoder
    report: LoadReport
    pretrained_on: tuple[str, ...] | None = None


def read_checkpoint(
    path: Path,
    *,
    encoder: Choice,
    uri: str,
    volume_size: Triple | None = None,
    num_heads: int | None = None,
    other_encoder: bool = False,
) -> LoadedEncoder:
    """Read the `encoder` asked for from a torch or safetensors file at `path`; `uri` names it in messages.

    auto takes the context encoder of the original pretraining's files and the EMA target encoder of the
    official V-JEPA 2 layout. `volume_size` and `num_heads` are for files whose config does not say them or
    says them wrong. other_encoder: of the file's two take the one that is not asked for. Raises `AccessError`
    if the file is not there, `DataError` if any parameter is missing, left over, misshapen or not finite, if
    the config contradicts the tensors, or if the file is damaged or asks to run code.
    """
    container = open_container(path, uri)
    selection = select_encoder(container.payload, encoder, uri, other=other_encoder)
    chosen = selection.chosen
    require_keys(chosen, uri)
    require_dense(chosen.tensors, uri)
    if selection.sibling:
        require_dense(selection.sibling.tensors, uri)
    config = plain_config(container.payload.get("config"), uri)
    geometry, num_heads_source, notes = read_geometry(
        chosen.tensors, config, uri, volume_size=volume_size, num_heads=num_heads
    )
    model = empty_encoder(geometry)
    _require_shapes(chosen, model.state_dict(), uri)
    _require_same_names(selection, uri)
    weights = _float32(chosen, uri)
    model.load_state_dict(weights, assign=True)
    model.eval()

    target = selection.sibling if chosen.role == "context" else None
    mark = fingerprint(weights, target.tensors if target and _all_finite(target) else None)
    digest = weights_digest(weights)
    epoch, loss = whole(container.payload, "epoch"), scalar(container.payload, "loss")
    report = LoadReport(
        uri=uri,
        sha256=container.sha256,
        size=container.size,
        format=container.format,
        encoder_taken=chosen.role,
        coverage_keys=f"{len(weights)}/{len(model.state_dict())}",
        coverage=_coverage(weights, model),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        geometry=geometry,
        num_heads_source=num_heads_source,
        epoch=epoch,
        step=whole(container.payload, "step"),
        loss=loss,
        prefixes_stripped=[segment for segment in chosen.root.split(".") if segment],
        ignored_parts=selection.ignored,
        weights_digest=digest,
        encoder_digest=encoder_digest(digest, geometry),
        fingerprint=mark,
        notes=[*notes, *explain(selection, mark, epoch, loss)],
        sketch=sketch(weights),
    )
    log_report(report)
    return LoadedEncoder(model, report, pretrained_on(container.payload, config))


def _require_shapes(found: FoundEncoder, expected: Mapping[str, Tensor], uri: str) -> None:
    wrong = [
        f"{name} is {tuple(found.tensors[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in sorted(expected)
        if found.tensors[name].shape != expected[name].shape
    ]
    if wrong:
        raise DataError(
            f"{uri}: {describe(found)} has {len(wrong)} parameters of the wrong shape: {some(wrong)}",
            "the geometry is read from pos_embed and patch_embed.proj.weight; the file mixes two models",
        )


def _require_same_names(selection: EncoderPair, uri: str) -> None:
    """The two encoders of a pair are copies of one architecture; a missing last block shows up only here."""
    chosen, sibling = selection.chosen, selection.sibling
    if sibling is None:
        return
    unlike = [
        name
        for name in sorted(chosen.tensors.keys() | sibling.tensors.keys())
        if name not in chosen.tensors
        or name not in sibling.tensors
        or chosen.tensors[name].shape != sibling.tensors[name].shape
    ]
    if unlike:
        raise DataError(
            f"{uri}: {describe(chosen)} and {describe(sibling)} differ in {len(unlike)} names or shapes: "
            f"{some(unlike)}",
            "a checkpoint's two encoders are the same network; one of them is incomplete or renamed",
        )


def _float32(found: FoundEncoder, uri: str) -> dict[str, Tensor]:
    """Copies in float32, so that nothing refers to the file any more. Every value must be finite."""
    weights: dict[str, Tensor] = {}
    bad = []
    for name, tensor in sorted(found.tensors.items()):
        if not tensor.is_floating_point():
            raise DataError(
                f"{uri}: {name} is {tensor.dtype}, not floating point", "save unquantised weights"
            )
        weights[name] = tensor.detach().to(torch.float32, copy=True).contiguous()
        num_bad = int((~torch.isfinite(weights[name])).sum())
        if num_bad:
            bad.append(f"{name} ({num_bad} of {tensor.numel()} values)")
    if bad:
        raise DataError(
            f"{uri}: {describe(found)} has {len(bad)} parameters with NaN or infinite values: {some(bad)}",
            "the pretraining diverged or the file is damaged; use an earlier checkpoint",
        )
    return weights


def _all_finite(found: FoundEncoder) -> bool:
    """Whether a distance to it means anything."""
    return all(t.is_floating_point() and bool(torch.isfinite(t).all()) for t in found.tensors.values())


def _coverage(weights: Mapping[str, Tensor], model: Encoder3D) -> float:
    """Fraction of the model's elements that are the file's; anything but 1.0 is a bug in this module."""
    loaded = sum(tensor.numel() for tensor in weights.values())
    return loaded / sum(parameter.numel() for parameter in model.parameters())


def log_report(report: LoadReport) -> None:
    """What was read, and what should be known of it."""
    log.info(
        "%s: %s encoder, %s keys, %d parameters, %s (%s, sha256 %s)",
        report.uri,
        report.encoder_taken,
        report.coverage_keys,
        report.num_parameters,
        report.fingerprint.verdict,
        report.format,
        report.sha256[:12],
    )
    for note in report.notes:
        log.warning("%s: %s", report.uri, note)
