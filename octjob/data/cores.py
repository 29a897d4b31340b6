"""How many processors this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def num_cores(quota: Path = _QUOTA) -> int:
    """Those that it may run on, or as many whole ones as a container's share of time amounts to, at least 1."""
    cores = len(os.sched_getaffinity(0))
    try:
        share, period = quota.read_text().split()
        cores = min(cores, math.ceil(int(share) / int(period)))
    except (OSError, ValueError):  # no cgroup v2 here, or "max": no quota
        pass
    return max(1, cores)
