"""`history.jsonl`: what is written is read, and damage is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from octjob.errors import DataError
from octjob.records.history import read_history, write_history
from octjob.storage.file import FileStore

LINES = [{"epoch": 0, "train/loss": 1.25}, {"epoch": 1, "train/loss": 0.1 + 0.2, "lr": {"head": 1e-3}}]


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(f"file://{tmp_path}")


def test_what_is_written_is_read(store: FileStore) -> None:
    write_history(store, "a.x-1", LINES)
    assert read_history(store, "a.x-1") == LINES


def test_a_run_without_epochs_has_none(store: FileStore) -> None:
    assert read_history(store, "a.x-1") == []
    write_history(store, "a.x-1", [])
    assert read_history(store, "a.x-1") == []


@pytest.mark.parametrize("damaged", [b'{"epoch": 1', b"3", b"\xff"])
def test_a_damaged_line_is_named(store: FileStore, damaged: bytes) -> None:
    store.put("runs/a.x-1/history.jsonl", b'{"epoch": 0}\n' + damaged + b"\n")
    with pytest.raises(DataError, match=r"runs/a\.x-1/history\.jsonl:2: not an epoch's line"):
        read_history(store, "a.x-1")
