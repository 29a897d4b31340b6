"""Which samples linear interpolation touches along one axis, and how much of each it takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Taps:
    """Output i lies between the inputs `first[i]` and `second[i]`, `weight[i]` (float32, 0 to 1) of the way.

    Where it lies on an input, both are that one.
    """

    first: Indices
    second: Indices
    weight: Float32

    @property
    def touched(self) -> Indices:
        """The inputs that any output takes something of, ascending."""
        return np.unique(np.concatenate([self.first, self.second]))

    def within(self, kept: Indices) -> Taps:
        """The same taps on an input of which only `kept` is left, ascending and with all that is touched."""
        return Taps(np.searchsorted(kept, self.first), np.searchsorted(kept, self.second), self.weight)


def linear_taps(length: int, size: int) -> Taps:
    """Of `size` outputs over `length` inputs.

    The source positions are those of `torch.nn.functional.interpolate(mode="trilinear", align_corners=False)`,
    in float32 as there: over 512 B-scans its rounding shows in the fifth decimal.
    """
    scale, half = np.float32(length) / np.float32(size), np.float32(0.5)
    position = np.maximum(scale * (np.arange(size, dtype=np.float32) + half) - half, np.float32(0))
    first = np.minimum(position.astype(np.intp), length - 1)
    weight = position - first.astype(np.float32)
    second = np.where(weight > 0, np.minimum(first + 1, length - 1), first)
    return Taps(first, second, weight)


def touched_frames(num_frames: int, depth: int) -> tuple[int, ...]:
    """The B-scans that a resize to `depth` takes something of, ascending."""
    return tuple(linear_taps(num_frames, depth).touched.tolist())
