"""What a killed process leaves is gone after the next start; a full disk leaves nothing but one clear error."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from octjob.errors import AccessError
from octjob.storage.file import FileStore
from octjob.storage.open import download
from octjob.storage.temporary import temporary_folder

SEED = 20261124
NUM_KILLS = 30
MAX_WAIT_S = 0.05
WRITER = """
import sys
from octjob.storage.file import FileStore
from octjob.storage.open import download
from octjob.storage.temporary import temporary_folder
store = FileStore(sys.argv[1])
with temporary_folder() as folder:
    print("working", flush=True)
    while True:
        store.put("result", bytes(2**20))
        download(store, "result", folder / "copy", chunk_bytes=2**16)
"""


@pytest.fixture
def system_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files, for this test alone."""
    folder = tmp_path / "system"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def start_writer(root: Path) -> subprocess.Popen[bytes]:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"working\n"
    return writer


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_after_thirty_kills_one_clean_start_leaves_nothing(tmp_path: Path, system_folder: Path) -> None:
    root, rng, num_partial = tmp_path / "store", random.Random(SEED), 0
    for _ in range(NUM_KILLS):
        with start_writer(root) as writer:
            time.sleep(rng.uniform(0, MAX_WAIT_S))
            writer.kill()
        # Each start has removed what the one before it left.
        assert len(names(system_folder)) == 1
        num_partial += any(root.glob(".octjob-*.tmp"))
    assert num_partial > 0
    store = FileStore(str(root))
    store.put("result", b"whole")
    with temporary_folder():
        pass
    assert names(root) == ["result"]
    assert names(system_folder) == []
    assert store.get("result") == b"whole"


def test_what_a_living_process_works_on_stays(tmp_path: Path, system_folder: Path) -> None:
    with start_writer(tmp_path / "store") as writer:
        try:
            (living,) = names(system_folder)
            with temporary_folder() as ours:
                assert names(system_folder) == sorted([living, ours.name])
                FileStore(str(tmp_path / "store")).put("another", b"")
            assert names(system_folder) == [living]
            assert writer.poll() is None
        finally:
            writer.kill()


@contextlib.contextmanager
def full_disk(max_bytes: int = 4096) -> Iterator[None]:
    """The kernel refuses every write beyond `max_bytes` of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("write", ["put", "create", "download"])
def test_a_full_disk_is_an_error_that_names_the_path(tmp_path: Path, write: str) -> None:
    store, copies = FileStore(str(tmp_path / "store")), tmp_path / "copies"
    store.put("old", bytes(10_000))
    actions: dict[str, Callable[[], object]] = {
        "put": lambda: store.put("old", bytes(20_000)),
        "create": lambda: store.put("new", bytes(20_000), if_absent=True),
        "download": lambda: download(store, "old", copies / "new"),
    }
    named = {"put": store.uri("old"), "create": store.uri("new"), "download": str(copies / "new")}
    with full_disk(), pytest.raises(AccessError, match="File too large") as caught:
        actions[write]()
    assert named[write] in caught.value.message
    assert caught.value.hint
    assert store.get("old") == bytes(10_000)
    assert names(tmp_path / "store") == ["old"]
    assert not copies.exists() or names(copies) == []


def test_a_full_disk_at_the_last_moment_leaves_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(str(tmp_path))

    def refuse(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(AccessError, match="No space left on device") as caught:
        store.put("new", b"data")
    assert store.uri("new") in caught.value.message
    assert names(tmp_path) == []


def test_a_folder_swept_before_it_was_locked_is_made_again(
    system_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process starts between the making and the locking."""
    made: list[str] = []
    mkdtemp = tempfile.mkdtemp

    def swept(**arguments: Any) -> str:
        made.append(mkdtemp(**arguments))
        if len(made) == 1:
            os.rmdir(made[0])
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", swept)
    with temporary_folder() as folder:
        assert str(folder) == made[1]
        assert folder.is_dir()
