"""Encoders of others by name: which are registered, and what a checkpoint may say beside one. Nothing is imported."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path

from octjob.errors import SpecError
from octjob.spec.experiment import Experiment
from octjob.spec.places import absolute_uri, located
from octjob.spec.show import elided, shown
from octjob.spec.sweep import CheckpointEntry
from octjob.spec.uri import HUB
from octjob.spec.yaml import Document

GROUP = "octjob.backbones"
_HUB_NAME = re.compile(r"hf://[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)
# Of octjob's own files; a backbone says itself what its weights are.
_OWN_KEYS = ("volume_size", "num_heads")
# Keys of a config that are for octjob's own encoder.
_OWN_ENCODER = (("model", "encoder"), ("model", "attention"), ("train", "remat"))


def registered() -> dict[str, EntryPoint]:
    """Every backbone that an installed distribution registers, by name; read anew from their metadata each time.

    Raises `SpecError` where two distributions register one name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in metadata.entry_points(group=GROUP):
        if entry.name in found and distribution(found[entry.name]) != distribution(entry):
            raise SpecError(
                f"backbone {entry.name} is registered by {distribution(found[entry.name])} and by"
                f" {distribution(entry)}",
                "Uninstall one of them, or rename its entry point.",
            )
        found[entry.name] = entry
    return dict(sorted(found.items()))


def distribution(entry: EntryPoint) -> str:
    """Name and version of the package that registers it."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"


def entry_point(name: str) -> EntryPoint:
    """The backbone of this name. Raises `SpecError` where none is registered."""
    known = registered()
    if name not in known:
        close = difflib.get_close_matches(name[:40], known, n=1)
        near = f"Did you mean {close[0]}? " if close else ""
        raise SpecError(
            f"no backbone named {shown(name)}",
            f"{near}Registered here: {elided(', '.join(known), 200) or 'none'}. A package registers its own as entry"
            f" point of the group {GROUP}.",
        )
    return known[name]


def check_backbones(checkpoints: Mapping[str, CheckpointEntry], document: Document) -> None:
    """Raise `SpecError` for a backbone that is not registered, and for keys beside one that would do nothing."""
    for name, checkpoint in checkpoints.items():
        path, key = ("checkpoints", name), f"checkpoints.{name}"
        if checkpoint.backbone is None:
            if checkpoint.options:
                raise SpecError(
                    f"{document.mark((*path, 'options'))}: {key}.options: has no effect without a backbone",
                    "Name the backbone that it is for, or remove it.",
                )
            continue
        with located(document, (*path, "backbone")):
            entry_point(checkpoint.backbone)
        for idle in _OWN_KEYS:
            if getattr(checkpoint, idle) is not None:
                raise SpecError(
                    f"{document.mark((*path, idle))}: {key}.{idle}: has no effect beside backbone:"
                    f" {checkpoint.backbone}, which says it itself",
                    "Remove it; what the backbone can be told goes into options.",
                )


def checkpoint_uri(checkpoint: CheckpointEntry, base: Path) -> str:
    """Where its weights are; hf://org/name[@revision] for backbones alone. Raises `SpecError`."""
    if not checkpoint.uri.startswith(HUB):
        return absolute_uri(checkpoint.uri, base)
    require_backbone(checkpoint.uri, checkpoint.backbone)
    if not _HUB_NAME.fullmatch(checkpoint.uri):
        raise SpecError(
            f"{shown(checkpoint.uri)}: not a repository of the hub",
            "Write hf://org/name or hf://org/name@revision.",
        )
    return checkpoint.uri


def require_backbone(uri: str, backbone: str | None) -> None:
    """Raise `SpecError` for a repository of the hub that no backbone is named for."""
    if uri.startswith(HUB) and backbone is None:
        raise SpecError(
            f"{shown(uri)}: what the hub has is read by a backbone, and none is named",
            "Name vjepa2, timm or another that is registered as its backbone.",
        )


def backbone_notes(config: Experiment, backbone: str | None) -> Iterator[str]:
    """Keys of a config that do nothing for a checkpoint with a backbone."""
    for section, key in _OWN_ENCODER if backbone is not None else ():
        if getattr(getattr(config, section), key) != "auto":
            yield f"{section}.{key} has no effect on backbone {backbone}: it is for octjob's own encoder"
