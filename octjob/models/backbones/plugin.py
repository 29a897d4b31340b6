"""From a registered name to a backbone with its weights.

Whatever goes wrong in others' code is one error, which names their package.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from octjob.errors import DataError, OctjobError, SpecError
from octjob.models.backbones.base import Backbone
from octjob.spec.backbone import distribution, entry_point

_OWN = "octjob"


@dataclass(frozen=True)
class Plugin:
    """A registered backbone, imported. `load(path, **options)` makes a `Backbone` of what lies at `path`."""

    name: str
    entry: EntryPoint
    load: Any

    @property
    def distribution(self) -> str:
        """Name and version of the package that registers it."""
        return distribution(self.entry)

    def versions(self, backbone: Backbone) -> dict[str, str]:
        """Of every distribution that decides its numbers. octjob's own is none: those are its cache's to version."""
        dist = self.entry.dist
        own = {dist.name: dist.version} if dist is not None and dist.name != _OWN else {}
        try:
            return own | {name: metadata.version(name) for name in backbone.libraries}
        except metadata.PackageNotFoundError as error:
            raise SpecError(
                f"backbone {self.name} of {self.distribution}: its library {error.name} is not installed",
                "Name distributions in `libraries`, as `pip list` shows them.",
            ) from None

    def source(self) -> str:
        """SHA-256 of the registered module, so that an edit without a new version is seen; empty for octjob's."""
        file = getattr(sys.modules.get(self.entry.module), "__file__", None)
        if self.entry.module.partition(".")[0] == _OWN or file is None:
            return ""
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()

    def __call__(self, path: Path, uri: str, options: Mapping[str, object]) -> Backbone:
        """The backbone of what lies at `path`.

        Raises `SpecError` for options that it does not take, `DataError` for what it cannot load.
        """
        self._check_options(options)
        try:
            backbone = self.load(path, **options)
        except OctjobError as error:
            # A copy's path says nothing to whoever named the original.
            raise type(error)(error.message.replace(str(path), uri), error.hint) from error
        except Exception as error:
            raise DataError(
                f"{uri}: backbone {self.name} of {self.distribution} cannot load it: {_told(error)}",
                "The file is not this backbone's, or its options are not the file's.",
            ) from error
        if not isinstance(backbone, Backbone):
            raise SpecError(
                f"backbone {self.name} of {self.distribution}: {self.entry.value} returned a"
                f" {type(backbone).__name__}, not an octjob.models.backbones.Backbone",
                "Return Backbone(encode, geometry, normalisation).",
            )
        return backbone

    def _check_options(self, options: Mapping[str, object]) -> None:
        taken = list(inspect.signature(self.load).parameters.values())[1:]
        if any(one.kind is one.VAR_KEYWORD for one in taken):
            return
        names = [one.name for one in taken]
        for key in options:
            if key not in names:
                raise SpecError(
                    f"options.{key}: backbone {self.name} takes no such option",
                    f"It takes {', '.join(names)}." if names else "It takes none.",
                )
        for one in taken:
            if one.default is one.empty and one.name not in options:
                raise SpecError(
                    f"options.{one.name}: backbone {self.name} needs it",
                    f"Write options: {{{one.name}: ...}}.",
                )


def find_plugin(name: str) -> Plugin:
    """The backbone registered under `name`, imported now.

    Raises `SpecError` where there is none, or where its package raises on import.
    """
    entry = entry_point(name)
    try:
        load = entry.load()
    except Exception as error:
        raise SpecError(
            f"backbone {name} of {distribution(entry)}: {entry.value} cannot be imported: {_told(error)}",
            f"Mend or uninstall {entry.dist.name if entry.dist else 'its package'}.",
        ) from error
    if not callable(load):
        raise SpecError(
            f"backbone {name} of {distribution(entry)}: {entry.value} is no function",
            "Register a function load(path, **options) that returns a Backbone.",
        )
    return Plugin(name, entry, load)


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
