"""What an installation can do: the launcher's packages are always there, the trainer's are an extra."""

from __future__ import annotations

import importlib.util

from octjob.errors import SpecError

_TRAINER = ("torch", "pydicom", "safetensors")


def require_trainer() -> None:
    """Raise `SpecError` where only the launcher is installed."""
    missing = [name for name in _TRAINER if importlib.util.find_spec(name) is None]
    if missing:
        raise SpecError(
            f"this installation cannot train: {', '.join(missing)} not installed",
            "Install octjob[train], or submit to a cluster with --target kubernetes.",
        )
