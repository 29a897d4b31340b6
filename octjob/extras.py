"""What an installation can do: the launcher's packages are always there, the trainer's are an extra."""

from __future__ import annotations

import importlib.util

from octjob.errors import SpecError

_TRAINER = ("torch", "pydicom", "safetensors")


def is_installed(name: str) -> bool:
    """Whether there is such a top-level package; it is not imported."""
    return importlib.util.find_spec(name) is not None


def require_trainer() -> None:
    """Raise `SpecError` where only the launcher is installed."""
    missing = [name for name in _TRAINER if not is_installed(name)]
    if missing:
        raise SpecError(
            f"this installation cannot train: {', '.join(missing)} not installed",
            "Install octjob[train], or submit to a cluster with --target kubernetes.",
        )


def require_backbones(backbone: str, package: str) -> None:
    """Raise `SpecError` where the package that a backbone of octjob's stands on is not installed."""
    if not is_installed(package):
        raise SpecError(
            f"backbone {backbone} needs {package}, which is not installed",
            "pip install 'octjob[backbones]'",
        )
