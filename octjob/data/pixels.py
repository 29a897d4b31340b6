"""From DICOM pixel data to voxels: one named decoder per transfer syntax, and every frame accounted for.

Legend: x_DHW stored values, B-scans x rows x columns.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from octjob.data.codestream import CodestreamError, read_codestream
from octjob.data.header import DicomFile
from octjob.data.layout import PixelError, compressed_spans, find_pixels, native_span
from octjob.errors import DataError

__all__ = [
    "NATIVE",
    "SYNTAXES",
    "PixelError",
    "available_decoders",
    "decode_pixels",
    "lies_as_needed",
    "stored_type",
]

# imagecodecs is 2-5 times faster than pydicom's plugins here, releases the GIL, and refuses cut-off
# codestreams.
_FAST = {
    uid.JPEG2000Lossless: "jpeg2k_decode",
    uid.JPEG2000: "jpeg2k_decode",
    uid.JPEGLSLossless: "jpegls_decode",
    uid.JPEGLSNearLossless: "jpegls_decode",
    uid.RLELossless: "packbits_decode",
}
_PLUGIN = {
    uid.JPEGBaseline8Bit: "pylibjpeg",
    uid.JPEGExtended12Bit: "pylibjpeg",
    uid.JPEGLossless: "pylibjpeg",
    uid.JPEGLosslessSV1: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
}
NATIVE = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
SYNTAXES = (*NATIVE, *_FAST, *_PLUGIN)
_RLE_HEADER = struct.Struct("<16I")
_MAX_RLE_PADDING = 2


@functools.cache
def available_decoders() -> Mapping[str, bool]:
    """Transfer syntax name to whether this installation can decode it."""
    fast = importlib.util.find_spec("imagecodecs") is not None
    decoders = {syntax.name: True for syntax in NATIVE}
    decoders |= {syntax.name: fast for syntax in _FAST}
    decoders |= {s.name: plugin in get_decoder(s).available_plugins for s, plugin in _PLUGIN.items()}
    return MappingProxyType(decoders)


def decode_pixels(
    file: DicomFile, num_frames: int, rows: int, columns: int, wanted: Sequence[int] | None = None
) -> NDArray[Any]:
    """x_DHW of the stored type, native byte order: uint8, int8, uint16 or int16; of the B-scans `wanted`, ascending,
    or of all. All of them where `lies_as_needed` are the file's own memory, read-only.

    Raises `PixelError` if the data is not exactly `num_frames` whole frames of one grey channel, as far as those say
    so themselves that are not wanted; `DataError` if no decoder for the transfer syntax is installed.
    """
    syntax = uid.UID(file.dataset.file_meta.TransferSyntaxUID)
    dtype = stored_type(file.dataset)
    if not available_decoders().get(syntax.name, False):
        raise DataError(
            f"no decoder for transfer syntax {syntax.name} ({syntax})",
            "Install octjob[train], which brings the decoders.",
        )
    shape, numbers = (num_frames, rows, columns), range(num_frames) if wanted is None else wanted
    if syntax in NATIVE:
        x_DHW = _decode_native(file, shape, dtype, numbers)
    elif syntax == uid.RLELossless:
        x_DHW = _decode_rle(_frames(file, num_frames, numbers, _check_rle(dtype)), shape, dtype)
    else:
        frames = _frames(file, num_frames, numbers, _check_codestream(shape, dtype))
        if syntax in _FAST:
            x_DHW = _decode_fast(_FAST[syntax], frames, shape, dtype)
            _require_bits(x_DHW, int(file.dataset.BitsStored))
        else:
            x_DHW = _decode_by_plugin(file.dataset, list(frames.values()))
    expected = len(numbers), rows, columns
    x_DHW = x_DHW.reshape(expected) if len(numbers) == 1 else x_DHW
    if x_DHW.shape != expected:
        raise PixelError(f"decoded to {x_DHW.shape}, the header says {expected}")
    return np.ascontiguousarray(_used_bits(x_DHW, int(file.dataset.BitsStored)), dtype=dtype)


def lies_as_needed(file: DicomFile) -> bool:
    """Whether the voxels lie in the file's memory as they will be used, so that taking some would be a copy."""
    dataset = file.dataset
    return (
        file.excerpt.is_whole
        and dataset.file_meta.TransferSyntaxUID in NATIVE
        and int(dataset.BitsStored) == int(dataset.BitsAllocated)
        and (file.is_little_endian or int(dataset.BitsAllocated) == 8)
    )


def stored_type(dataset: FileDataset) -> np.dtype[Any]:
    """Of one voxel; raises `PixelError` where it is none of ours."""
    if int(dataset.SamplesPerPixel) != 1 or dataset.PhotometricInterpretation != "MONOCHROME2":
        raise PixelError(
            f"{dataset.SamplesPerPixel} samples per voxel, {dataset.PhotometricInterpretation}; "
            "expected 1, MONOCHROME2"
        )
    bits, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if bits not in (8, 16):
        raise PixelError(f"{bits} bits allocated; expected 8 or 16")
    if not 1 <= stored <= bits or int(dataset.get("HighBit", stored - 1)) != stored - 1:
        raise PixelError(f"{stored} of {bits} bits stored, the highest is bit {dataset.get('HighBit')}")
    return np.dtype(f"{'i' if int(dataset.PixelRepresentation) else 'u'}{bits // 8}")


def _decode_native(
    file: DicomFile, shape: tuple[int, int, int], dtype: np.dtype[Any], numbers: Sequence[int]
) -> NDArray[Any]:
    num_bytes = math.prod(shape[1:]) * dtype.itemsize
    start, end = native_span(file.excerpt, find_pixels(file), shape[0], num_bytes)
    stored = dtype.newbyteorder("<" if file.is_little_endian else ">")
    if len(numbers) == shape[0]:
        return np.frombuffer(file.excerpt.read(start, end - start), stored).reshape(shape)
    x_DHW = np.empty((len(numbers), *shape[1:]), dtype)
    for x_HW, index in zip(x_DHW, numbers, strict=True):
        place = start + index * num_bytes
        x_HW[:] = np.frombuffer(file.excerpt.read(place, num_bytes), stored).reshape(shape[1:])
    return x_DHW


# Looks at a B-scan's bytes and gives those to decode; the flag says whether it will be.
_Check = Callable[[int, bytes, bool], bytes]


def _frames(file: DicomFile, num_frames: int, numbers: Sequence[int], check: _Check) -> dict[int, bytes]:
    """The compressed B-scans of these numbers; every one that is at hand has been checked."""
    wanted, found = frozenset(numbers), {}
    for index, spans in compressed_spans(file, find_pixels(file), num_frames, numbers).items():
        frame = b"".join(file.excerpt.read(start, end - start) for start, end in spans)
        checked = check(index, frame, index in wanted)
        if index in wanted:
            found[index] = checked
    return found


def _check_codestream(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> _Check:
    """A B-scan's codestream without the padding behind it, if it says of itself what the header says of it.

    A decoder makes room for what the codestream says: 24 bytes of it can ask for gigabytes.
    """

    def check(index: int, frame: bytes, is_wanted: bool) -> bytes:
        try:
            found = read_codestream(frame, scan=is_wanted)
        except CodestreamError as error:
            raise PixelError(f"B-scan {index} {error}") from error
        if (found.rows, found.columns) != shape[1:]:
            raise PixelError(
                f"B-scan {index} is {found.rows} x {found.columns} in its codestream, {shape[1]} x {shape[2]} "
                "(rows x columns) in the header"
            )
        if found.components != 1 or found.precision > 8 * dtype.itemsize:
            raise PixelError(
                f"B-scan {index} has {found.components} samples of {found.precision} bits per voxel in its "
                f"codestream, the header says 1 of {8 * dtype.itemsize}"
            )
        return frame[: found.size]

    return check


def _check_rle(dtype: np.dtype[Any]) -> _Check:
    def check(index: int, frame: bytes, _: bool) -> bytes:
        _rle_segments(index, frame, dtype.itemsize)
        return frame

    return check


def _decode_rle(
    frames: Mapping[int, bytes], shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """DICOM's run lengths (PS3.5, annex G): one segment for each byte of a voxel, the most significant first."""
    num_voxels, num_bytes = math.prod(shape[1:]), dtype.itemsize
    x_DHW = np.empty((len(frames), *shape[1:]), dtype.newbyteorder("<"))
    plane = np.empty(num_voxels, np.uint8)
    for x_HW, (index, frame) in zip(x_DHW, frames.items(), strict=True):
        bytes_nb = x_HW.reshape(-1).view(np.uint8).reshape(num_voxels, num_bytes)
        for byte, segment in enumerate(_rle_segments(index, frame, num_bytes)):
            if num_bytes == 1:
                _unpack(index, segment, bytes_nb[:, 0])
            else:
                _unpack(index, segment, plane)
                bytes_nb[:, num_bytes - 1 - byte] = plane
    return x_DHW


def _rle_segments(index: int, frame: bytes, num_bytes: int) -> list[memoryview]:
    if len(frame) < _RLE_HEADER.size:
        raise PixelError(f"B-scan {index} is cut off: {len(frame)} bytes")
    count, *offsets = _RLE_HEADER.unpack_from(frame)
    if count != num_bytes:
        raise PixelError(f"B-scan {index} has {count} run-length segments, the header says {num_bytes}")
    starts = [*offsets[:count], len(frame)]
    if starts[0] != _RLE_HEADER.size or starts != sorted(starts):
        raise PixelError(f"B-scan {index} has run-length segments at {starts[:-1]} of {len(frame)} bytes")
    return [memoryview(frame)[start:end] for start, end in itertools.pairwise(starts)]


def _unpack(index: int, segment: memoryview, out: NDArray[np.uint8]) -> None:
    """Fill `out` from a segment. Behind the last run there may be padding, of any value, and no more."""
    import imagecodecs

    unpack: Any = imagecodecs.packbits_decode
    for padding in range(_MAX_RLE_PADDING + 1):
        try:
            found = unpack(segment[: len(segment) - padding], out=out)
        except RuntimeError:
            continue
        if len(found) == out.size:
            return
    raise PixelError(
        f"B-scan {index} does not unpack to {out.size} voxels: it is cut off, or of another size"
    )


def _decode_fast(
    function: str, frames: Mapping[int, bytes], shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    import imagecodecs

    decode: Callable[[bytes], NDArray[Any]] = getattr(imagecodecs, function)
    x_DHW = np.empty((len(frames), *shape[1:]), dtype)
    for place, (index, frame) in enumerate(frames.items()):
        x_HW = decode(frame)
        if x_HW.shape != shape[1:] or x_HW.dtype.itemsize > dtype.itemsize:
            raise PixelError(
                f"B-scan {index} decodes to {x_HW.shape} {x_HW.dtype}, expected {shape[1:]} {dtype}"
            )
        if x_HW.dtype.kind == "i" and dtype.kind == "u":
            raise PixelError(f"B-scan {index} holds signed values, the header says unsigned")
        # An unsigned codestream under a signed header holds two's complement bits: same bits, other reading.
        x_DHW[place] = x_HW.astype(dtype, copy=False)
    return x_DHW


def _decode_by_plugin(dataset: FileDataset, frames: list[bytes]) -> NDArray[Any]:
    dataset.NumberOfFrames, dataset.PixelData = len(frames), encapsulate(frames)
    for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        dataset.pop(name, None)  # pydicom would look for these B-scans where the file had them
    syntax = uid.UID(dataset.file_meta.TransferSyntaxUID)
    x_DHW, _ = get_decoder(syntax).as_array(dataset, raw=True, decoding_plugin=_PLUGIN[syntax])
    return x_DHW


def _used_bits(x_DHW: NDArray[Any], bits_stored: int) -> NDArray[Any]:
    """Without the bits that the header leaves unused, which hold anything (PS3.5, 8.1.1), or the sign."""
    spare = 8 * x_DHW.dtype.itemsize - bits_stored
    return (x_DHW << spare) >> spare if spare else x_DHW


def _require_bits(x_DHW: NDArray[Any], bits_stored: int) -> None:
    """A codestream's own samples have no unused bits: a large one contradicts the header."""
    if x_DHW.dtype.kind == "u" and bits_stored < 8 * x_DHW.dtype.itemsize and x_DHW.max() >> bits_stored:
        raise PixelError(f"holds the value {x_DHW.max()}, the header says {bits_stored} bits stored")
