"""The shared volume cache as a directory that is mounted for reading, in front of its store.

    <folder>/volumes/<digest of the format>/<SOP instance UID>-<version of its file>.npy

As in `octjob.data.shared_cache`, of which it is the same or a copy.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from pathlib import Path

from octjob.data.volume_format import VolumeFormat

log = logging.getLogger(__name__)


class MountedCache:
    """Volumes of one format below a mounted `folder`. Thread-safe; nothing is ever put into it."""

    def __init__(self, folder: Path, format_: VolumeFormat) -> None:
        self._folder = folder / "volumes" / format_.digest
        self._lock = threading.Lock()
        self._tally = Counter[str]()

    def get(self, name: str) -> bytes | None:
        """The bytes of that name, whole or damaged; None where they are not there or cannot be read."""
        path = self._folder / name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            self._count("missing")
            return None
        except OSError as error:
            if self._count("refused") == 1:
                log.warning("%s: cannot be read (%s), read through the shared cache's API", path, error)
            return None
        self._count("read")
        return data

    def put(self, name: str, data: bytes, *, damaged: bool = False) -> None:
        """Nothing but to count what is damaged: it is mounted for reading, and its store gets the volume."""
        if damaged:
            self._count("damaged")

    def where(self, name: str) -> str:
        """The file's path."""
        return str(self._folder / name)

    def report(self) -> None:
        """Log how many volumes came from here so far, and how many had to come another way."""
        kinds = ("read", "missing", "refused", "damaged")
        read, missing, refused, damaged = (self._tally[kind] for kind in kinds)
        if missing or refused or damaged:
            log.warning(
                "%s: %d volumes read from the mount; %d are not there, %d could not be read and %d are damaged, for"
                " which the shared cache was asked through its API",
                *(self._folder, read - damaged, missing, refused, damaged),
            )
        else:
            log.info("%s: all %d volumes read from the mount", self._folder, read)

    def _count(self, kind: str) -> int:
        with self._lock:
            self._tally[kind] += 1
            return self._tally[kind]
