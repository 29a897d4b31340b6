"""Determinism, and what a result was computed with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import torch

from octjob import __version__, env
from octjob.runtime.base import Runtime


def make_deterministic() -> None:
    """Same run, same machine kind, same result: refuse kernels that do not promise it."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def environment(runtime: Runtime) -> dict[str, Any]:
    """What a result was computed with. image, revision: only where the manifest and the image say them."""
    said = {"image": os.environ.get(env.IMAGE), "revision": os.environ.get(env.REVISION)}
    return {
        "octjob": __version__,
        **{key: value for key, value in said.items() if value},
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "scipy": version("scipy"),
        "machine": platform.machine(),
        "num_threads": torch.get_num_threads(),
        **runtime.facts(),
    }
