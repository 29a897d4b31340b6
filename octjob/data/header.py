"""What a DICOM header says about an OCT volume, pixels left alone."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO, Literal, TypeVar

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from octjob.data.excerpt import Excerpt
from octjob.data.quarantine import CorruptVolumeError

OPHTHALMIC_TOMOGRAPHY = "1.2.840.10008.5.1.4.1.1.77.1.5.4"

# The largest published volume is 512 x 992 x 512 voxels, 250 MiB. A file that says more than this is not read.
MAX_VOLUME_BYTES = 2**30
_MAX_HEADER_BYTES = 2**26
_PIXEL_DATA = 0x7FE00010
_MAX_UID = 64

# Everything pydicom and the decoders raise on files that are not what they claim, OSError for a short sequence
# included. Errors of the stores and our own are OctjobErrors and pass through.
READ_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)

SpacingSource = Literal["shared", "per-frame", "top-level", "none"]
Spacing = tuple[float, float, float]
AnyFile = TypeVar("AnyFile", bound=BinaryIO)


@dataclass(frozen=True)
class Header:
    """One volume's header. `spacing_mm` is (between B-scans, row = axial, column = lateral), None where the
    file does not give one for the whole volume; `laterality` L, R or '' where it gives none."""

    sop_instance_uid: str
    transfer_syntax: str
    participant: str
    manufacturer: str
    model: str
    protocol_name: str
    laterality: str
    num_frames: int
    rows: int
    columns: int
    slope: float
    intercept: float
    spacing_mm: Spacing | None
    spacing_source: SpacingSource


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A parsed file: `dataset` holds what comes before the pixel data, whose element begins at byte `header_end`.

    `excerpt` is the file, inflated where it is deflated.
    """

    dataset: FileDataset
    excerpt: Excerpt
    header_end: int

    @property
    def is_implicit_vr(self) -> bool:
        """Whether elements are written without their type."""
        return bool(self.dataset.original_encoding[0])

    @property
    def is_little_endian(self) -> bool:
        """Whether numbers are written with their lowest byte first."""
        return bool(self.dataset.original_encoding[1])


def read_header(source: bytes | BinaryIO, uri: str) -> Header:
    """Read up to the pixel data; a seekable file is read no further than needed.

    Raises `CorruptVolumeError` if it is not an Ophthalmic Tomography Image with a complete header.
    """
    file = BytesIO(source) if isinstance(source, bytes) else source
    try:
        dataset, _ = _open(file, uri, header_only=True)
        return parse_header(dataset, uri)
    except READ_ERRORS as error:
        raise CorruptVolumeError(uri, f"unreadable header: {reason_of(error)}") from error


def open_dicom(excerpt: Excerpt, uri: str) -> DicomFile:
    """Parse up to the pixel data; raises `CorruptVolumeError` if it is not DICOM or inflates without end, else
    whatever of READ_ERRORS the parser meets."""
    file = excerpt.open()
    dataset, plain = _open(file, uri, header_only=False)
    held = Excerpt.whole(plain.getvalue()) if isinstance(plain, BytesIO) else excerpt
    return DicomFile(dataset, held, plain.tell())


def reason_of(error: Exception) -> str:
    """One of READ_ERRORS in words."""
    if isinstance(error, MemoryError):
        return (
            f"asks for more memory than it may take ({error})" if str(error) else "asks for too much memory"
        )
    return str(error) or type(error).__name__


def _open(file: AnyFile, uri: str, *, header_only: bool) -> tuple[FileDataset, AnyFile | BytesIO]:
    """The header, and the file that is left where the pixel data begin: this one, or one of what it inflates to."""
    try:
        preamble = read_preamble(file, False)
    except InvalidDicomError as error:
        raise CorruptVolumeError(uri, "not a DICOM file") from error
    meta = FileMetaDataset(
        read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    )
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        file.seek(0)
        return pydicom.dcmread(file, stop_before_pixels=True), file
    # pydicom inflates whatever the file says; a file of 1 MB can say 1 GB.
    plain = BytesIO(_inflate(file.read(), uri, header_only=header_only))
    dataset = read_dataset(plain, False, True, stop_when=lambda tag, _vr, _length: tag >= _PIXEL_DATA)
    found = FileDataset(plain, dataset, preamble, meta, is_implicit_VR=False, is_little_endian=True)
    found.set_original_encoding(False, True)
    return found, plain


def _inflate(data: bytes, uri: str, *, header_only: bool) -> bytes:
    """All of it, or the beginning, which holds any header."""
    limit = _MAX_HEADER_BYTES + (0 if header_only else MAX_VOLUME_BYTES)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(data, limit)
    if not inflater.eof and not header_only:
        whole = "is cut off" if len(plain) < limit else f"inflates to more than {limit >> 20} MiB"
        raise CorruptVolumeError(uri, f"deflated data {whole}")
    return plain


def parse_header(dataset: FileDataset, uri: str) -> Header:
    """The header of a parsed file; raises `CorruptVolumeError` on another kind of object or a missing
    value."""
    sop_class = dataset.get("SOPClassUID")
    if sop_class is None:
        raise CorruptVolumeError(uri, "no SOP class: the header is cut off or not of an image")
    if sop_class != OPHTHALMIC_TOMOGRAPHY:
        raise CorruptVolumeError(
            uri, f"holds {sop_class.name} ({sop_class}), not Ophthalmic Tomography Image"
        )
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise CorruptVolumeError(uri, "no transfer syntax in the file meta information")
    if UID(syntax).name == syntax:  # pydicom has no name for it
        raise CorruptVolumeError(uri, f"its transfer syntax is {syntax!r}, which DICOM does not have")
    instance_uid = str(dataset.SOPInstanceUID)
    if len(instance_uid) > _MAX_UID:
        raise CorruptVolumeError(uri, f"its SOP instance UID has {len(instance_uid)} characters")
    counts = {}
    for name in ("NumberOfFrames", "Rows", "Columns"):
        value = dataset.get(name)
        if value is None or int(value) < 1:
            raise CorruptVolumeError(uri, f"{name} is {value or 'missing'}")
        counts[name] = int(value)
    slope, intercept = _rescale(dataset, uri)
    spacing, source = _spacing(dataset)
    return Header(
        sop_instance_uid=instance_uid,
        transfer_syntax=str(syntax),
        participant=str(dataset.get("PatientID") or ""),
        manufacturer=str(dataset.get("Manufacturer") or ""),
        model=str(dataset.get("ManufacturerModelName") or ""),
        protocol_name=str(dataset.get("ProtocolName") or ""),
        laterality=_laterality(dataset),
        num_frames=counts["NumberOfFrames"],
        rows=counts["Rows"],
        columns=counts["Columns"],
        slope=slope,
        intercept=intercept,
        spacing_mm=spacing,
        spacing_source=source,
    )


def _groups(dataset: Dataset, macro: str) -> tuple[list[Dataset], list[Dataset]]:
    """The items of one functional group macro: (shared, one per frame)."""

    def items(sequence: str) -> list[Dataset]:
        found = [group.get(macro) for group in dataset.get(sequence) or ()]
        return [item[0] for item in found if item]

    return items("SharedFunctionalGroupsSequence"), items("PerFrameFunctionalGroupsSequence")


def _rescale(dataset: Dataset, uri: str) -> tuple[float, float]:
    """(slope, intercept) of the whole volume; (1, 0) where the file has no modality transform."""
    shared, per_frame = _groups(dataset, "PixelValueTransformationSequence")
    holders = [dataset] if "RescaleSlope" in dataset or "RescaleIntercept" in dataset else shared or per_frame
    pairs = {(float(h.get("RescaleSlope", 1)), float(h.get("RescaleIntercept", 0))) for h in holders}
    if len(pairs) > 1:
        raise CorruptVolumeError(uri, "rescale slope and intercept differ between B-scans")
    slope, intercept = pairs.pop() if pairs else (1.0, 0.0)
    if not (abs(slope) < float("inf") and abs(intercept) < float("inf")) or slope == 0:
        raise CorruptVolumeError(uri, f"rescale slope {slope}, intercept {intercept}")
    return slope, intercept


def _spacing(dataset: Dataset) -> tuple[Spacing | None, SpacingSource]:
    """Shared groups first (AI-READI's raster protocols), then per-frame (only where all frames agree: the
    spokes of a radial scan do not), then top level. Nothing is made up."""
    shared, per_frame = _groups(dataset, "PixelMeasuresSequence")
    levels: tuple[tuple[SpacingSource, list[Dataset]], ...] = (
        ("shared", shared),
        ("per-frame", per_frame),
        ("top-level", [dataset]),
    )
    for source, holders in levels:
        found = {_measures(holder) for holder in holders}
        if found and found != {None}:
            return (found.pop(), source) if len(found) == 1 else (None, source)
    return None, "none"


def _measures(holder: Dataset) -> Spacing | None:
    thickness, spacing = holder.get("SliceThickness"), holder.get("PixelSpacing")
    if thickness is None or not spacing or len(spacing) != 2:
        return None
    return float(thickness), float(spacing[0]), float(spacing[1])


def _laterality(dataset: Dataset) -> str:
    shared, per_frame = _groups(dataset, "FrameAnatomySequence")
    values: list[Any] = [dataset.get("ImageLaterality"), dataset.get("Laterality")]
    values += [group.get("FrameLaterality") for group in (*shared, *per_frame)]
    return next((str(value) for value in values if value in ("L", "R")), "")
