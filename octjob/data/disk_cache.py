"""Preprocessed volumes on this machine's disk, so that each is read and decoded once.

    <cache_dir>/volumes/<digest of the format>/<SOP instance UID>-<version of its file>.npy

Any number of processes share the folder. A file comes into being by a rename and is touched when it is read, so its
time of change is that of its last use. The format is `octjob.data.volume_format`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from octjob.data.disk_room import DiskRoom
from octjob.data.volume_format import VolumeFormat
from octjob.errors import AccessError
from octjob.storage.base import NO_ROOM
from octjob.storage.temporary import remove_dead, temporary_file

log = logging.getLogger(__name__)


class DiskCache:
    """Volumes of one format below `cache_dir`, which holds at most `limit` bytes of all formats. Thread-safe.

    limit: None for half of what is free there. The least recently used are removed, whichever run they were for.
    """

    def __init__(self, cache_dir: Path, format_: VolumeFormat, limit: int | None = None) -> None:
        self._folder = cache_dir / "volumes" / format_.digest
        self._room = DiskRoom(self._folder.parent, limit)
        self._is_full = False
        remove_dead(self._folder)

    def get(self, name: str) -> bytes | None:
        """The bytes of that name, whole or damaged; None where they are not there or cannot be read."""
        path = self._folder / name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s: cannot be read (%s), made again", path, error)
            return None
        # Only the order of removal depends on it; the file may be gone, or another's.
        with contextlib.suppress(OSError):
            os.utime(path)
        return data

    def put(self, name: str, data: bytes, *, damaged: bool = False) -> None:
        """Keep it, in place of what is there and of what was not used for longest.

        Raises `AccessError` where the folder cannot be written.
        """
        if self._is_full:
            return
        path = self._folder / name
        try:
            if not self._room.make(len(data)):
                self._give_up(path, "it alone is more than `data.cache_limit_gib` allows")
            elif not self._write(path, data) and not (self._room.free(len(data)) and self._write(path, data)):
                self._give_up(path, os.strerror(NO_ROOM[0]))
        except FileNotFoundError:
            log.warning("%s: the cache was removed meanwhile; not kept", path)
        except OSError as error:
            raise AccessError(
                f"{path}: cannot write the volume cache: {error.strerror or error}",
                "Mend that or set another `data.cache_dir`, or null for none.",
            ) from error

    def where(self, name: str) -> str:
        """The file's path."""
        return str(self._folder / name)

    def _give_up(self, path: Path, why: str) -> None:
        self._is_full = True
        log.warning("%s: %s; going on without the volume cache", path, why)

    def _write(self, path: Path, data: bytes) -> bool:
        """False where the disk is full."""
        try:
            with temporary_file(path.parent) as (temporary, file):
                file.write(data)
                file.flush()
                os.replace(temporary, path)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return False
        return True
