"""Volumes from a mount of the shared cache, for which a directory stands: the same numbers, and nothing damaged."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles.cluster_runs import make_run

from octjob.data.cohort import Volume
from octjob.data.volumes import VolumeReader
from octjob.env import CACHE_MOUNT
from octjob.run.inputs import make_reader_of_size
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run
from octjob.storage.file import FileStore
from tests.doubles.aireadi_bucket import Bucket
from tests.doubles.volume_reads import SIZE, bucket_of, read_all, volumes_of

NUM_VOLUMES = 3


class Watched(FileStore):
    """A store that counts the objects that are asked of it and written."""

    calls: Counter[str]

    def get(self, key: str) -> bytes:
        self.calls["get"] += 1
        return super().get(key)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> Any:
        self.calls["put"] += 1
        return super().put(key, data, if_absent=if_absent)


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return bucket_of(tmp_path / "bucket", NUM_VOLUMES)


@pytest.fixture
def volumes(bucket: Bucket) -> list[Volume]:
    return volumes_of(bucket)


@pytest.fixture
def shared(tmp_path: Path) -> Watched:
    store = Watched(str(tmp_path / "cache"))
    store.calls = Counter()
    return store


def run_of(tmp_path: Path, **data: Any) -> Run:
    source = {"source": str(tmp_path / "bucket"), **data}
    return make_run(config=Experiment.model_validate({"data": source}))


@pytest.fixture
def reader(
    bucket: Bucket, shared: Watched, volumes: list[Volume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> VolumeReader:
    """Reads as a pod does whose mount has a copy of all that the cache has."""
    run = run_of(tmp_path, shared_cache="float16")
    read_all(make_reader_of_size(run, SIZE, shared), volumes)
    shutil.copytree(tmp_path / "cache", tmp_path / "mount")
    monkeypatch.setenv(CACHE_MOUNT, str(tmp_path / "mount"))
    shared.calls.clear()
    return make_reader_of_size(run, SIZE, shared)


@pytest.fixture
def plain(bucket: Bucket, volumes: list[Volume]) -> np.ndarray:
    return read_all(VolumeReader(bucket.store, "pretraining", SIZE, dtype="float16"), volumes)


def mounted(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "mount").rglob("*.npy"))


def test_what_is_on_the_mount_is_asked_of_nobody_else(
    reader: VolumeReader,
    volumes: list[Volume],
    shared: Watched,
    plain: np.ndarray,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    np.testing.assert_array_equal(read_all(reader, volumes), plain)
    assert shared.calls == {}
    reader.report()
    assert f"all {NUM_VOLUMES} volumes read from the mount" in caplog.text


@pytest.mark.parametrize("what", ["missing", "unreadable", "flipped", "cut", "emptied"])
def test_what_the_mount_lacks_or_damages_comes_from_the_cache_and_is_said(
    reader: VolumeReader,
    volumes: list[Volume],
    shared: Watched,
    plain: np.ndarray,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    path = mounted(tmp_path)[0]
    data = path.read_bytes()
    path.unlink()
    if what == "unreadable":
        path.mkdir()
    elif what != "missing":
        path.write_bytes(
            {"flipped": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-7], "emptied": b""}[what]
        )
    before = [(one, one.is_file() and one.read_bytes()) for one in mounted(tmp_path)]
    np.testing.assert_array_equal(read_all(reader, volumes), plain)
    assert shared.calls == {"get": 1}, "one volume by the API, and nothing written"
    assert [(one, one.is_file() and one.read_bytes()) for one in mounted(tmp_path)] == before
    reader.report()
    counts = {"missing": "1 are not there", "unreadable": "1 could not be read"}.get(what, "1 are damaged")
    assert f"{NUM_VOLUMES - 1} volumes read from the mount" in caplog.text
    assert counts in caplog.text
    assert str(path if what != "missing" else path.parent) in caplog.text


def test_what_is_damaged_in_both_is_made_again_and_replaced_in_the_store(
    reader: VolumeReader, volumes: list[Volume], shared: Watched, plain: np.ndarray, tmp_path: Path
) -> None:
    path = mounted(tmp_path)[0]
    stored = tmp_path / "cache" / path.relative_to(tmp_path / "mount")
    whole = stored.read_bytes()
    for one in (path, stored):
        one.write_bytes(whole[:-7])
    np.testing.assert_array_equal(read_all(reader, volumes), plain)
    assert (stored.read_bytes(), path.read_bytes()) == (whole, whole[:-7])


def test_without_a_shared_cache_there_is_no_mount(
    bucket: Bucket, volumes: list[Volume], shared: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_MOUNT, str(tmp_path / "nowhere"))
    reader = make_reader_of_size(run_of(tmp_path), SIZE, shared)
    assert read_all(reader, volumes).shape == (NUM_VOLUMES, *SIZE)
    assert shared.calls == {}
