"""A bucket without a manifest gets one, from headers alone, with every unreadable file named."""

import threading
from pathlib import Path

import pytest
from pydicom import uid

from octjob.data.index import build_index
from octjob.data.manifest import MANIFEST_COLUMNS, MANIFEST_KEY, read_manifest
from octjob.errors import DataError
from octjob.storage.base import AlreadyExistsError
from octjob.storage.file import FileStore
from tests.doubles.aireadi_bucket import Bucket, make_dicom, speckle


class RangeCounter:
    """A store that counts the bytes read; whole reads are refused."""

    def __init__(self, store: FileStore) -> None:
        self._store, self._lock, self.num_bytes = store, threading.Lock(), 0

    def get_range(self, key: str, start: int, length: int) -> bytes:
        data = self._store.get_range(key, start, length)
        with self._lock:
            self.num_bytes += len(data)
        return data

    def get(self, key: str) -> bytes:
        raise AssertionError(f"{key} was read whole")

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    """Three sites, two devices, both eyes; several transfer syntaxes; no manifest."""
    bucket = Bucket(tmp_path)
    syntaxes = [
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.JPEG2000Lossless,
        uid.RLELossless,
    ]
    scans = (
        ("topcon_triton", "triton_macula_6x6_octa", "Macula, 6 x 6", "R"),
        ("zeiss_cirrus", "cirrus_disc_oct", "Optic Disc", "L"),
    )
    for i, identity in enumerate(("1001", "4001", "7001")):
        bucket.person(identity)
        for device, protocol, region, eye in scans:
            number = f"1.2.826.{len(bucket.volumes) + 1}"
            data = make_dicom(
                speckle(),
                instance_uid=number,
                laterality=eye,
                patient=identity,
                syntax=syntaxes[(i + len(protocol)) % 4],
                change=lambda ds, name=protocol: setattr(ds, "ProtocolName", name.replace("_", " ")),
            )
            bucket.volume(identity, protocol=protocol, device=device, region=region, eye=eye, data=data)
    return bucket


def test_the_index_equals_the_published_manifest(bucket: Bucket, tmp_path: Path) -> None:
    store = bucket.write(manifest=False)
    seen: list[tuple[int, int]] = []
    report = build_index(store, num_workers=3, progress=lambda done, total: seen.append((done, total)))
    assert (report.num_volumes, dict(report.unreadable)) == (6, {})
    assert report.volumes_per_device == {"topcon_triton": 3, "zeiss_cirrus": 3}
    assert seen == [(i, 6) for i in range(1, 7)]
    text = store.get(MANIFEST_KEY).decode()
    assert tuple(text.splitlines()[0].split("\t")) == MANIFEST_COLUMNS
    assert len(MANIFEST_COLUMNS) == 15
    assert "[0.004, 0.012]\t0.05\t" in text

    published = Bucket(tmp_path / "published", people=bucket.people, volumes=bucket.volumes)
    same = (
        "participant",
        "device",
        "region",
        "laterality",
        "height",
        "width",
        "num_frames",
        "key",
        "protocol",
    )
    indexed = {r.sop_instance_uid: r for r in read_manifest(store)}
    for record in read_manifest(published.write()):
        for field in same:
            assert getattr(indexed[record.sop_instance_uid], field) == getattr(record, field)


def test_headers_are_read_in_ranges_and_pixels_are_not(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path).person("1001")
    for eye in "LR":
        bucket.volume("1001", eye=eye, x_DHW=speckle((40, 400, 300)))
    store = RangeCounter(bucket.write(manifest=False))
    assert build_index(store, num_workers=2).num_volumes == 2
    assert store.num_bytes < 0.1 * 2 * 40 * 400 * 300


def test_files_that_cannot_be_read_are_reported_and_the_others_indexed(bucket: Bucket) -> None:
    store = bucket.write(manifest=False)
    folder = "retinal_oct/structural_oct/topcon_triton/9001/"
    enface = make_dicom(
        speckle(), change=lambda ds: setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.77.1.5.7")
    )
    store.put(folder + "html.dcm", b"<html></html>")
    store.put(folder + "enface.dcm", enface)
    store.put(folder + "cut.dcm", make_dicom(speckle())[:500])
    store.put(folder + "noeye.dcm", make_dicom(speckle(), laterality="", instance_uid="1.7"))
    store.put(folder + "notes.txt", b"hello")
    report = build_index(store, num_workers=2)
    assert report.num_volumes == 6
    reasons = {key.rsplit("/", 1)[1]: reason for key, reason in report.unreadable.items()}
    assert reasons.keys() == {"html.dcm", "enface.dcm", "cut.dcm", "noeye.dcm"}
    assert reasons["html.dcm"] == "not a DICOM file"
    assert "not Ophthalmic Tomography Image" in reasons["enface.dcm"]
    assert reasons["noeye.dcm"] == "no laterality in the header"
    assert report.not_dicom == (folder + "notes.txt",)


def test_a_protocol_that_is_not_published_gets_no_made_up_region(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path).person("1001")
    data = make_dicom(
        speckle(), instance_uid="1.2.826.1", change=lambda ds: setattr(ds, "ProtocolName", "new")
    )
    bucket.volume("1001", protocol="new_scan", data=data)
    report = build_index(bucket.write(manifest=False), num_workers=1)
    assert report.unknown_region == (bucket.volumes[0]["filepath"].lstrip("/"),)


def test_a_manifest_that_is_there_is_never_overwritten(bucket: Bucket) -> None:
    store = bucket.write()
    before = store.get(MANIFEST_KEY)
    with pytest.raises(AlreadyExistsError, match=r"manifest\.tsv"):
        build_index(store, num_workers=1)
    assert store.get(MANIFEST_KEY) == before


def test_nothing_to_index_is_an_error(tmp_path: Path) -> None:
    store = Bucket(tmp_path).person("1001").write(manifest=False)
    with pytest.raises(DataError, match="no DICOM files"):
        build_index(store)
    store.put("retinal_oct/structural_oct/zeiss_cirrus/1/a.dcm", b"nothing")
    with pytest.raises(DataError, match="none of 1 files could be read"):
        build_index(store)


def test_the_same_volume_under_two_names_is_an_error(bucket: Bucket) -> None:
    store = bucket.write(manifest=False)
    key = bucket.volumes[0]["filepath"].lstrip("/")
    store.put(key.replace(".dcm", "_copy.dcm"), store.get(key))
    with pytest.raises(DataError, match="hold the same volume"):
        build_index(store)
