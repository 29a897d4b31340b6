"""Every decoder on a frame made for it: does this installation decode what it says it can?"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite, uid
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

from octjob.data.excerpt import Excerpt
from octjob.data.header import open_dicom
from octjob.data.pixels import SYNTAXES, PixelError, available_decoders, decode_pixels
from octjob.errors import DataError

_SIDE = 32
# Grey levels that a lossy codec may be off on a smooth frame.
_CLOSE = 6

Frame = NDArray[np.uint8]
Encode = Callable[[Frame], bytes]


def try_decoders() -> Iterator[tuple[str, str | None]]:
    """Each transfer syntax that octjob reads, with what is wrong with its decoder here, or None."""
    encoders = _encoders()
    frame_HW = np.add.outer(np.arange(_SIDE), 2 * np.arange(_SIDE)).astype(np.uint8)
    for syntax in SYNTAXES:
        if available_decoders()[syntax.name]:
            yield syntax.name, _fault(_dicom(syntax, frame_HW, encoders.get(syntax)), frame_HW)
        else:
            yield syntax.name, "not installed"


def _fault(data: bytes, frame_HW: Frame) -> str | None:
    try:
        found_DHW = decode_pixels(open_dicom(Excerpt.whole(data), "memory:trial"), 1, *frame_HW.shape)
    except (PixelError, DataError) as error:
        return str(error)
    off = int(np.abs(found_DHW[0].astype(int) - frame_HW).max())
    return None if off <= _CLOSE else f"off by {off} grey levels"


def _dicom(syntax: uid.UID, frame_HW: Frame, encode: Encode | None) -> bytes:
    """encode: None where the voxels are stored as they are, or run-length encoded."""
    dataset = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.OphthalmicTomographyImageStorage, "1.2.3"
    dataset.NumberOfFrames, (dataset.Rows, dataset.Columns) = 1, frame_HW.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = frame_HW.tobytes() if encode is None else encapsulate([encode(frame_HW)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == uid.RLELossless:
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.compress(uid.RLELossless, generate_instance_uid=False)
    elif encode is not None:
        dataset["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _encoders() -> dict[uid.UID, Encode]:
    import imagecodecs

    def bytes_of(name: str, **options: object) -> Encode:
        encode = getattr(imagecodecs, name)
        return lambda x_HW: bytes(encode(x_HW, **options))

    return {
        uid.JPEG2000Lossless: bytes_of("jpeg2k_encode", codecformat="j2k", reversible=True),
        uid.JPEG2000: bytes_of("jpeg2k_encode", codecformat="j2k", level=60),
        uid.JPEGLSLossless: bytes_of("jpegls_encode"),
        uid.JPEGLSNearLossless: bytes_of("jpegls_encode", level=2),
        uid.JPEGBaseline8Bit: bytes_of("jpeg8_encode", level=95),
        # Its process is the baseline's where there are eight bits.
        uid.JPEGExtended12Bit: bytes_of("jpeg8_encode", level=95),
        uid.JPEGLossless: bytes_of("ljpeg_encode"),
        uid.JPEGLosslessSV1: bytes_of("ljpeg_encode"),
        uid.HTJ2KLossless: bytes_of("htj2k_encode", reversible=True),
        uid.HTJ2KLosslessRPCL: bytes_of("htj2k_encode", reversible=True),
        uid.HTJ2K: bytes_of("htj2k_encode", reversible=False, level=0.001),
    }
