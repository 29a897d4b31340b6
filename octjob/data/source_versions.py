"""Which version of its file each volume is made from, so that nothing kept of a replaced file is used again."""

from __future__ import annotations

import hashlib
import threading

from octjob.data.quarantine import CorruptVolumeError
from octjob.storage.base import ObjectInfo, ObjectStore

# A data set's folders by device, e.g. retinal_oct/structural_oct/topcon_triton: few, and each listed in one go.
_DEPTH = 3


class SourceVersions:
    """Versions as a store lists them, a folder at a time when one of its files is first asked for. Thread-safe.

    A checksum counts where the store has one, so that a data set copied elsewhere keeps what was made of it. Listing
    25,000 files takes 25 requests, once; asking for each would take one a volume.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._folders: dict[str, dict[str, str]] = {}

    def of(self, key: str) -> str:
        """16 hex digits that change when the file does. Raises `CorruptVolumeError` where there is no such file."""
        folder = "/".join(key.split("/")[:-1][:_DEPTH])
        with self._lock:
            if folder not in self._folders:
                prefix = f"{folder}/" if folder else ""
                self._folders[folder] = {info.key: digest_of(info) for info in self._store.list(prefix)}
            version = self._folders[folder].get(key)
        if version is None:
            raise CorruptVolumeError(
                self._store.uri(key), "missing object: the manifest names it, the store does not have it"
            )
        return version


def digest_of(info: ObjectInfo) -> str:
    """16 hex digits that change when the object does."""
    text = f"{info.size} {info.checksum or info.version}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
