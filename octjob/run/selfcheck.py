"""Whether this installation, usually an image, can do what runs will ask of it; nothing here needs a network."""

from __future__ import annotations

import importlib
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import octjob
from octjob.errors import SpecError
from octjob.extras import is_installed

# What a run imports sooner or later. The second are there where the extra `tpu` is.
_PACKAGES = (
    *("numpy", "scipy", "sklearn", "pandas", "pyarrow", "pydantic", "yaml", "jinja2", "rich"),
    *("b2sdk.v2", "google.cloud.storage", "kubernetes", "wandb"),
    *("torch", "safetensors", "omegaconf", "pydicom", "imagecodecs"),
)
_BACKBONE_PACKAGES = {"timm": ("timm",), "vjepa2": ("transformers",)}
_TPU_PACKAGES = ("torch_xla", "jax", "libtpu")
_SHM = Path("/dev/shm")
_NEEDED_BYTES = 16 * 2**20

# Terms that are no open-source licence, by distribution.
_TERMS = {"libtpu": "Google Cloud Platform Terms of Service; for use with Google Cloud TPUs"}


@dataclass(frozen=True)
class Finding:
    """One check. fault: what is wrong, None for nothing."""

    what: str
    detail: str
    fault: str | None = None


def check_host() -> Iterator[Finding]:
    """What differs between hosts: writable places and the clock."""
    for path in (Path(tempfile.gettempdir()), _SHM):
        yield _writable(path)
    yield _clock()


def check_packages() -> Iterator[Finding]:
    """Every package that a run imports, imported."""
    names = (*_PACKAGES, *(_TPU_PACKAGES if is_installed("torch_xla") else ()))
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - an import may run into anything, and that is what is asked
            yield Finding(name, "cannot be imported", f"{type(error).__name__}: {error}")
        else:
            yield Finding(name, _version(name))


def check_backbones() -> Iterator[Finding]:
    """Every registered backbone, imported; octjob's own also without the extra that they need."""
    from octjob.models.backbones.plugin import find_plugin
    from octjob.spec.backbone import registered

    for name in registered():
        try:
            plugin = find_plugin(name)
        except SpecError as error:
            yield Finding(name, "cannot be used", error.message)
            continue
        missing = [package for package in _BACKBONE_PACKAGES.get(name, ()) if not is_installed(package)]
        needs = f"; needs {', '.join(missing)}: pip install 'octjob[backbones]'" if missing else ""
        yield Finding(name, f"of {plugin.distribution}{needs}")


def check_decoders() -> Iterator[Finding]:
    """A frame of every transfer syntax, decoded."""
    from octjob.data.trial import try_decoders

    for name, fault in try_decoders():
        yield Finding(name, "decodes" if fault is None else "does not decode", fault)


def licences() -> dict[str, list[str]]:
    """The licences of what is installed, with the names of the distributions under each."""
    found: dict[str, list[str]] = defaultdict(list)
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        found[_TERMS.get(name) or _licence(distribution.metadata)].append(name)
    return {licence: sorted(set(names)) for licence, names in sorted(found.items())}


def _writable(path: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"octjob")
        stat = os.statvfs(path)
    except OSError as error:
        return Finding(str(path), "cannot be written to", error.strerror)
    free = stat.f_bavail * stat.f_frsize
    enough = free >= _NEEDED_BYTES
    return Finding(str(path), f"{free / 2**20:.0f} MiB free", None if enough else "too little room")


def _clock() -> Finding:
    """A clock before the program was written makes TLS and signed requests fail."""
    now = time.time()
    text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    written = Path(octjob.__file__).stat().st_mtime
    return Finding("clock", text, "earlier than octjob's own files" if now < written else None)


def _version(module: str) -> str:
    names = metadata.packages_distributions().get(module.partition(".")[0], [])
    # Several distributions share the namespace `google`.
    wanted = "google-cloud-storage" if module == "google.cloud.storage" else next(iter(names), None)
    return metadata.version(wanted) if wanted else "?"


def _licence(info: metadata.PackageMetadata) -> str:
    """By the package's expression, else its classifiers, else the first line of its text."""
    if "License-Expression" in info:
        return info["License-Expression"]
    classifiers = [c for c in info.get_all("Classifier") or () if c.startswith("License :: ")]
    if named := [c.rpartition(" :: ")[2] for c in classifiers if c != "License :: OSI Approved"]:
        return " or ".join(named)
    if "License" in info:
        return info["License"].strip().partition("\n")[0]
    return "not stated"
