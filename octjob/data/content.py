"""What a volume's file is: its format, told from its name, and which of its axes is which.

Legend: D B-scans, H rows (axial), W columns (fast lateral axis).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Format = Literal["DICOM", "NIfTI", "NRRD", "NPY"]

SUFFIXES: Mapping[str, Format] = MappingProxyType(
    {".dcm": "DICOM", ".nii": "NIfTI", ".nii.gz": "NIfTI", ".nrrd": "NRRD", ".npy": "NPY"}
)
STANDARD = "DHW"


@dataclass(frozen=True)
class Content:
    """axes: those of the file's voxels, from the one that varies slowest in it to the fastest; DICOM's are DHW."""

    format: Format = "DICOM"
    axes: str = STANDARD

    def order(self) -> tuple[int, int, int]:
        """Where B-scans, rows and columns are among the file's axes."""
        d, h, w = (self.axes.index(axis) for axis in STANDARD)
        return d, h, w


DICOM = Content()


def content_of(name: str, axes: str) -> Content | None:
    """Of a file of this name; None where it ends in none of `SUFFIXES`."""
    format_ = next((f for suffix, f in SUFFIXES.items() if name.lower().endswith(suffix)), None)
    if format_ is None:
        return None
    return DICOM if format_ == "DICOM" else Content(format_, axes)
