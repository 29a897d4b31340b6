"""Ranges of an object in place of the whole: fewer bytes, the same voxels, and nothing mixed of two objects."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid

from octjob.data import extents
from octjob.data.dicom import read_volume
from octjob.data.fetch import fetch_excerpt
from octjob.data.preprocess import preprocess, preprocess_volume, touched_depth
from octjob.storage.base import ObjectStore
from octjob.storage.file import FileStore
from tests.doubles.aireadi_bucket import make_dicom, speckle

SHAPE, SIZE = (64, 20, 18), (8, 12, 16)
KEY = "retinal_oct/a.dcm"


class Ranges:
    """A store that counts the bytes of ranges; what may happen after the first of them is up to the test."""

    def __init__(self, store: ObjectStore, after_first: Callable[[], object] = lambda: None) -> None:
        self._store, self._after_first = store, after_first
        self.num_bytes = 0

    def get_range(self, key: str, start: int, length: int) -> bytes:
        data = self._store.get_range(key, start, length)
        if not self.num_bytes:
            self._after_first()
        self.num_bytes += len(data)
        return data

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    monkeypatch.setattr(extents, "_LEAST_GAP_BYTES", 1)
    monkeypatch.setattr(extents, "_LEAST_BYTES_SAVED", 1000)
    monkeypatch.setattr("octjob.data.fetch.HEAD_BYTES", 2000)
    return FileStore(tmp_path.as_uri())


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless])
def test_a_fraction_of_the_bytes_gives_the_same_input_of_the_encoder(
    store: FileStore, syntax: uid.UID
) -> None:
    data = make_dicom(speckle(SHAPE), syntax=syntax)
    store.put(KEY, data)
    ranges = Ranges(store)
    depth = touched_depth("pretraining", SIZE)
    excerpt = fetch_excerpt(ranges, store.head(KEY), SHAPE, depth)
    assert excerpt is not None
    assert ranges.num_bytes < 2000 + len(data) * 0.3
    raw = read_volume(excerpt, store.uri(KEY), SHAPE, depth)
    expected = preprocess(speckle(SHAPE), "pretraining", SIZE)
    np.testing.assert_array_equal(preprocess_volume(raw, "pretraining", SIZE), expected)


def test_where_all_of_it_counts_nothing_is_asked_for(store: FileStore) -> None:
    store.put(KEY, make_dicom(speckle(SHAPE)))
    ranges = Ranges(store)
    for declared, depth in (
        (SHAPE, touched_depth("seed_finetune", SIZE)),
        (SHAPE, 32),
        ((None, 20, 18), 8),
        ((8, 20, 18), 8),
        ((0, 20, 18), 8),
    ):
        assert fetch_excerpt(ranges, store.head(KEY), declared, depth) is None
    assert ranges.num_bytes == 0


def test_an_object_replaced_by_another_of_its_size_is_not_mixed_with_it(
    store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.put(KEY, make_dicom(speckle(SHAPE)))
    ranges = Ranges(store, lambda: store.put(KEY, make_dicom(speckle(SHAPE, seed=1))))
    assert fetch_excerpt(ranges, store.head(KEY), SHAPE, 8) is None
    assert "replaced while it was read" in caplog.text


def test_an_object_replaced_by_a_shorter_one_is_not_mixed_with_it(store: FileStore) -> None:
    store.put(KEY, make_dicom(speckle(SHAPE)))
    ranges = Ranges(store, lambda: store.put(KEY, make_dicom(speckle(SHAPE))[:9000]))
    assert fetch_excerpt(ranges, store.head(KEY), SHAPE, 8) is None


def test_a_file_that_is_no_dicom_is_left_to_be_read_whole(store: FileStore) -> None:
    store.put(KEY, b"<html>error</html>" * 2000)
    assert fetch_excerpt(store, store.head(KEY), SHAPE, 8) is None
