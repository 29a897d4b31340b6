"""Reading a checkpoint by a backbone: what octjob's own file would have said of itself, as far as it can be told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from octjob.models.backbones.base import Backbone, BackboneEncoder
from octjob.models.backbones.files import Stored, require_finite, stored
from octjob.models.backbones.plugin import Plugin, find_plugin
from octjob.models.checkpoint import LoadedEncoder, log_report
from octjob.models.fingerprint import Fingerprint, module_fingerprint, weights_digest
from octjob.models.report import BackboneFacts, LoadReport
from octjob.models.sketch import sketch

# Raised whenever what octjob does around a backbone changes its features.
_VERSION = 1


def read_backbone(name: str, path: Path, *, uri: str, options: Mapping[str, object]) -> LoadedEncoder:
    """The backbone `name` of what lies at `path`, in eval mode on the CPU; `uri` names it in messages.

    Raises `SpecError` for a backbone that is not there or cannot be imported, and for options that it does not take;
    `AccessError` where there is nothing at `path`; `DataError` where it cannot be loaded, or not completely.
    """
    plugin = find_plugin(name)
    files = stored(path, uri)
    backbone = plugin(path, uri, options)
    encoder = BackboneEncoder(name, backbone).eval()
    weights = _weights(backbone.module, uri)
    facts = _facts(plugin, backbone, options)
    digest = weights_digest(weights) if weights else files.sha256
    mark = module_fingerprint(encoder)
    report = LoadReport(
        uri=uri,
        sha256=files.sha256,
        size=files.size,
        format=files.format,
        encoder_taken=name,
        coverage_keys=f"{len(weights)}/{len(weights)}",
        coverage=1.0,
        num_parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        geometry=backbone.geometry,
        num_heads_source=None,
        epoch=None,
        step=None,
        loss=None,
        prefixes_stripped=[],
        ignored_parts=list(backbone.ignored),
        weights_digest=digest,
        encoder_digest=_digest(digest, files, facts, backbone),
        fingerprint=mark,
        notes=[*backbone.notes, *_explain(mark, facts)],
        sketch=sketch(weights),
        backbone=facts,
    )
    log_report(report)
    return LoadedEncoder(encoder, report)


def _weights(module: nn.Module | None, uri: str) -> dict[str, Tensor]:
    """Parameters and buffers in float32, as digest and sketch want them; none where there is no module."""
    own = {} if module is None else module.state_dict()
    require_finite(own, uri)
    return {name: x.detach().to("cpu", torch.float32).contiguous() for name, x in own.items()}


def _facts(plugin: Plugin, backbone: Backbone, options: Mapping[str, object]) -> BackboneFacts:
    return BackboneFacts(
        name=plugin.name,
        distribution=plugin.distribution,
        libraries=plugin.versions(backbone),
        source=plugin.source(),
        options=dict(options),
        normalisation=None if backbone.normalisation is None else asdict(backbone.normalisation),
        trainable=backbone.trainable,
    )


def _digest(weights: str, files: Stored, facts: BackboneFacts, backbone: Backbone) -> str:
    """What the feature cache knows it by: all that may change a feature, so that no two backbones share one.

    The distribution's version is among the libraries; octjob's own is left out, for `_VERSION` speaks for it.
    """
    parts = asdict(facts)
    del parts["distribution"], parts["trainable"]
    text = json.dumps([_VERSION, weights, files.sha256, parts, asdict(backbone.geometry)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _explain(mark: Fingerprint, facts: BackboneFacts) -> list[str]:
    notes = []
    if mark.untrained:
        notes.append(
            "Every Linear bias is exactly 0 and every LayerNorm exactly 1 and 0, as at initialisation: these "
            "weights were never trained."
        )
    if not facts.trainable:
        notes.append("This backbone has no parameters that could be fine-tuned.")
    return notes
