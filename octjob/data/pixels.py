"""From DICOM pixel data to voxels: one named decoder per transfer syntax, and every frame accounted for.

Legend: x_DHW stored values, B-scans x rows x columns.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import math
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder

from octjob.data.codestream import CodestreamError, read_codestream
from octjob.errors import DataError

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
_NATIVE = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
SYNTAXES = (*_NATIVE, *_FAST, *_PLUGIN)
_RLE_HEADER = struct.Struct("<16I")
_MAX_RLE_PADDING = 2


class PixelError(ValueError):
    """Why the pixel data is not what the header says."""


@functools.cache
def available_decoders() -> Mapping[str, bool]:
    """Transfer syntax name to whether this installation can decode it."""
    fast = importlib.util.find_spec("imagecodecs") is not None
    decoders = {syntax.name: True for syntax in _NATIVE}
    decoders |= {syntax.name: fast for syntax in _FAST}
    decoders |= {s.name: plugin in get_decoder(s).available_plugins for s, plugin in _PLUGIN.items()}
    return MappingProxyType(decoders)


def decode_pixels(dataset: FileDataset, num_frames: int, rows: int, columns: int) -> NDArray[Any]:
    """x_DHW of the stored type, native byte order: uint8, int8, uint16 or int16.

    Raises `PixelError` if the data is not exactly `num_frames` whole frames of one grey channel, `DataError`
    if no decoder for the transfer syntax is installed.
    """
    syntax = uid.UID(dataset.file_meta.TransferSyntaxUID)
    dtype = _stored_type(dataset)
    if not available_decoders().get(syntax.name, False):
        raise DataError(
            f"no decoder for transfer syntax {syntax.name} ({syntax})",
            "Install octjob[train], which brings the decoders.",
        )
    if "PixelData" not in dataset:
        raise PixelError("no pixel data: the file is cut off or holds none")
    shape = num_frames, rows, columns
    if syntax in _NATIVE:
        x_DHW = _decode_native(dataset, shape, dtype)
    elif syntax == uid.RLELossless:
        x_DHW = _decode_rle(_frames(dataset, num_frames), shape, dtype)
        x_DHW = _used_bits(x_DHW, int(dataset.BitsStored))
    else:
        frames = [_codestream(i, frame, shape, dtype) for i, frame in enumerate(_frames(dataset, num_frames))]
        if syntax in _FAST:
            x_DHW = _decode_fast(_FAST[syntax], frames, shape, dtype)
            _require_bits(x_DHW, int(dataset.BitsStored))
            x_DHW = _used_bits(x_DHW, int(dataset.BitsStored))
        else:
            dataset.PixelData = encapsulate(frames)
            x_DHW, _ = get_decoder(syntax).as_array(dataset, raw=True, decoding_plugin=_PLUGIN[syntax])
    x_DHW = x_DHW.reshape(shape) if num_frames == 1 else x_DHW
    if x_DHW.shape != shape:
        raise PixelError(f"decoded to {x_DHW.shape}, the header says {shape}")
    return np.ascontiguousarray(x_DHW, dtype=dtype)


def _stored_type(dataset: FileDataset) -> np.dtype[Any]:
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


def _decode_native(dataset: FileDataset, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    expected, found = math.prod(shape) * dtype.itemsize, len(dataset.PixelData)
    if found not in (expected, expected + expected % 2):
        raise PixelError(f"{found} bytes of pixel data, expected {expected} for {shape[0]} B-scans")
    x_DHW, _ = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset, raw=True)
    return x_DHW


def _frames(dataset: FileDataset, num_frames: int) -> list[bytes]:
    """The compressed B-scans; as many as the header says."""
    frames = list(generate_frames(dataset.PixelData, number_of_frames=num_frames))
    if len(frames) != num_frames:
        raise PixelError(f"{len(frames)} compressed B-scans, the header says {num_frames}")
    return frames


def _codestream(index: int, frame: bytes, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> bytes:
    """One B-scan's codestream without the padding behind it, if it says of itself what the header says of it.

    A decoder makes room for what the codestream says: 24 bytes of it can ask for gigabytes.
    """
    try:
        found = read_codestream(frame)
    except CodestreamError as error:
        raise PixelError(f"B-scan {index} {error}") from error
    if (found.rows, found.columns) != shape[1:]:
        raise PixelError(
            f"B-scan {index} is {found.rows} x {found.columns} in its codestream, {shape[1]} x {shape[2]} (rows x "
            "columns) in the header"
        )
    if found.components != 1 or found.precision > 8 * dtype.itemsize:
        raise PixelError(
            f"B-scan {index} has {found.components} samples of {found.precision} bits per voxel in its codestream, "
            f"the header says 1 of {8 * dtype.itemsize}"
        )
    return frame[: found.size]


def _decode_rle(frames: list[bytes], shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """DICOM's run lengths (PS3.5, annex G): one segment for each byte of a voxel, the most significant first."""
    x_DHW = np.zeros(shape, dtype.newbyteorder("<").str.replace("i", "u"))
    for index, frame in enumerate(frames):
        for byte, segment in enumerate(_rle_segments(index, frame, dtype.itemsize)):
            plane = _unpacked(index, segment, shape[1] * shape[2])
            x_DHW[index] |= plane.reshape(shape[1:]).astype(x_DHW.dtype) << 8 * (dtype.itemsize - 1 - byte)
    return x_DHW.view(dtype)


def _rle_segments(index: int, frame: bytes, num_bytes: int) -> list[bytes]:
    if len(frame) < _RLE_HEADER.size:
        raise PixelError(f"B-scan {index} is cut off: {len(frame)} bytes")
    count, *offsets = _RLE_HEADER.unpack_from(frame)
    if count != num_bytes:
        raise PixelError(f"B-scan {index} has {count} run-length segments, the header says {num_bytes}")
    starts = [*offsets[:count], len(frame)]
    if starts[0] != _RLE_HEADER.size or starts != sorted(starts):
        raise PixelError(f"B-scan {index} has run-length segments at {starts[:-1]} of {len(frame)} bytes")
    return [frame[start:end] for start, end in itertools.pairwise(starts)]


def _unpacked(index: int, segment: bytes, size: int) -> NDArray[np.uint8]:
    """`size` bytes out of a segment. Behind the last run there may be padding, of any value, and no more."""
    import imagecodecs

    for padding in range(_MAX_RLE_PADDING + 1):
        try:
            found = imagecodecs.packbits_decode(segment[: len(segment) - padding], out=size)
        except RuntimeError:
            continue
        if len(found) == size:
            return np.frombuffer(found, np.uint8)
    raise PixelError(f"B-scan {index} does not unpack to {size} voxels: it is cut off, or of another size")


def _decode_fast(
    function: str, frames: list[bytes], shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    import imagecodecs

    decode: Callable[[bytes], NDArray[Any]] = getattr(imagecodecs, function)
    x_DHW = np.empty(shape, dtype)
    for index, frame in enumerate(frames):
        x_HW = decode(frame)
        if x_HW.shape != shape[1:] or x_HW.dtype.itemsize > dtype.itemsize:
            raise PixelError(
                f"B-scan {index} decodes to {x_HW.shape} {x_HW.dtype}, expected {shape[1:]} {dtype}"
            )
        if x_HW.dtype.kind == "i" and dtype.kind == "u":
            raise PixelError(f"B-scan {index} holds signed values, the header says unsigned")
        # An unsigned codestream under a signed header holds two's complement bits: same bits, other reading.
        x_DHW[index] = x_HW.astype(dtype, copy=False)
    return x_DHW


def _used_bits(x_DHW: NDArray[Any], bits_stored: int) -> NDArray[Any]:
    """Without the bits that the header leaves unused, which hold anything (PS3.5, 8.1.1), or the sign."""
    spare = 8 * x_DHW.dtype.itemsize - bits_stored
    return (x_DHW << spare) >> spare if spare else x_DHW


def _require_bits(x_DHW: NDArray[Any], bits_stored: int) -> None:
    """A codestream's own samples have no unused bits: a large one contradicts the header."""
    if x_DHW.dtype.kind == "u" and bits_stored < 8 * x_DHW.dtype.itemsize and x_DHW.max() >> bits_stored:
        raise PixelError(f"holds the value {x_DHW.max()}, the header says {bits_stored} bits stored")
