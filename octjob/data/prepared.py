"""From a file's bytes to the encoder's input, with what is needed to tell whose volume it is.

Legend: D, H, W = B-scans, rows (axial), columns (lateral), after resizing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from octjob.data.content import DICOM, Content
from octjob.data.dicom import CorruptVolumeError, DeclaredShape, RawVolume, read_volume
from octjob.data.excerpt import Excerpt
from octjob.data.formats import read_stored
from octjob.data.header import READ_ERRORS, reason_of
from octjob.data.preprocess import NoContrastError, Profile, preprocess_volume, touched_depth


@dataclass(frozen=True)
class Preparation:
    """What becomes of the voxels: a profile's preprocessing, to `size` (D, H, W)."""

    profile: Profile
    size: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class PreparedVolume:
    """x_DHW float32, and what the file says of itself: UID, and `laterality` L, R; each '' where it says nothing."""

    x_DHW: NDArray[np.float32]
    sop_instance_uid: str
    laterality: str


def read_any(
    data: bytes | Excerpt, uri: str, declared: DeclaredShape, depth: int | None, content: Content = DICOM
) -> RawVolume:
    """Decode one file of any format, in this process. Of a DICOM file as `read_volume`; of others all of it, and
    errors as there."""
    if content.format == "DICOM":
        return read_volume(data, uri, declared, depth)
    try:
        stored = read_stored(Excerpt.whole(data) if isinstance(data, bytes) else data, content)
    except READ_ERRORS as error:
        raise CorruptVolumeError(uri, reason_of(error)) from error
    return RawVolume(
        stored_DHW=stored.stored_DHW,
        slope=stored.slope,
        intercept=stored.intercept,
        spacing_mm=None,
        spacing_source="none",
        transfer_syntax="",
        sop_instance_uid="",
        laterality="",
    )


def prepare_volume(
    data: bytes | Excerpt,
    uri: str,
    declared: DeclaredShape,
    preparation: Preparation,
    content: Content = DICOM,
) -> PreparedVolume:
    """Decode and preprocess one file, in this process. Raises as `read_any` does, and `CorruptVolumeError` where
    all voxels are alike."""
    depth = touched_depth(preparation.profile, preparation.size)
    raw = read_any(data, uri, declared, depth, content)
    try:
        x_DHW = preprocess_volume(raw, preparation.profile, preparation.size)
    except NoContrastError as error:
        raise CorruptVolumeError(uri, str(error)) from error
    return PreparedVolume(x_DHW, raw.sop_instance_uid, raw.laterality)
