"""The configs and sweeps that come with octjob: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def shared_file(name: str) -> Path:
    """The path of `sweeps/...` or `configs/...`."""
    installed = _PACKAGE / "share" / name
    return installed if installed.exists() else _PACKAGE.parent / name
