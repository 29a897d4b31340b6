"""Small AI-READI buckets made by hand: real DICOM files in any transfer syntax, tables as published."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder

from octjob.data.manifest import MANIFEST_COLUMNS, MANIFEST_KEY
from octjob.spec.experiment import CLASS_NAMES
from octjob.storage.file import FileStore

OPT = "1.2.840.10008.5.1.4.1.1.77.1.5.4"

ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    uid.JPEG2000Lossless: lambda x: imagecodecs.jpeg2k_encode(x, codecformat="j2k", level=0, reversible=True),
    uid.JPEG2000: lambda x: imagecodecs.jpeg2k_encode(x, codecformat="j2k", level=0, reversible=True),
    uid.JPEGLSLossless: lambda x: imagecodecs.jpegls_encode(x.view(f"u{x.itemsize}")),
    uid.JPEGLSNearLossless: lambda x: imagecodecs.jpegls_encode(x.view(f"u{x.itemsize}"), level=0),
    uid.JPEGBaseline8Bit: lambda x: imagecodecs.jpeg8_encode(x, level=95),
    uid.JPEGLossless: lambda x: imagecodecs.ljpeg_encode(x),
    uid.JPEGLosslessSV1: lambda x: imagecodecs.ljpeg_encode(x),
    uid.HTJ2KLossless: lambda x: imagecodecs.htj2k_encode(x, reversible=True),
}


def make_dicom(
    x_DHW: np.ndarray,
    *,
    instance_uid: str = "1.2.3.4",
    syntax: str = uid.ExplicitVRLittleEndian,
    laterality: str = "R",
    patient: str = "1001",
    spacing: str = "shared",
    change: Callable[[FileDataset], None] | None = None,
) -> bytes:
    """An Ophthalmic Tomography Image of the voxels given. `change` may spoil the data set before it is written."""
    depth, height, width = x_DHW.shape
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.UID(syntax)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = uid.UID(OPT), uid.UID(instance_uid)
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientID, ds.Modality = OPT, instance_uid, patient, "OPT"
    ds.Manufacturer, ds.ManufacturerModelName, ds.ProtocolName = "Topcon", "Triton", "triton 3d radial oct"
    ds.ImageLaterality = laterality
    ds.NumberOfFrames, ds.Rows, ds.Columns = depth, height, width
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * x_DHW.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(x_DHW.dtype.kind == "i")
    _add_spacing(ds, spacing, depth)
    _add_pixels(ds, x_DHW, uid.UID(syntax))
    if change:
        change(ds)
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


def _add_pixels(ds: FileDataset, x_DHW: np.ndarray, syntax: uid.UID) -> None:
    if syntax in ENCODERS:
        ds.PixelData = encapsulate([ENCODERS[syntax](np.ascontiguousarray(x)) for x in x_DHW])
        ds["PixelData"].VR = "OB"
    elif syntax == uid.RLELossless:
        options: dict[str, Any] = {
            "rows": ds.Rows,
            "columns": ds.Columns,
            "samples_per_pixel": 1,
            "number_of_frames": 1,
            "bits_allocated": ds.BitsAllocated,
            "bits_stored": ds.BitsStored,
            "pixel_representation": ds.PixelRepresentation,
            "photometric_interpretation": "MONOCHROME2",
        }
        ds.PixelData = encapsulate([RLELosslessEncoder.encode(x.tobytes(), **options) for x in x_DHW])
        ds["PixelData"].VR = "OB"
    else:
        order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
        data = x_DHW.astype(x_DHW.dtype.newbyteorder(order)).tobytes()
        ds.PixelData = data + b"\0" * (len(data) % 2)
        ds["PixelData"].VR = "OB" if x_DHW.itemsize == 1 else "OW"


def _add_spacing(ds: Dataset, where: str, depth: int) -> None:
    def measures(thickness: float) -> Dataset:
        item = Dataset()
        item.PixelSpacing, item.SliceThickness = [0.004, 0.012], thickness
        group = Dataset()
        group.PixelMeasuresSequence = [item]
        return group

    if where == "shared":
        ds.SharedFunctionalGroupsSequence = [measures(0.05)]
    elif where == "per-frame":
        ds.PerFrameFunctionalGroupsSequence = [measures(0.05) for _ in range(depth)]
    elif where == "per-frame differing":
        ds.PerFrameFunctionalGroupsSequence = [measures(0.05 + i) for i in range(depth)]
    elif where == "top-level":
        ds.PixelSpacing, ds.SliceThickness = [0.004, 0.012], 0.05


@dataclass
class Bucket:
    """A data set under a directory. Add rows and volumes, then `write` the tables."""

    root: Path
    id_column: str = "participant_id"
    people: list[dict[str, str]] = field(default_factory=list)
    volumes: list[dict[str, str]] = field(default_factory=list)

    @property
    def store(self) -> FileStore:
        return FileStore(self.root.as_uri())

    def person(
        self,
        identity: str,
        label: int = 0,
        split: str = "train",
        site: str = "UW",
        has_oct: bool = True,
        age: str = "60",
    ) -> Bucket:
        row = {
            self.id_column: identity,
            "clinical_site": site,
            "study_group": CLASS_NAMES[label],
            "age": age,
            "recommended_split": split,
            "retinal_oct": str(has_oct).upper(),
        }
        self.people.append(row)
        return self

    def volume(
        self,
        identity: str,
        *,
        protocol: str = "triton_macula_6x6_octa",
        device: str = "topcon_triton",
        region: str = "Macula, 6 x 6",
        eye: str = "R",
        data: bytes | None = None,
        x_DHW: np.ndarray | None = None,
        **columns: str,
    ) -> str:
        """Add a row (and its object, unless neither `data` nor `x_DHW` is given); returns the UID."""
        number = f"1.2.826.{len(self.volumes) + 1}"
        key = f"retinal_oct/structural_oct/{device}/{identity}/{identity}_{protocol}_oct_{eye.lower()}_{number}.dcm"
        row = dict.fromkeys(MANIFEST_COLUMNS[1:], "Not reported") | {
            self.id_column: identity,
            "manufacturer": device.split("_")[0].title(),
            "manufacturers_model_name": device.split("_")[1].title(),
            "anatomic_region": region,
            "imaging": "OCT",
            "laterality": eye,
            "height": "12",
            "width": "10",
            "number_of_frames": "8",
            "sop_instance_uid": number,
            "filepath": f"/{key}",
        }
        self.volumes.append(row | columns)
        if x_DHW is not None:
            data = make_dicom(x_DHW, instance_uid=number, laterality=eye, patient=identity)
        if data is not None:
            self.store.put(key, data)
        return number

    def write(self, manifest: bool = True) -> FileStore:
        self.store.put("participants.tsv", tsv(self.people))
        if manifest:
            self.store.put(MANIFEST_KEY, tsv(self.volumes))
        return self.store


def tsv(rows: Iterable[dict[str, str]]) -> bytes:
    rows = list(rows)
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def speckle(shape: tuple[int, int, int] = (8, 12, 10), dtype: str = "u1", seed: int = 0) -> np.ndarray:
    """Random voxels over the whole range of the type."""
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
