"""From stored voxels to the encoder's input, by named profile.

`pretraining` repeats what the checkpoints of the original project saw (its datasets.py and transforms.py):
rescale, z-score over all voxels, trilinear resize, z-score again. `seed_finetune` repeats the original
fine-tuning (its io.py): no rescale, clip to [0, 99th percentile], min-max, gamma 0.8, then resize; so that
the difference can be measured.

Legend: D, H, W = B-scans, rows (axial), columns (lateral); d, h, w after resizing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from octjob.data.dicom import RawVolume
from octjob.data.resize import Float32, Size, resize

Profile = Literal["pretraining", "seed_finetune"]

# Raised whenever a profile's numbers change, so that no cache mixes old and new.
_VERSION = 1

_QUANTILE = 0.99
_QUANTILE_STRIDE = 4
_QUANTILE_WHOLE = 1_000_000
_GAMMA = 0.8
# After the first z-score the volume has standard deviation 1; less than this is rounding, not image.
_LEAST_STD = 1e-6


class NoContrastError(ValueError):
    """A volume whose voxels are all alike (or not finite): nothing an encoder could see."""


def preprocess(raw_x_DHW: NDArray[Any], profile: Profile, size: Size) -> Float32:
    """(d, h, w) float32 from voxels of any real dtype: rescaled ones for `pretraining`, stored ones for
    `seed_finetune`. Raises `NoContrastError` (a reader turns it into `CorruptVolumeError`) on a constant
    volume, which the original let through as zeros or NaN."""
    if profile == "seed_finetune":
        return _seed_finetune(raw_x_DHW, size)
    return _pretraining(lambda i: raw_x_DHW[i].astype(np.float32), raw_x_DHW.shape[0], size)


def preprocess_volume(raw: RawVolume, profile: Profile, size: Size) -> Float32:
    """(d, h, w) float32 as `preprocess`, from a decoded file; never holds the whole volume as float32."""
    if profile == "seed_finetune":
        return _seed_finetune(raw.stored_DHW, size)
    return _pretraining(lambda i: raw.rescaled(raw.stored_DHW[i]), raw.stored_DHW.shape[0], size)


def preprocess_digest(profile: Profile, size: Size) -> str:
    """16 hex digits that change with anything that changes the numbers; a cache key."""
    text = json.dumps({"version": _VERSION, "profile": profile, "size": list(size)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _pretraining(frame: Callable[[int], Float32], num_frames: int, size: Size) -> Float32:
    mean, std = _moments(frame, num_frames)

    def scored(index: int) -> Float32:
        x_HW = frame(index)
        x_HW -= np.float32(mean)
        x_HW /= np.float32(std)
        return x_HW

    y_dhw = resize(scored, num_frames, size)
    mean, std = _moments(lambda i: y_dhw[i], len(y_dhw), least_std=_LEAST_STD)
    y_dhw -= np.float32(mean)
    y_dhw /= np.float32(std)
    return y_dhw


def _moments(frame: Callable[[int], Float32], num_frames: int, least_std: float = 0.0) -> tuple[float, float]:
    """Mean and population standard deviation over all voxels, in float64, one B-scan in memory at a time."""
    low, high, total, count = np.inf, -np.inf, 0.0, 0
    for index in range(num_frames):
        x_HW = frame(index)
        low, high = min(low, float(x_HW.min())), max(high, float(x_HW.max()))
        total += float(x_HW.sum(dtype=np.float64))
        count += x_HW.size
    if not np.isfinite(low) or not np.isfinite(high):
        raise NoContrastError("holds values that are not finite")
    mean, squares = total / count, 0.0
    for index in range(num_frames):
        deviation_HW = frame(index).astype(np.float64) - mean
        squares += float(np.square(deviation_HW, out=deviation_HW).sum())
    std = float(np.sqrt(squares / count))
    if low == high or std <= least_std:
        raise NoContrastError(f"all voxels have the same value ({low:g})")
    return mean, std


def _seed_finetune(x_DHW: NDArray[Any], size: Size) -> Float32:
    if x_DHW.shape[0] > x_DHW.shape[-1]:  # the original's guess at (H, W, D); kept because it is the profile
        x_DHW = x_DHW.transpose(2, 0, 1)
    step = _QUANTILE_STRIDE if x_DHW.size > _QUANTILE_WHOLE else 1
    sample = x_DHW[::step, ::step, ::step].astype(np.float32)
    top = np.float32(np.quantile(sample, _QUANTILE))
    # Clipping is monotone: the clipped volume's extremes are the clipped extremes.
    low, high = (np.float32(np.clip(np.float32(v), 0, top)) for v in (x_DHW.min(), x_DHW.max()))
    if not high > low:
        raise NoContrastError(f"all voxels have the same value after clipping to [0, {top:g}]")

    def normalised(index: int) -> Float32:
        x_HW = np.clip(x_DHW[index].astype(np.float32), 0, top)
        x_HW -= low
        x_HW /= high - low
        y_HW: Float32 = np.power(x_HW, np.float32(_GAMMA))
        return y_HW

    return resize(normalised, x_DHW.shape[0], size)
