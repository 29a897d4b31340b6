"""Volumes from a real store through real DICOM files: in order, cached, quarantined by name."""

import errno
import io
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid

from octjob.data.cohort import Volume
from octjob.data.manifest import MANIFEST_KEY, read_manifest
from octjob.data.participants import Participant
from octjob.data.preprocess import preprocess, preprocess_digest
from octjob.data.quarantine import CorruptVolumeError, Quarantine
from octjob.data.stream import Breadth, load_volumes
from octjob.data.volumes import VolumeReader
from octjob.errors import AccessError, DataError
from octjob.storage.base import ObjectStore, Write
from octjob.storage.sealed import seal
from tests.doubles.aireadi_bucket import Bucket, make_dicom, speckle

SIZE = (4, 6, 5)


class CountingStore:
    """A store that counts reads and can refuse; everything else is the real one's."""

    def __init__(self, store: ObjectStore, refuse: str = "") -> None:
        self._store, self._refuse = store, refuse
        self._lock = threading.Lock()
        self.num_reads = 0

    def get(self, key: str) -> bytes:
        self._count(key)
        return self._store.get(key)

    def copy_range(self, key: str, start: int, length: int, write: Write) -> None:
        self._count(key)
        self._store.copy_range(key, start, length, write)

    def _count(self, key: str) -> None:
        with self._lock:
            self.num_reads += 1
        if self._refuse and self._refuse in key:
            raise AccessError(f"{self._store.uri(key)}: permission denied", "Ask for read access.")

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def volumes_of(store: ObjectStore) -> list[Volume]:
    return [
        Volume(record, Participant(record.participant, "UW", "healthy", 0, "train", True))
        for record in read_manifest(store, MANIFEST_KEY)
    ]


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    """Twelve participants, one readable volume each."""
    bucket = Bucket(tmp_path / "bucket")
    for i in range(12):
        bucket.person(str(1000 + i))
        bucket.volume(str(1000 + i), x_DHW=speckle(seed=i))
    return bucket


def expected(i: int, profile: str = "pretraining") -> np.ndarray:
    return preprocess(speckle(seed=i), profile, SIZE)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize("profile", ["pretraining", "seed_finetune"])
def test_volumes_come_in_order_preprocessed_by_profile(
    bucket: Bucket, num_workers: int, profile: str
) -> None:
    store = bucket.write()
    reader = VolumeReader(store, profile, SIZE, None)  # type: ignore[arg-type]
    volumes = volumes_of(store)[::-1]
    quarantine = Quarantine()
    loaded = list(load_volumes(reader, volumes, Breadth(4, num_workers), quarantine))
    assert [volume for volume, _ in loaded] == volumes
    for (_, x_DHW), i in zip(loaded, reversed(range(12)), strict=True):
        np.testing.assert_array_equal(x_DHW, expected(i, profile))
    assert len(quarantine) == 0


def test_a_second_pass_reads_the_cache_and_not_the_store(bucket: Bucket, tmp_path: Path) -> None:
    store = CountingStore(bucket.write())
    volumes = volumes_of(store)
    store.num_reads = 0
    reader = VolumeReader(store, "pretraining", SIZE, tmp_path / "cache")
    first = [x for _, x in load_volumes(reader, volumes, Breadth(4, 2), Quarantine())]
    assert store.num_reads == 12
    second = [x for _, x in load_volumes(reader, volumes, Breadth(4, 2), Quarantine())]
    assert store.num_reads == 12
    np.testing.assert_array_equal(np.stack(first), np.stack(second))
    folder = tmp_path / "cache" / "volumes" / preprocess_digest("pretraining", SIZE)
    uids = {v.record.sop_instance_uid for v in volumes}
    assert {path.name.partition("-")[0] for path in folder.iterdir()} == uids  # and no temporary file
    assert {path.suffix for path in folder.iterdir()} == {".npy"}
    VolumeReader(store, "seed_finetune", SIZE, tmp_path / "cache").read(volumes[0])
    assert store.num_reads == 13  # another profile never meets the old files


@pytest.mark.parametrize("damage", ["cut", "empty", "flip", "shape", "dtype", "pickle"])
def test_a_damaged_cache_file_is_made_again_with_a_log_line(
    bucket: Bucket, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = bucket.write()
    volume = volumes_of(store)[0]
    reader = VolumeReader(store, "pretraining", SIZE, tmp_path / "cache")
    whole = reader.read(volume)
    (path,) = (tmp_path / "cache").rglob("*.npy")
    content = path.read_bytes()
    if damage in ("cut", "empty"):
        path.write_bytes(content[: len(content) // 2 if damage == "cut" else 0])
    elif damage == "flip":
        # A mantissa's bit of the last voxel: nothing but the digest can tell.
        path.write_bytes(content[:-4] + bytes([content[-4] ^ 1]) + content[-3:])
    else:
        wrong = {"shape": whole[1:], "dtype": whole.astype("f8"), "pickle": np.array([None])}[damage]
        buffer = io.BytesIO()
        np.save(buffer, wrong, allow_pickle=True)
        path.write_bytes(seal(buffer.getvalue()))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(reader.read(volume), whole)
    assert str(path) in caplog.text
    assert path.read_bytes() == content


def test_unusable_volumes_are_quarantined_by_name_and_the_others_still_come(bucket: Bucket) -> None:
    store = bucket.write()
    volumes = volumes_of(store)
    keys = [v.record.key for v in volumes]
    store.put(keys[1], b"<html>error</html>")
    store.put(keys[3], store.get(keys[3])[:-300])
    store.delete(keys[5])
    store.put(keys[7], make_dicom(np.full((8, 12, 10), 9, "u1"), instance_uid=_uid(volumes[7])))
    store.put(keys[8], make_dicom(speckle(), instance_uid="1.9.9"))
    store.put(keys[9], make_dicom(speckle(), instance_uid=_uid(volumes[9]), laterality="L"))
    swapped = speckle().reshape(8, 10, 12)
    store.put(keys[10], make_dicom(swapped, instance_uid=_uid(volumes[10]), syntax=uid.RLELossless))
    quarantine = Quarantine()
    reader = VolumeReader(store, "pretraining", SIZE, None)
    loaded = [v for v, _ in load_volumes(reader, volumes, Breadth(4, 2), quarantine)]
    assert loaded == [volumes[i] for i in (0, 2, 4, 6, 11)]
    reasons = {entry.participant: entry.reason for entry in quarantine.entries}
    words = {
        "1001": "not a DICOM file",
        "1003": "bytes of pixel data",
        "1005": "missing object",
        "1007": "same value",
        "1008": "holds volume 1.9.9",
        "1009": "is of eye L, the manifest says R",
        "1010": "holds 8 x 10 x 12 voxels (B-scans x rows x columns), the manifest says 8 x 12 x 10",
    }
    assert reasons.keys() == words.keys()
    for participant, word in words.items():
        assert word in reasons[participant]
    assert {e.uri for e in quarantine.entries} == {store.uri(keys[i]) for i in (1, 3, 5, 7, 8, 9, 10)}


def _uid(volume: Volume) -> str:
    return volume.record.sop_instance_uid


def test_too_many_corrupt_volumes_are_an_error_that_names_them(bucket: Bucket) -> None:
    store = bucket.write()
    volumes = volumes_of(store)
    store.put(volumes[4].record.key, b"")
    quarantine = Quarantine()
    list(load_volumes(VolumeReader(store, "pretraining", SIZE, None), volumes, Breadth(4, 0), quarantine))
    quarantine.check(12, 0.1)
    with pytest.raises(DataError, match=r"1 of 12 volumes .* participant 1004: .*not a DICOM file"):
        quarantine.check(12, 0.05)


@pytest.mark.parametrize("num_workers", [0, 3])
def test_a_store_that_refuses_is_an_error_never_quarantine(bucket: Bucket, num_workers: int) -> None:
    store = CountingStore(bucket.write(), refuse="/1006/")
    quarantine = Quarantine()
    reader = VolumeReader(store, "pretraining", SIZE, None)
    with pytest.raises(AccessError, match="permission denied"):
        list(load_volumes(reader, volumes_of(store), Breadth(4, num_workers), quarantine))
    assert len(quarantine) == 0


def test_reading_ahead_is_bounded_and_stops_with_the_consumer(bucket: Bucket) -> None:
    store = CountingStore(bucket.write())
    taken: list[str] = []

    def watched() -> Iterator[Volume]:
        for volume in volumes_of(store):
            taken.append(volume.participant.id)
            yield volume

    reader = VolumeReader(store, "pretraining", SIZE, None)
    loading = load_volumes(reader, watched(), Breadth(1, 2), Quarantine())
    next(loading)
    assert len(taken) <= 6
    loading.close()
    assert len(taken) <= 6


def test_many_threads_share_one_reader_and_one_cache(bucket: Bucket, tmp_path: Path) -> None:
    store = bucket.write()
    reader = VolumeReader(store, "pretraining", SIZE, tmp_path / "cache")
    volumes = volumes_of(store) * 4
    quarantine = Quarantine()
    for (volume, x_DHW), asked in zip(
        load_volumes(reader, volumes, Breadth(4, 8), quarantine), volumes, strict=True
    ):
        assert volume == asked
        np.testing.assert_array_equal(x_DHW, expected(int(asked.participant.id) - 1000))
    assert len(quarantine) == 0


def test_a_cache_that_cannot_be_written_is_an_error_naming_it(bucket: Bucket, tmp_path: Path) -> None:
    store = bucket.write()
    (tmp_path / "cache").write_text("a file where the folder should be")
    reader = VolumeReader(store, "pretraining", SIZE, tmp_path / "cache")
    with pytest.raises(AccessError, match="cannot write the volume cache"):
        reader.read(volumes_of(store)[0])


def test_a_full_disk_is_done_without_a_cache(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = bucket.write()
    reader = VolumeReader(store, "pretraining", SIZE, tmp_path / "cache")
    volumes = volumes_of(store)

    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", refuse)
    for volume in volumes:
        np.testing.assert_array_equal(reader.read(volume), expected(int(volume.participant.id) - 1000))
    (said,) = (record.message for record in caplog.records)
    assert f"{tmp_path / 'cache'}" in said
    assert "No space left on device; going on without" in said
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_rescale_reaches_the_pretraining_profile(tmp_path: Path) -> None:
    def negative(ds: object) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = "-1", "255"  # type: ignore[attr-defined]

    bucket = Bucket(tmp_path).person("1001")
    bucket.volume("1001", data=make_dicom(speckle(), instance_uid="1.2.826.1", change=negative))
    store = bucket.write()
    x_DHW = VolumeReader(store, "pretraining", SIZE, None).read(volumes_of(store)[0])
    np.testing.assert_allclose(x_DHW, -expected(0), atol=1e-5)


def test_corrupt_volume_errors_survive_process_boundaries() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(CorruptVolumeError("file:///a.dcm", "cut off")))
    assert (error.uri, error.reason, error.exit_code) == ("file:///a.dcm", "cut off", 3)
