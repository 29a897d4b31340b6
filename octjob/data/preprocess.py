"""From stored voxels to the encoder's input, by named profile.

`pretraining` gives what the checkpoints of the original project saw (its datasets.py and transforms.py: rescale,
z-score over all voxels, trilinear resize, z-score again), looking at no more than it needs. `seed_finetune` repeats
the original fine-tuning (its io.py): no rescale, clip to [0, 99th percentile], min-max, gamma 0.8, then resize; so
that the difference can be measured.

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
from octjob.data.resize import Size, resize
from octjob.data.taps import Float32, touched_frames

Profile = Literal["pretraining", "seed_finetune"]

# Raised whenever a profile's numbers change, so that no cache mixes old and new.
_VERSION = 2

_QUANTILE = 0.99
_QUANTILE_STRIDE = 4
_QUANTILE_WHOLE = 1_000_000
_GAMMA = 0.8
# Of the range of the voxels that are touched; a range of less than this once resized is rounding, not image.
_LEAST_RANGE = 1e-6


class NoContrastError(ValueError):
    """A volume whose voxels are all alike (or not finite): nothing an encoder could see."""


def preprocess(raw_x_DHW: NDArray[Any], profile: Profile, size: Size) -> Float32:
    """(d, h, w) float32 from voxels of any real dtype: rescaled ones for `pretraining`, stored ones for
    `seed_finetune`. Raises `NoContrastError` (a reader turns it into `CorruptVolumeError`) on a constant
    volume, which the original let through as zeros or NaN."""
    if profile == "seed_finetune":
        return _seed_finetune(raw_x_DHW, size)
    return _pretraining(lambda i: raw_x_DHW[i], raw_x_DHW.shape, size, lambda x: x.astype(np.float32))


def preprocess_volume(raw: RawVolume, profile: Profile, size: Size) -> Float32:
    """(d, h, w) float32 as `preprocess`, from a decoded file; never holds the whole volume as float32.

    Of a volume read for a depth (`touched_depth`), only for that depth: `ValueError` where it lacks a B-scan.
    """
    if profile == "seed_finetune":
        return _seed_finetune(raw.whole_DHW, size)
    return _pretraining(raw.frame, raw.shape, size, raw.rescaled)


def touched_depth(profile: Profile, size: Size) -> int | None:
    """What to read a volume for (`read_volume`): the depth that it is resized to, None where all of it counts."""
    return None if profile == "seed_finetune" else size[0]


def preprocess_digest(profile: Profile, size: Size) -> str:
    """16 hex digits that change with anything that changes the numbers; a cache key."""
    text = json.dumps({"version": _VERSION, "profile": profile, "size": list(size)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _pretraining(
    frame: Callable[[int], NDArray[Any]],
    shape: tuple[int, ...],
    size: Size,
    rescaled: Callable[[NDArray[Any]], Float32],
) -> Float32:
    """The z-score of the resized volume. What comes before it and is affine, a z-score of the whole or a rescale,
    leaves its sign alone: the weights of a resize sum to one."""
    low, high = _extremes(frame, shape[0], size[0])
    with np.errstate(over="ignore", invalid="ignore"):
        first, last = rescaled(np.array([low, high])).tolist()
    if not np.isfinite(first) or not np.isfinite(last):
        raise NoContrastError("holds values that are not finite")
    if first == last:
        raise NoContrastError(f"all voxels have the same value ({first:g})")
    y_dhw = resize(frame, shape, size, (low + high) / 2)
    mean, std = _moments(y_dhw)
    least = _LEAST_RANGE * (high - low)
    if std <= least and np.ptp(y_dhw) <= least:
        raise NoContrastError(f"all voxels have the same value ({first:g}) once resized")
    y_dhw -= np.float32(mean)
    y_dhw /= np.float32(std if last > first else -std)
    return y_dhw


def _extremes(frame: Callable[[int], NDArray[Any]], num_frames: int, depth: int) -> tuple[float, float]:
    """The smallest and the largest voxel of the B-scans that are touched; NaN where there is one."""
    extremes = [(x_HW.min(), x_HW.max()) for x_HW in map(frame, touched_frames(num_frames, depth))]
    return float(np.min(extremes)), float(np.max(extremes))


def _moments(y_dhw: Float32) -> tuple[float, float]:
    """Mean and population standard deviation over all voxels, in float64, one B-scan in memory at a time.

    One pass will do where 0 lies amid the values: even a single bright voxel costs no more than seven digits.
    """
    total = squares = 0.0
    y_n = np.empty(y_dhw[0].size)
    for y_hw in y_dhw:
        y_n[:] = y_hw.ravel()
        total += float(y_n.sum())
        # Not `@`: its threads would spin for a while after each B-scan, on cores that decode other volumes.
        squares += float(np.einsum("n,n->", y_n, y_n))
    mean = total / y_dhw.size
    return mean, float(np.sqrt(max(0.0, squares / y_dhw.size - mean**2)))


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

    return resize(normalised, x_DHW.shape, size)
