"""Volumes kept on disks and in a store: the same numbers from everywhere, and nothing stale, damaged or too much."""

import errno
import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from octjob.data.cohort import Volume
from octjob.data.disk_cache import DiskCache
from octjob.data.disk_room import DiskRoom
from octjob.data.quarantine import CorruptVolumeError
from octjob.data.volume_format import VolumeFormat
from octjob.data.volumes import VolumeReader
from octjob.spec.experiment import VolumeDtype
from octjob.storage.base import ObjectStore, StoreFullError
from tests.doubles.aireadi_bucket import Bucket, make_dicom, speckle
from tests.doubles.volume_reads import SIZE, bucket_of, read_all, volumes_of

FORMAT = VolumeFormat("pretraining", SIZE, "float16")
NUM_VOLUMES = 6


class Watched:
    """A store that counts its calls by name; everything is the real one's."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.calls: Counter[str] = Counter()
        self.lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name in ("get", "put", "list", "head", "exists", "delete"):
            with self.lock:
                self.calls[name] += 1
        return getattr(self.store, name)


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return bucket_of(tmp_path / "bucket", NUM_VOLUMES)


@pytest.fixture
def source(bucket: Bucket) -> Watched:
    return Watched(bucket.store)


@pytest.fixture
def volumes(bucket: Bucket) -> list[Volume]:
    return volumes_of(bucket)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_numbers_are_the_same_from_source_store_and_disk(
    source: Watched, volumes: list[Volume], any_store: ObjectStore, tmp_path: Path, dtype: VolumeDtype
) -> None:
    plain = read_all(VolumeReader(source, "pretraining", SIZE), volumes)
    source.calls.clear()
    first = VolumeReader(source, "pretraining", SIZE, tmp_path / "one", dtype=dtype, shared=any_store)
    made = read_all(first, volumes)
    assert source.calls == {"get": NUM_VOLUMES, "list": 1}, "one listing, and each file once"
    np.testing.assert_array_equal(made, plain.astype(dtype).astype("f4"))
    source.calls.clear()
    shared = Watched(any_store)
    other = VolumeReader(source, "pretraining", SIZE, tmp_path / "two", dtype=dtype, shared=shared)
    np.testing.assert_array_equal(read_all(other, volumes), made)
    assert source.calls == {"list": 1}, "another machine reads no file"
    assert shared.calls == {"get": NUM_VOLUMES}
    np.testing.assert_array_equal(read_all(other, volumes), made)
    assert shared.calls == {"get": NUM_VOLUMES}, "nor the store a second time"
    alone = VolumeReader(source, "pretraining", SIZE, None, dtype=dtype)
    np.testing.assert_array_equal(read_all(alone, volumes), made)


def test_whoever_fills_it_writes_the_same_objects_once(
    source: Watched, volumes: list[Volume], file_store: ObjectStore
) -> None:
    versions = []
    for _ in range(2):
        readers = [
            VolumeReader(source, "pretraining", SIZE, None, dtype="float16", shared=file_store)
            for _ in range(4)
        ]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda reader: read_all(reader, volumes), readers))
        for one in found:
            np.testing.assert_array_equal(one, found[0])
        versions.append({info.key: info.version for info in file_store.list()})
    assert len(versions[0]) == NUM_VOLUMES
    assert versions[0] == versions[1]
    assert all(key.startswith(f"volumes/{FORMAT.digest}/") for key in versions[0])


@pytest.mark.parametrize("what", ["flipped", "cut", "another format's", "emptied"])
def test_a_damaged_object_is_made_again(
    source: Watched,
    volumes: list[Volume],
    any_store: ObjectStore,
    what: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def reader() -> VolumeReader:
        return VolumeReader(source, "pretraining", SIZE, None, dtype="float16", shared=any_store)

    whole = read_all(reader(), volumes)
    key = next(iter(any_store.list("volumes/"))).key
    data = any_store.get(key)
    spoilt = {
        "flipped": data[:-1] + bytes([data[-1] ^ 1]),
        "cut": data[:-7],
        "another format's": VolumeFormat("pretraining", SIZE).encode(whole[0]),
        "emptied": b"",
    }[what]
    any_store.put(key, spoilt)
    np.testing.assert_array_equal(read_all(reader(), volumes), whole)
    assert any_store.uri(key) in caplog.text
    assert any_store.get(key) == data
    source.calls.clear()
    read_all(reader(), volumes)
    assert source.calls["get"] == 0


def test_a_replaced_file_never_meets_what_was_kept_of_the_old_one(
    source: Watched, volumes: list[Volume], any_store: ObjectStore, tmp_path: Path
) -> None:
    """By a file of the same UID, size and all: only its version tells."""

    def reader() -> VolumeReader:
        return VolumeReader(
            source, "pretraining", SIZE, tmp_path / "cache", dtype="float16", shared=any_store
        )

    before = read_all(reader(), volumes)
    record = volumes[0].record
    data = make_dicom(speckle(seed=77), instance_uid=record.sop_instance_uid, patient=record.participant)
    assert len(data) == len(source.store.get(record.key))
    source.store.put(record.key, data)
    source.calls.clear()
    after = read_all(reader(), volumes)
    assert source.calls["get"] == 1
    np.testing.assert_array_equal(after[1:], before[1:])
    assert not np.array_equal(after[0], before[0])
    source.store.delete(record.key)
    with pytest.raises(CorruptVolumeError, match="missing object"):
        reader().read(volumes[0])


def test_a_data_set_copied_elsewhere_meets_its_cache_where_the_store_knows_checksums(
    bucket: Bucket, volumes: list[Volume], gcs_store: ObjectStore, file_store: ObjectStore
) -> None:
    from octjob.storage.gcs import GcsStore

    copies = [GcsStore(f"{gcs_store.root}/{name}") for name in ("one", "two")]
    for copy in copies:
        for info in bucket.store.list():
            copy.put(info.key, bucket.store.get(info.key))
    read_all(VolumeReader(copies[0], "pretraining", SIZE, shared=file_store), volumes)
    second = Watched(copies[1])
    read_all(VolumeReader(second, "pretraining", SIZE, shared=file_store), volumes)
    assert second.calls["get"] == 0


def test_a_full_store_is_done_without(
    source: Watched, volumes: list[Volume], file_store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(Watched):
        def put(self, key: str, data: bytes, **how: Any) -> str:
            raise StoreFullError(f"{self.store.uri(key)}: No space left on device")

    reader = VolumeReader(source, "pretraining", SIZE, shared=Full(file_store))
    np.testing.assert_array_equal(
        read_all(reader, volumes), read_all(VolumeReader(source, "pretraining", SIZE), volumes)
    )
    (said,) = (record.message for record in caplog.records)
    assert "going on without adding to the shared volume cache" in said


# The disk.


def body(i: int, size: int = 1000) -> bytes:
    return bytes([i]) * size


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def disk(tmp_path: Path) -> DiskCache:
    """With room for three files of 1,000 bytes."""
    return DiskCache(tmp_path / "cache", FORMAT, 3500)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """File systems tick coarsely: each use is a second later than the one before."""
    now = iter(range(1_000_000, 2_000_000))
    utime, replace = os.utime, os.replace

    def touch(path: Path) -> None:
        at = next(now)
        utime(path, (at, at))

    def rename(old: Path, new: Path) -> None:
        replace(old, new)
        touch(new)

    monkeypatch.setattr(os, "utime", touch)
    monkeypatch.setattr(os, "replace", rename)
    return


@pytest.mark.usefixtures("clock")
def test_what_was_not_used_for_longest_goes_first(disk: DiskCache, tmp_path: Path) -> None:
    for i in range(3):
        disk.put(f"{i}.npy", body(i))
    assert disk.get("0.npy") == body(0)
    disk.put("3.npy", body(3))
    assert names_in(tmp_path) == {"0.npy", "2.npy", "3.npy"}
    assert disk.get("1.npy") is None
    disk.put("4.npy", body(4, 2000))
    assert names_in(tmp_path) == {"3.npy", "4.npy"}


@pytest.mark.usefixtures("clock")
def test_the_limit_is_for_all_formats_and_processes(disk: DiskCache, tmp_path: Path) -> None:
    other = DiskCache(tmp_path / "cache", VolumeFormat("seed_finetune", SIZE), 3500)
    for i in range(6):
        (disk if i % 2 else other).put(f"{i}.npy", body(i))
    assert names_in(tmp_path) == {"3.npy", "4.npy", "5.npy"}
    assert disk.get("3.npy") == body(3)
    assert other.get("4.npy") == body(4)


def test_what_is_larger_than_the_limit_is_not_kept(
    disk: DiskCache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk.put("0.npy", body(0))
    disk.put("1.npy", body(1, 4000))
    assert names_in(tmp_path) == {"0.npy"}
    assert "more than `data.cache_limit_gib` allows; going on without" in caplog.text


def test_by_default_half_of_the_free_space_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = DiskCache(tmp_path / "cache", FORMAT)
    disk_size = 10_000

    def statvfs(path: Path) -> os.statvfs_result:
        used = sum(file.stat().st_size for file in tmp_path.rglob("*.npy"))
        return os.statvfs_result((1, 1, disk_size, disk_size, disk_size - used, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    for i in range(20):
        disk.put(f"{i}.npy", body(i))
        assert len(names_in(tmp_path)) <= 5
    assert len(names_in(tmp_path)) >= 4


@pytest.mark.usefixtures("clock")
def test_a_full_disk_is_a_reason_to_remove_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk has room for three, whatever the limit."""
    disk = DiskCache(tmp_path / "cache", FORMAT, 1_000_000)
    rename = os.replace

    def rename_while_there_is_room(old: Path, new: Path) -> None:
        if len(list(tmp_path.rglob("*.npy"))) >= 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename(old, new)

    monkeypatch.setattr(os, "replace", rename_while_there_is_room)
    for i in range(5):
        disk.put(f"{i}.npy", body(i))
        assert disk.get(f"{i}.npy") == body(i)
    assert names_in(tmp_path) == {"2.npy", "3.npy", "4.npy"}, "and no temporary file"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


FILL = """
import sys
from pathlib import Path
from octjob.data.disk_cache import DiskCache
from octjob.data.volume_format import VolumeFormat
first, folder = int(sys.argv[1]), Path(sys.argv[2])
disk = DiskCache(folder, VolumeFormat("pretraining", (4, 6, 5), "float16"), 20_500)
for round in range(150):
    i = (first + round * 7) % 40
    found = disk.get(f"{i}.npy")
    assert found in (None, bytes([i]) * 1000), i
    if found is None:
        disk.put(f"{i}.npy", bytes([i]) * 1000)
print("done")
"""


def test_processes_that_share_a_folder_see_whole_files_and_keep_the_limit(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FILL, str(13 * number), str(tmp_path / "cache")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    assert [process.communicate()[0] for process in processes] == ["done\n"] * 3
    held = sum(path.stat().st_size for path in tmp_path.rglob("*.npy"))
    # A process that looked while another was about to write does not see its file.
    assert held <= 20_500 + 2 * 1000
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_folders_are_looked_into_only_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = DiskRoom(tmp_path, 64_000_000)
    looks = []
    monkeypatch.setattr(DiskRoom, "_files", lambda self: looks.append(1) or iter(()))
    for _ in range(1000):
        assert room.make(10_000)
    assert len(looks) <= 11
