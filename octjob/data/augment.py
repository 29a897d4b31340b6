"""Training-time augmentation of a preprocessed volume: geometry, then intensity; nothing is clamped.

Right for z-scored input. Under `seed_finetune` the input lies in [0, 1] and the jitter may leave that range.

Legend: D B-scans, H rows (axial), W columns (fast lateral axis).
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from octjob.spec.experiment import Augment

# The view of a volume that is the volume itself.
IDENTITY = 0

MAX_CONTRAST = 0.05
MAX_BRIGHTNESS = 0.05  # in the volume's standard deviations
LEAST_CROP = 0.85
MAX_ROTATION_DEG = 6.0


def augment_seed(seed: int, epoch: int, uid: str) -> int:
    """64-bit seed of one volume in one epoch: the same in every process, on every platform, after every
    restart."""
    return int.from_bytes(hashlib.sha256(f"augment/{seed}/{epoch}/{uid}".encode()).digest()[:8], "big")


def augment(
    x_DHW: NDArray[np.float32], config: Augment, seed: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """A (D, H, W) float32 volume, the same for the same seed; the input is left alone.

    out: where to put it, in C order; None for a new array.

    - `flip`: mirror W with probability 0.5.
    - `random_crop`: 85-100 % of each axis, anywhere, resized back trilinearly.
    - `rotation`: up to ±6 degrees in the voxel grid of (H, W), all B-scans alike, bilinear, edges repeated.
    - `intensity_jitter`: contrast ±5 % about the mean, brightness ±0.05 standard deviations.

    All are drawn whether used or not, so that turning one off leaves the others as they were.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    flip = bool(rng.random() < 0.5)
    shares, places = rng.uniform(LEAST_CROP, 1.0, 3), rng.random(3)
    degrees = float(rng.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG))
    contrast = float(rng.uniform(1 - MAX_CONTRAST, 1 + MAX_CONTRAST))
    brightness = float(rng.uniform(-MAX_BRIGHTNESS, MAX_BRIGHTNESS))

    out_DHW = np.empty(x_DHW.shape, np.float32) if out is None else out
    out_DHW[:] = x_DHW
    made_DHW = y_DHW = torch.from_numpy(out_DHW)
    if config.flip and flip:
        y_DHW = y_DHW.flip(2)
    if config.random_crop:
        y_DHW = _crop(y_DHW, shares, places)
    if config.rotation:
        y_DHW = _rotate(y_DHW, degrees)
    if config.intensity_jitter:
        std, mean = (float(v) for v in torch.std_mean(y_DHW.double(), correction=0))
        torch.sub(y_DHW, mean, out=made_DHW).mul_(contrast).add_(mean + brightness * std)
    elif y_DHW is not made_DHW:
        made_DHW.copy_(y_DHW)
    return out_DHW


def _crop(x_DHW: torch.Tensor, shares: NDArray[np.float64], places: NDArray[np.float64]) -> torch.Tensor:
    window = []
    for axis_length, share, place in zip(x_DHW.shape, shares, places, strict=True):
        length = max(1, round(axis_length * share))
        start = int(place * (axis_length - length + 1))
        window.append(slice(start, start + length))
    cropped = x_DHW[tuple(window)][None, None]
    return F.interpolate(cropped, size=tuple(x_DHW.shape), mode="trilinear", align_corners=False)[0, 0]


def _rotate(x_DHW: torch.Tensor, degrees: float) -> torch.Tensor:
    _, height, width = x_DHW.shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # grid_sample's coordinates run from -1 to 1 along either axis; the ratios make it a rotation, not a
    # shear.
    theta_123 = torch.tensor([[[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]]])
    grid_1HW2 = F.affine_grid(theta_123, [1, 1, height, width], align_corners=False)
    return F.grid_sample(x_DHW[None], grid_1HW2, mode="bilinear", padding_mode="border", align_corners=False)[
        0
    ]
