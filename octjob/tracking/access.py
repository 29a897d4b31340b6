"""Whether Weights & Biases can take something from here, told without importing it."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

from octjob.extras import is_installed

_SERVER = "https://api.wandb.ai"
_OFFLINE = ("offline", "dryrun")


def is_offline() -> bool:
    """Whether W&B only writes files, for `wandb sync`."""
    return os.environ.get("WANDB_MODE") in _OFFLINE


def why_not() -> str:
    """Why W&B takes nothing from here, in words; empty where nothing is known to be in the way."""
    if not is_installed("wandb"):
        return "wandb is not installed (octjob[train] has it)"
    if os.environ.get("WANDB_MODE") == "disabled" or os.environ.get("WANDB_DISABLED"):
        return "WANDB_MODE or WANDB_DISABLED turns it off"
    if is_offline():
        return (
            "" if os.environ.get("WANDB_DIR") else "it is offline, and without WANDB_DIR nothing would remain"
        )
    return "" if _has_key() else "no key is at hand (WANDB_API_KEY, or `wandb login`)"


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or _SERVER).netloc
    return any(_in_netrc(path, host) for path in _netrc_files())


def _netrc_files() -> list[Path]:
    if named := os.environ.get("NETRC"):
        return [Path(named).expanduser()]
    return [Path("~/.netrc").expanduser(), Path("~/_netrc").expanduser()]


def _in_netrc(path: Path, host: str) -> bool:
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
