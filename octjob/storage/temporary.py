"""Temporary files and folders that the next start removes once their owner is dead.

The owner holds the flock of what it made. The kernel drops it when the owner dies, however it dies, so whoever can
take the lock may remove the thing: no process ids, no ages.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from octjob.errors import AccessError

PREFIX = ".octjob-"
SUFFIX = ".tmp"
_FOLDER_PREFIX = "octjob-work-"


def is_temporary(name: str) -> bool:
    """Whether a file's name is one of ours."""
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


@contextlib.contextmanager
def temporary_file(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file `.octjob-*.tmp` in `folder`, which is made; removed at the end unless renamed by then."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        path = folder / f"{PREFIX}{uuid.uuid4().hex}{SUFFIX}"
        with open(path, "xb") as file:
            try:
                # A sweeper may have seen it before it was locked: then it is gone, and another is made.
                if _lock(file.fileno()) and _is_at(file.fileno(), path):
                    yield path, file
                    return
            finally:
                # What cannot be removed now, the next start removes; what was renamed is written all the same.
                with contextlib.suppress(OSError):
                    path.unlink()


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder in the system's own for temporary files; removed at the end.

    Raises `AccessError` where none can be made.
    """
    base = Path(tempfile.gettempdir())
    for path in base.glob(f"{_FOLDER_PREFIX}*"):
        _remove_if_dead(path)
    while True:
        try:
            path = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
        except OSError as error:
            raise AccessError(
                f"{base}: cannot hold temporary files: {error.strerror}", "make room there, or set TMPDIR"
            ) from error
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # A sweeper took it for a dead one's before it was locked.
        try:
            if _lock(fd) and _is_at(fd, path):
                yield path
                return
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(fd)


def remove_dead(folder: Path) -> None:
    """Remove the temporary files in `folder` whose owners are dead."""
    for path in folder.glob(f"{PREFIX}*{SUFFIX}"):
        _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    # Another's that we may not touch, or one that is gone by now: not ours to report.
    with contextlib.suppress(FileNotFoundError, PermissionError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            if _lock(fd) and path.stat().st_uid == os.getuid():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
        finally:
            os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
