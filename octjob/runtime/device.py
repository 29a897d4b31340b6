"""The machine a run computes on: device, threads, determinism."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import torch

from octjob import __version__, env
from octjob.errors import SpecError


def select_device() -> torch.device:
    """CUDA where there is one, else the CPU; `OCTJOB_DEVICE` overrules.

    Raises `SpecError` for a device that is not there: it never falls back.
    """
    wanted = os.environ.get(env.DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    if wanted not in ("cpu", "cuda"):
        raise SpecError(f"{env.DEVICE}={wanted}: not a device", "Use cpu or cuda.")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SpecError(
            f"{env.DEVICE}=cuda, but torch sees no GPU", f"Set {env.DEVICE}=cpu, or mend the driver."
        )
    return torch.device(wanted)


def make_deterministic() -> None:
    """Same run, same machine kind, same result: refuse kernels that do not promise it."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def environment(device: torch.device) -> dict[str, Any]:
    """What a result was computed with."""
    return {
        "octjob": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "scikit-learn": version("scikit-learn"),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "num_threads": torch.get_num_threads(),
    }
