"""Synthetic volumes as Ophthalmic Tomography DICOM files, laid out as AI-READI lays them out.

Every file says in its header that it is synthetic. Raster volumes carry their pixel measures once, in the shared
functional groups; the radial protocol carries them per frame, as in AI-READI. Frame-level content and position
groups, which AI-READI's readers do not use, are left out.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from dataclasses import dataclass

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    OphthalmicTomographyImageStorage,
    RLELossless,
)

from octjob.data.synthesize.cohort import Laterality, Participant
from octjob.data.synthesize.protocols import Protocol
from octjob.data.synthesize.recipe import TransferSyntax
from octjob.data.synthesize.scan import Volume

EN_FACE_SOP_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.5.7"


@dataclass(frozen=True)
class VolumeIdentity:
    """Whose volume it is, what it was taken with and what it is called."""

    participant: Participant
    protocol: Protocol
    laterality: Laterality
    sop_instance_uid: str

    @property
    def key(self) -> str:
        """The object's key; the manifest says it with a leading slash."""
        person = self.participant.participant_id
        name = f"{person}_{self.protocol.name}_oct_{self.laterality.lower()}_{self.sop_instance_uid}.dcm"
        return f"retinal_oct/structural_oct/{self.protocol.device}/{person}/{name}"


def derived_uid(*parts: object) -> str:
    """A UID below 2.25 (a UUID as an integer) that depends on `parts` alone."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"


def spacing_mm(protocol: Protocol, shape: tuple[int, int, int]) -> tuple[float, float, float]:
    """(between B-scans, axial, lateral) of a volume of `shape` (D, H, W) that covers the whole field of view."""
    depth, rows, columns = shape
    return protocol.height_mm / depth, protocol.depth_mm / rows, protocol.width_mm / columns


def encode_volume(
    identity: VolumeIdentity,
    volume_DHW: Volume,
    syntax: TransferSyntax,
) -> bytes:
    """A complete DICOM file of the uint8 volume (D, H, W) in the transfer syntax asked for."""
    dataset = _dataset(identity, volume_DHW)
    if syntax == "rle":
        dataset.compress(RLELossless, generate_instance_uid=False)
    elif syntax != "explicit_le":
        _compress(dataset, volume_DHW, syntax)
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _compress(dataset: FileDataset, volume_DHW: Volume, syntax: TransferSyntax) -> None:
    # Not pydicom's `compress`: its JPEG 2000 encoder crashes in threads, its JPEG-LS one is another dependency.
    import imagecodecs

    if syntax == "jpeg_ls":
        frames = [bytes(imagecodecs.jpegls_encode(frame_HW)) for frame_HW in volume_DHW]
        uid = JPEGLSLossless
    else:
        frames = [
            bytes(imagecodecs.jpeg2k_encode(frame_HW, reversible=True, codecformat="j2k"))
            for frame_HW in volume_DHW
        ]
        uid = JPEG2000Lossless
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = uid


def _dataset(identity: VolumeIdentity, volume_DHW: Volume) -> FileDataset:
    person, protocol, uid = identity.participant, identity.protocol, identity.sop_instance_uid
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = OphthalmicTomographyImageStorage
    meta.MediaStorageSOPInstanceUID = UID(uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    date = person.visit_date.replace("-", "")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.SOPClassUID, ds.SOPInstanceUID = str(OphthalmicTomographyImageStorage), uid
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = date
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = "120000"
    ds.AcquisitionDateTime = f"{date}120000"
    ds.AccessionNumber = ds.ReferringPhysicianName = ds.PatientBirthDate = ""
    ds.Modality = "OPT"
    ds.Manufacturer, ds.ManufacturerModelName = protocol.manufacturer, protocol.model
    ds.DeviceSerialNumber = ds.SoftwareVersions = "synthetic"
    ds.StudyDescription = "octjob synthetic phantom, no patient"
    ds.PatientName = ds.PatientID = str(person.participant_id)
    ds.PatientSex = "M"  # of everybody, as in AI-READI: the mark of its de-identification
    ds.ProtocolName = protocol.name
    ds.StudyInstanceUID = derived_uid(uid, "study")
    ds.SeriesInstanceUID = derived_uid(uid, "series")
    ds.FrameOfReferenceUID = derived_uid(uid, "frame of reference")
    ds.PositionReferenceIndicator = ds.StudyID = ""
    ds.SeriesNumber = ds.InstanceNumber = ds.AcquisitionNumber = 1
    ds.ImageLaterality = identity.laterality
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.NumberOfFrames, ds.Rows, ds.Columns = volume_DHW.shape
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    ds.PresentationLUTShape = "IDENTITY"
    _add_functional_groups(ds, identity, volume_DHW.shape)
    pixels = volume_DHW.tobytes()
    ds.add_new("PixelData", "OB", pixels + b"\0" * (len(pixels) % 2))
    return ds


def _add_functional_groups(ds: Dataset, identity: VolumeIdentity, shape: tuple[int, ...]) -> None:
    anatomy = Dataset()
    anatomy.FrameLaterality = identity.laterality
    anatomy.AnatomicRegionSequence = Sequence([_code("T-AA610", "SRT", "Retina")])
    shared = Dataset()
    shared.FrameAnatomySequence = Sequence([anatomy])
    depth, rows, columns = shape
    between, axial, lateral = spacing_mm(identity.protocol, (depth, rows, columns))
    if identity.protocol.radial:
        # Circles scanned at another radius than the spokes: the lateral spacing varies by frame.
        ds.PerFrameFunctionalGroupsSequence = Sequence(
            [_measures(axial, lateral * (1 + 0.01 * (i % 3)), None) for i in range(depth)]
        )
    else:
        shared.PixelMeasuresSequence = _measures(axial, lateral, between).PixelMeasuresSequence
    ds.SharedFunctionalGroupsSequence = Sequence([shared])


def _measures(axial: float, lateral: float, between: float | None) -> Dataset:
    measures = Dataset()
    measures.PixelSpacing = [f"{axial:.8f}", f"{lateral:.8f}"]
    if between is not None:
        measures.SliceThickness = f"{between:.8f}"
    group = Dataset()
    group.PixelMeasuresSequence = Sequence([measures])
    return group


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
