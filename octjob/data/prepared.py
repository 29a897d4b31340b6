"""From a file's bytes to the encoder's input, with what is needed to tell whose volume it is.

Legend: D, H, W = B-scans, rows (axial), columns (lateral), after resizing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from octjob.data.dicom import CorruptVolumeError, DeclaredShape, read_volume
from octjob.data.excerpt import Excerpt
from octjob.data.preprocess import NoContrastError, Profile, preprocess_volume, touched_depth


@dataclass(frozen=True)
class Preparation:
    """What becomes of the voxels: a profile's preprocessing, to `size` (D, H, W)."""

    profile: Profile
    size: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class PreparedVolume:
    """x_DHW float32, and what the file says of itself: `laterality` L, R or '' where it says nothing."""

    x_DHW: NDArray[np.float32]
    sop_instance_uid: str
    laterality: str


def prepare_volume(
    data: bytes | Excerpt, uri: str, declared: DeclaredShape, preparation: Preparation
) -> PreparedVolume:
    """Decode and preprocess one file, in this process. Raises as `read_volume` does, and `CorruptVolumeError` where
    all voxels are alike."""
    raw = read_volume(data, uri, declared, touched_depth(preparation.profile, preparation.size))
    try:
        x_DHW = preprocess_volume(raw, preparation.profile, preparation.size)
    except NoContrastError as error:
        raise CorruptVolumeError(uri, str(error)) from error
    return PreparedVolume(x_DHW, raw.sop_instance_uid, raw.laterality)
