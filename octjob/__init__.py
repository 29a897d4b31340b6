"""octjob: from a matrix of checkpoints and configurations to an honest leaderboard.

From Python: `octjob.plan`, `submit`, `open_sweep`, `diagnose`, `load_encoder`, `read_volume`; see `octjob.api`.
"""

import importlib
import logging
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "diagnose", "load_encoder", "open_sweep", "plan", "read_volume", "submit"]

# A library's logger is silent until the program that uses it says otherwise.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """The functions of `octjob.api`, imported on first use; `__init__.pyi` gives their types."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("octjob.api"), name)


def __dir__() -> list[str]:
    return __all__
