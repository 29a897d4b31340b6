"""Trilinear resizing, B-scan by B-scan: the same numbers as resizing the volume at once, in far less memory.

Legend: D B-scans, H rows, W columns of the input; d, h, w of the output.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

Float32 = NDArray[np.float32]
Size = tuple[int, int, int]


def depth_taps(num_frames: int, depth: int) -> list[tuple[int, int, float]]:
    """For each output B-scan the two input B-scans it lies between, and the second one's weight.

    The source position is that of `torch.nn.functional.interpolate(mode="trilinear", align_corners=False)`,
    in float32 as there: over 512 B-scans its rounding shows in the fifth decimal.
    """
    scale, half = np.float32(num_frames) / np.float32(depth), np.float32(0.5)
    taps = []
    for index in range(depth):
        position = max(scale * (np.float32(index) + half) - half, np.float32(0))
        first = min(int(position), num_frames - 1)
        taps.append((first, min(first + 1, num_frames - 1), float(position - np.float32(first))))
    return taps


def resize(frame: Callable[[int], Float32], num_frames: int, size: Size) -> Float32:
    """(d, h, w) float32, trilinear, align_corners=False, no anti-aliasing.

    `frame(i)` gives input B-scan i as (H, W) float32, i ascending; at most two resized ones are held at a
    time, and B-scans that no output needs are never asked for. Agrees with `interpolate` on the whole volume
    to rounding.
    """
    depth, height, width = size
    out_dhw = np.empty(size, np.float32)
    held: dict[int, Float32] = {}
    for index, (first, second, weight) in enumerate(depth_taps(num_frames, depth)):
        held = {
            i: held[i] if i in held else _resize_frame(frame(i), (height, width)) for i in (first, second)
        }
        if weight == 0:
            out_dhw[index] = held[first]
        else:
            np.multiply(held[first], np.float32(1 - weight), out=out_dhw[index])
            out_dhw[index] += held[second] * np.float32(weight)
    return out_dhw


def _resize_frame(x_HW: Float32, size: tuple[int, int]) -> Float32:
    if x_HW.shape == size:
        return x_HW
    # The trilinear kernel on one B-scan, not the bilinear one: they round source positions differently.
    x_111HW = torch.from_numpy(np.ascontiguousarray(x_HW))[None, None, None]
    y_111hw = F.interpolate(x_111HW, size=(1, *size), mode="trilinear", align_corners=False)
    y_hw: Float32 = y_111hw[0, 0, 0].numpy()
    return y_hw
