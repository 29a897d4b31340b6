"""OCT volumes from DICOM bytes: exactly what the file holds, or an error that says why not.

Legend: D B-scans, H rows (axial), W columns (fast lateral axis).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octjob.data.excerpt import Excerpt
from octjob.data.header import (
    MAX_VOLUME_BYTES,
    READ_ERRORS,
    DicomFile,
    Header,
    SpacingSource,
    open_dicom,
    parse_header,
    read_header,
    reason_of,
)
from octjob.data.pixels import available_decoders, decode_pixels, lies_as_needed
from octjob.data.quarantine import CorruptVolumeError
from octjob.data.taps import touched_frames

__all__ = [
    "UNDECLARED",
    "CorruptVolumeError",
    "DeclaredShape",
    "RawVolume",
    "available_decoders",
    "read_header",
    "read_volume",
]


# (B-scans, rows, columns), None where the manifest does not say.
DeclaredShape = tuple[int | None, int | None, int | None]
UNDECLARED: DeclaredShape = (None, None, None)


@dataclass(frozen=True, eq=False)
class RawVolume:
    """One decoded volume. `stored_DHW` holds the values as stored (8 or 16 bits, signed or not), which
    `slope` and `intercept` turn into the modality's values; `spacing_mm` is (between B-scans, row,
    column).

    Read for one depth, it holds the B-scans of these numbers alone, `frames`, of `num_frames` in the file; None
    for both where it holds all.
    """

    stored_DHW: NDArray[Any]
    slope: float
    intercept: float
    spacing_mm: tuple[float, float, float] | None
    spacing_source: SpacingSource
    transfer_syntax: str
    sop_instance_uid: str
    laterality: str
    frames: tuple[int, ...] | None = None
    num_frames: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W) of the file, whatever of it is held."""
        depth, rows, columns = self.stored_DHW.shape
        return depth if self.num_frames is None else self.num_frames, rows, columns

    @property
    def whole_DHW(self) -> NDArray[Any]:
        """`stored_DHW`; raises `ValueError` where B-scans are left out."""
        if self.frames is not None:
            raise ValueError(f"holds {len(self.frames)} of {self.num_frames} B-scans")
        return self.stored_DHW

    def frame(self, index: int) -> NDArray[Any]:
        """Stored values of B-scan `index` of the file; raises `ValueError` where it is left out."""
        if self.frames is not None:
            if index not in self.frames:
                raise ValueError(f"B-scan {index} is not among the {len(self.frames)} that were read")
            index = self.frames.index(index)
        x_HW: NDArray[Any] = self.stored_DHW[index]
        return x_HW

    def rescaled(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Stored values (of any shape) as float32 after slope and intercept; a new array."""
        y: NDArray[np.float32] = x.astype(np.float32)
        if self.slope != 1:
            y *= np.float32(self.slope)
        if self.intercept != 0:
            y += np.float32(self.intercept)
        return y

    @property
    def x_DHW(self) -> NDArray[np.float32]:
        """The whole volume, rescaled; made anew at each use (4 bytes per voxel)."""
        return self.rescaled(self.whole_DHW)


def read_volume(
    data: bytes | Excerpt, uri: str, declared: DeclaredShape = UNDECLARED, depth: int | None = None
) -> RawVolume:
    """Decode one Ophthalmic Tomography Image in any transfer syntax of `available_decoders`, in this process.

    `declared` is what the manifest says of its shape. With a `depth`, what a resize to it takes nothing of is checked
    as far as it speaks of itself, and not decoded; of `Excerpt` (`octjob.data.extents`), what is not there is not
    checked either. Raises `CorruptVolumeError` naming `uri` and why if it is not DICOM, another kind of object, cut
    off, or manifest, header and pixel data do not say the same; `DataError` if the decoder is not installed. For
    files of unknown origin use `octjob.data.decoders`.
    """
    excerpt = Excerpt.whole(data) if isinstance(data, bytes) else data
    try:
        file = open_dicom(excerpt, uri)
        header = parse_header(file.dataset, uri)
        require_shape(header, declared, uri)
        frames = _frames_to_decode(file, header, depth)
        x_DHW = decode_pixels(file, header.num_frames, header.rows, header.columns, frames)
    except READ_ERRORS as error:
        raise CorruptVolumeError(uri, reason_of(error)) from error
    return RawVolume(
        stored_DHW=x_DHW,
        slope=header.slope,
        intercept=header.intercept,
        spacing_mm=header.spacing_mm,
        spacing_source=header.spacing_source,
        transfer_syntax=header.transfer_syntax,
        sop_instance_uid=header.sop_instance_uid,
        laterality=header.laterality,
        frames=frames,
        num_frames=None if frames is None else header.num_frames,
    )


def _frames_to_decode(file: DicomFile, header: Header, depth: int | None) -> tuple[int, ...] | None:
    """None for all."""
    if depth is None or lies_as_needed(file):
        return None
    frames = touched_frames(header.num_frames, depth)
    return None if len(frames) == header.num_frames else frames


def require_shape(header: Header, declared: DeclaredShape, uri: str) -> None:
    """Raise `CorruptVolumeError` unless the header says what the manifest says, and no more than fits."""
    found = header.num_frames, header.rows, header.columns
    if any(said not in (None, there) for said, there in zip(declared, found, strict=True)):
        shapes = [" x ".join("?" if n is None else str(n) for n in shape) for shape in (found, declared)]
        raise CorruptVolumeError(
            uri, f"holds {shapes[0]} voxels (B-scans x rows x columns), the manifest says {shapes[1]}"
        )
    if math.prod(found) > MAX_VOLUME_BYTES:
        raise CorruptVolumeError(uri, f"holds {math.prod(found)} voxels, more than {MAX_VOLUME_BYTES}")
