"""Volumes kept in memory, so that the epochs after the first read nothing.

Legend: x_DHW float32, B-scans x rows x columns, as the encoder takes them.
"""

from __future__ import annotations

import threading
from typing import Self

import numpy as np
from numpy.typing import NDArray

from octjob.data.memory import available_bytes

Float32 = NDArray[np.float32]

# The rest is for volumes under way and for the training.
KEPT_SHARE = 0.4


class KeptVolumes:
    """As many volumes by UID as `most_bytes` hold, the first that come; none gives way to another. Thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes
        self._volumes: dict[str, Float32] = {}
        self._lock = threading.Lock()

    @classmethod
    def in_free_memory(cls) -> Self:
        """In a share of `KEPT_SHARE` of the memory that is free now."""
        return cls(int(KEPT_SHARE * available_bytes()))

    def get(self, uid: str) -> Float32 | None:
        """x_DHW, None where it is not kept."""
        return self._volumes.get(uid)

    def keep(self, uid: str, x_DHW: Float32) -> Float32:
        """The volume, kept from now on if there is room for it; nobody may change it."""
        with self._lock:
            if uid in self._volumes or x_DHW.nbytes > self._left:
                return x_DHW
            self._left -= x_DHW.nbytes
            self._volumes[uid] = x_DHW
        return x_DHW
