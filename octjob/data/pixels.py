"""From DICOM pixel data to voxels: one named decoder per transfer syntax, and every frame accounted for.

Legend: x_DHW stored values, B-scans x rows x columns.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder

from octjob.errors import DataError

# imagecodecs is 2-5 times faster than pydicom's plugins here, releases the GIL, and refuses cut-off
# codestreams.
_FAST = {
    uid.JPEG2000Lossless: "jpeg2k_decode",
    uid.JPEG2000: "jpeg2k_decode",
    uid.JPEGLSLossless: "jpegls_decode",
    uid.JPEGLSNearLossless: "jpegls_decode",
}
_PLUGIN = {
    uid.JPEGBaseline8Bit: "pylibjpeg",
    uid.JPEGExtended12Bit: "pylibjpeg",
    uid.JPEGLossless: "pylibjpeg",
    uid.JPEGLosslessSV1: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
    uid.RLELossless: "pylibjpeg",
}
_NATIVE = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
_END_OF_CODESTREAM = b"\xff\xd9"


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
            "Install octjob[train]; `octjob doctor` lists the decoders found.",
        )
    if "PixelData" not in dataset:
        raise PixelError("no pixel data: the file is cut off or holds none")
    if syntax in _NATIVE:
        expected, found = num_frames * rows * columns * dtype.itemsize, len(dataset.PixelData)
        if found not in (expected, expected + expected % 2):
            raise PixelError(f"{found} bytes of pixel data, expected {expected} for {num_frames} B-scans")
        x_DHW, _ = get_decoder(syntax).as_array(dataset, raw=True)
    else:
        frames = _frames(dataset, num_frames, syntax)
        if syntax in _FAST:
            x_DHW = _decode_fast(_FAST[syntax], frames, (num_frames, rows, columns), dtype)
            x_DHW = _sign_extended(x_DHW, int(dataset.BitsStored))
        else:
            x_DHW, _ = get_decoder(syntax).as_array(dataset, raw=True, decoding_plugin=_PLUGIN[syntax])
    x_DHW = x_DHW.reshape((num_frames, rows, columns)) if num_frames == 1 else x_DHW
    if x_DHW.shape != (num_frames, rows, columns):
        raise PixelError(f"decoded to {x_DHW.shape}, expected {(num_frames, rows, columns)}")
    return np.ascontiguousarray(x_DHW, dtype=dtype)


def _stored_type(dataset: FileDataset) -> np.dtype[Any]:
    if int(dataset.SamplesPerPixel) != 1 or dataset.PhotometricInterpretation != "MONOCHROME2":
        raise PixelError(
            f"{dataset.SamplesPerPixel} samples per voxel, {dataset.PhotometricInterpretation}; "
            "expected 1, MONOCHROME2"
        )
    bits = int(dataset.BitsAllocated)
    if bits not in (8, 16):
        raise PixelError(f"{bits} bits allocated; expected 8 or 16")
    return np.dtype(f"{'i' if int(dataset.PixelRepresentation) else 'u'}{bits // 8}")


def _frames(dataset: FileDataset, num_frames: int, syntax: uid.UID) -> list[bytes]:
    """The compressed B-scans; as many as the header says, each whole."""
    frames = list(generate_frames(dataset.PixelData, number_of_frames=num_frames))
    if len(frames) != num_frames:
        raise PixelError(f"{len(frames)} compressed B-scans, the header says {num_frames}")
    if syntax != uid.RLELossless:
        for index, frame in enumerate(frames):
            if not frame.rstrip(b"\x00").endswith(_END_OF_CODESTREAM):
                raise PixelError(f"B-scan {index} is cut off: its codestream has no end marker")
    return frames


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


def _sign_extended(x_DHW: NDArray[Any], bits_stored: int) -> NDArray[Any]:
    spare = 8 * x_DHW.dtype.itemsize - bits_stored
    if x_DHW.dtype.kind == "u" or spare <= 0:
        return x_DHW
    return (x_DHW << spare) >> spare
