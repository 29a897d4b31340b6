"""Volumes in NIfTI, NRRD and NPY files: exactly the voxels that the file holds, or why not.

One rule for which axis is which: a file's axes are taken from the slowest to the fastest, as DICOM has them. For NPY
that is the array's own order of indices. NIfTI and NRRD count the other way round, their first axis is the fastest:
nibabel's and pynrrd's `x[w, h, d]` is this module's `x[d, h, w]`. Orientation matrices speak of a body's axes, not of
B-scans, and are not looked at.

Legend: D B-scans, H rows (axial), W columns (fast lateral axis).
"""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import struct
import tokenize
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octjob.data.content import Content
from octjob.data.excerpt import Excerpt
from octjob.errors import DataError
from octjob.extras import is_installed

# As of a DICOM file (`octjob.data.header`).
MAX_VOXELS = 2**30
# Holds the header of any of these formats, which is within the first of it, compressed or not.
HEAD_BYTES = 2**16
_PACKAGES = {"NIfTI": ("nibabel", "nibabel"), "NRRD": ("nrrd", "pynrrd")}
# By the size of the header: where its magic stands, and what that is of a single file.
_NIFTI_MAGIC = {348: (344, b"n+1"), 540: (4, b"n+2")}
_RAW_NRRD, _GZIP_NRRD = ("raw",), ("gzip", "gz")
_GZIP = b"\x1f\x8b"
# What the formats' readers raise on files that are not what they claim; a lack of memory is the caller's affair.
_READ_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    OSError,
    EOFError,
    RuntimeError,
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zlib.error,
)


class FormatError(ValueError):
    """Why a file is not the volume that its name promises."""


@dataclass(frozen=True)
class Layout:
    """What a file's header says of its voxels. shape: of its axes, slowest first. start: the voxels' first byte.

    is_fortran: whether the voxels lie with the first of these axes fastest all the same, as in NPY files of arrays in
    Fortran's order. encoding: of the voxels, `raw` or `gzip`.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    slope: float = 1.0
    intercept: float = 0.0
    is_fortran: bool = False
    encoding: str = "raw"

    @property
    def num_bytes(self) -> int:
        """Of the voxels, not compressed."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Stored:
    """stored_DHW: values as stored, which `slope` and `intercept` turn into what they mean."""

    stored_DHW: NDArray[Any]
    slope: float
    intercept: float


def require_reader(content: Content) -> None:
    """Raise `DataError` where the package that reads this format is not installed."""
    module, package = _PACKAGES.get(content.format, ("numpy", "numpy"))
    if not is_installed(module):
        raise DataError(
            f"{content.format} volumes need {package}, which is not installed",
            "Run: pip install 'octjob[formats]'",
        )


def shape_in(head: bytes, content: Content) -> tuple[int, int, int]:
    """(D, H, W) from a file's first `HEAD_BYTES` bytes. Raises as `read_stored` does."""
    with _reading(content):
        shape = _three(_layout(head, content).shape)
    d, h, w = (shape[axis] for axis in content.order())
    return d, h, w


def read_stored(data: Excerpt, content: Content) -> Stored:
    """All voxels of a whole file, in memory that may be read-only.

    Raises `FormatError` where it is no file of that format, cut off, of other than three axes, or holds what is no
    finite number; `DataError` where the format's reader is not installed.
    """
    bytes_n = data.read(0, data.size)
    with _reading(content):
        layout = _layout(bytes_n[:HEAD_BYTES], content)
        shape = _three(layout.shape)
        voxels = np.frombuffer(_voxels(bytes_n, layout), layout.dtype)
    x_file = voxels.reshape(shape, order="F" if layout.is_fortran else "C")
    x_DHW = np.ascontiguousarray(x_file.transpose(content.order()))
    x_DHW = x_DHW.astype(layout.dtype.newbyteorder("="), copy=False)
    _require_finite(x_DHW)
    return Stored(x_DHW, layout.slope, layout.intercept)


@contextlib.contextmanager
def _reading(content: Content) -> Iterator[None]:
    try:
        yield
    except FormatError:
        raise
    except _READ_ERRORS as error:
        raise FormatError(f"is no whole {content.format} file: {error or type(error).__name__}") from error


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The axes without leading ones of length 1: those of time and channels, which formats add."""
    kept = list(shape)
    while len(kept) > 3 and kept[0] == 1:
        del kept[0]
    if len(kept) != 3:
        raise FormatError(f"has {len(kept)} axes ({' x '.join(map(str, kept))}), a volume has three")
    d, h, w = kept
    return d, h, w


def _require_finite(x_DHW: NDArray[Any]) -> None:
    if x_DHW.dtype.kind != "f":
        return
    if count := sum(x_HW.size - int(np.isfinite(x_HW).sum()) for x_HW in x_DHW):
        raise FormatError(f"holds {count} voxels that are no finite number (NaN or infinite)")


def _layout(head: bytes | memoryview, content: Content) -> Layout:
    require_reader(content)
    layout = _HEADERS[content.format](bytes(head))
    if layout.dtype.kind not in "iuf" or layout.dtype.itemsize > 8:
        raise FormatError(
            f"holds voxels of type {layout.dtype}, expected integers or floats of up to 64 bits"
        )
    if any(length < 1 for length in layout.shape) or math.prod(layout.shape) > MAX_VOXELS:
        sizes = " x ".join(map(str, layout.shape))
        raise FormatError(f"says that it holds {sizes} voxels; expected 1 to {MAX_VOXELS}")
    return layout


def _voxels(data: memoryview, layout: Layout) -> bytes | memoryview:
    """Their bytes, no fewer and no more than the header says."""
    start, num_bytes = layout.start, layout.num_bytes
    if bytes(data[:2]) == _GZIP:
        found = _inflated(data, start + num_bytes)[start:]
    elif layout.encoding == "gzip":
        found = _inflated(data[start:], num_bytes)
    else:
        found = data[start:]
    if len(found) < num_bytes:
        raise FormatError(f"is cut off: {len(found)} of the {num_bytes} bytes of voxels that its header says")
    if len(found) > num_bytes:
        raise FormatError(f"holds more than the {num_bytes} bytes of voxels that its header says")
    return found


def _inflated(data: memoryview, num_bytes: int) -> memoryview:
    """So many bytes and at most one more, so that no bomb goes off; at the end gzip compares its checksum."""
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        return memoryview(file.read(num_bytes + 1))


def _nifti(head: bytes) -> Layout:
    import nibabel
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    if head[:2] == _GZIP:
        with gzip.GzipFile(fileobj=io.BytesIO(head)) as file:
            head = file.read(max(_NIFTI_MAGIC))
    sizes = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")}
    size = next((size for size in _NIFTI_MAGIC if size in sizes), 0)
    if not size or len(head) < size:
        raise FormatError("is no NIfTI file, or cut off within its header")
    place, magic = _NIFTI_MAGIC[size]
    if head[place : place + len(magic)] != magic:
        raise FormatError("is a NIfTI header without voxels (a pair of files); save one .nii or .nii.gz file")
    kind: Any = nibabel.Nifti1Header if size == min(_NIFTI_MAGIC) else nibabel.Nifti2Header
    try:
        header = kind(head[:size], check=True)
        shape = tuple(int(length) for length in header.get_data_shape())
        slope, intercept = header.get_slope_inter()
        return Layout(
            dtype=header.get_data_dtype(),
            shape=shape[::-1],
            start=int(header.get_data_offset()),
            slope=1.0 if slope is None else float(slope),
            intercept=0.0 if intercept is None else float(intercept),
        )
    except (HeaderDataError, WrapStructError) as error:
        raise FormatError(f"NIfTI header: {error}") from error


def _nrrd(head: bytes) -> Layout:
    import nrrd

    file = io.BytesIO(head)
    try:
        header = nrrd.read_header(file)
        start = file.tell()
        if "data file" in header or "datafile" in header:
            raise FormatError("is a NRRD header whose voxels are in another file; save one .nrrd file")
        # Of one voxel of zeros: the reader tells the type of what it has read only.
        one = {**header, "dimension": 1, "sizes": np.array([1]), "encoding": "raw"}
        dtype = nrrd.read_data(one, io.BytesIO(bytes(8)), index_order="C").dtype
    except (nrrd.NRRDError, StopIteration) as error:
        raise FormatError(f"NRRD header: {error or 'empty'}") from error
    if start >= len(head):
        raise FormatError(f"is cut off within its header, or that has more than {HEAD_BYTES} bytes")
    skipped = [key for key in ("lineskip", "line skip", "byteskip", "byte skip") if header.get(key)]
    encoding = str(header["encoding"]).lower()
    if skipped or encoding not in (*_RAW_NRRD, *_GZIP_NRRD):
        what = f"its key {skipped[0]!r}" if skipped else f"encoding {encoding!r}"
        raise FormatError(f"NRRD with {what}, expected raw or gzip from the header's end on")
    sizes = tuple(int(length) for length in header["sizes"])
    if len(sizes) != header["dimension"]:
        raise FormatError(f"NRRD header: {len(sizes)} sizes for {header['dimension']} axes")
    return Layout(dtype, sizes[::-1], start, encoding="gzip" if encoding in _GZIP_NRRD else "raw")


def _npy(head: bytes) -> Layout:
    file = io.BytesIO(head)
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise FormatError(f"NPY of version {version[0]}.{version[1]}, expected 1.0 or 2.0")
    shape, is_fortran, dtype = readers[version](file)
    return Layout(dtype, shape, file.tell(), is_fortran=is_fortran)


_HEADERS: dict[str, Callable[[bytes], Layout]] = {"NIfTI": _nifti, "NRRD": _nrrd, "NPY": _npy}
