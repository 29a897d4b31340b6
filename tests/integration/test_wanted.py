"""Parts of an object in place of the whole: fewer bytes, the same input, nothing mixed of two objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid

from octjob.data import extents
from octjob.data.cohort import Volume
from octjob.data.manifest import VolumeRecord
from octjob.data.participants import Participant
from octjob.data.preprocess import preprocess
from octjob.data.quarantine import Quarantine
from octjob.data.stream import Breadth, load_volumes
from octjob.data.volumes import VolumeReader
from octjob.data.wanted import wanted_of
from octjob.storage.base import ObjectStore, Write
from octjob.storage.file import FileStore
from tests.doubles.aireadi_bucket import make_dicom, speckle

SHAPE, SIZE = (64, 20, 18), (8, 12, 16)
KEY = "retinal_oct/a.dcm"
HEAD_BYTES = 2000
VOLUME = Volume(
    VolumeRecord("1", "", "", "", "", "", "R", SHAPE[1], SHAPE[2], SHAPE[0], "1.2.3.4", KEY, ""),
    Participant("1", "UW", "", 0, "train", has_oct=True),
)


class Counted:
    """A store that counts the bytes that are read; what may happen after the first part is up to the test."""

    def __init__(self, store: ObjectStore, after_head: Callable[[], object] = lambda: None) -> None:
        self._store, self._after_head = store, after_head
        self.num_bytes = 0

    def get(self, key: str) -> bytes:
        data = self._store.get(key)
        self.num_bytes += len(data)
        return data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        data = self._store.get_range(key, start, length)
        self.num_bytes += len(data)
        self._after_head()
        return data

    def copy_range(self, key: str, start: int, length: int, write: Write) -> None:
        self.num_bytes += length
        self._store.copy_range(key, start, length, write)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    monkeypatch.setattr(extents, "_LEAST_GAP_BYTES", 1)
    monkeypatch.setattr(extents, "_LEAST_BYTES_SAVED", 1000)
    monkeypatch.setattr("octjob.data.wanted.HEAD_BYTES", HEAD_BYTES)
    return FileStore(tmp_path.as_uri())


def read(store: ObjectStore) -> list[np.ndarray]:
    quarantine = Quarantine()
    reader = VolumeReader(store, "pretraining", SIZE)
    found = [x_DHW for _, x_DHW in load_volumes(reader, [VOLUME], Breadth(4, 1), quarantine)]
    assert not quarantine.entries
    return found


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless])
def test_a_fraction_of_the_bytes_gives_the_same_input_of_the_encoder(
    store: FileStore, syntax: uid.UID
) -> None:
    data = make_dicom(speckle(SHAPE), syntax=syntax)
    store.put(KEY, data)
    counted = Counted(store)
    (x_DHW,) = read(counted)
    np.testing.assert_array_equal(x_DHW, preprocess(speckle(SHAPE), "pretraining", SIZE))
    assert counted.num_bytes < HEAD_BYTES + len(data) * 0.3


def test_where_all_of_it_counts_nothing_is_asked_for(store: FileStore) -> None:
    store.put(KEY, make_dicom(speckle(SHAPE)))
    counted, info = Counted(store), store.head(KEY)
    for declared, depth in (
        (SHAPE, None),
        (SHAPE, 32),
        ((None, 20, 18), 8),
        ((8, 20, 18), 8),
        ((0, 20, 18), 8),
    ):
        assert wanted_of(counted, info, declared, depth).spans is None
    assert counted.num_bytes == 0


def test_an_object_replaced_by_another_of_its_size_is_not_mixed_with_it(
    store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.put(KEY, make_dicom(speckle(SHAPE)))
    counted = Counted(store, lambda: store.put(KEY, make_dicom(speckle(SHAPE, seed=1))))
    (x_DHW,) = read(counted)
    np.testing.assert_array_equal(x_DHW, preprocess(speckle(SHAPE, seed=1), "pretraining", SIZE))
    assert "read again whole" in caplog.text


def test_a_file_that_is_no_dicom_is_left_to_be_read_whole(store: FileStore) -> None:
    store.put(KEY, b"<html>error</html>" * 2000)
    assert wanted_of(store, store.head(KEY), SHAPE, 8).spans is None
