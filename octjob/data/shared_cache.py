"""Preprocessed volumes in an object store, beside the features: made once, by whoever comes first, for all.

    <cache>/volumes/<digest of the format>/<SOP instance UID>-<version of its file>.npy

Objects are create-only, and of one name all writers write the same bytes. The format is `octjob.data.volume_format`.
"""

from __future__ import annotations

import contextlib
import logging

from octjob.data.volume_format import VolumeFormat
from octjob.storage.base import AlreadyExistsError, ObjectNotFoundError, ObjectStore, StoreFullError

log = logging.getLogger(__name__)


class SharedCache:
    """Volumes of one format below a sweep's `cache`. Thread-safe.

    needed: whether a store without room is an error; else those who need a volume make it themselves.
    """

    def __init__(self, store: ObjectStore, format_: VolumeFormat, *, needed: bool = False) -> None:
        self._store = store
        self._format = format_
        self._needed = needed
        self._is_full = False

    def get(self, name: str) -> bytes | None:
        """The object of that name. Raises `AccessError` where the store refuses."""
        try:
            return self._store.get(self._key(name))
        except ObjectNotFoundError:
            return None

    def put(self, name: str, data: bytes, *, damaged: bool = False) -> None:
        """Add an object; another's of the same name is as good. damaged: replace what is there."""
        if self._is_full:
            return
        try:
            with contextlib.suppress(AlreadyExistsError):
                self._store.put(self._key(name), data, if_absent=not damaged)
        except StoreFullError as error:
            if self._needed:
                raise
            self._is_full = True
            log.warning("%s; going on without adding to the shared volume cache", error.message)

    def where(self, name: str) -> str:
        """The object's URI."""
        return self._store.uri(self._key(name))

    def holds(self, name: str) -> bool:
        """Whether the object is there; it is not read."""
        return self._store.exists(self._key(name))

    def names(self) -> dict[str, bool]:
        """Every name there is, by one listing, and whether its object has the length of a whole one."""
        prefix = self._key("")
        return {
            info.key.removeprefix(prefix): info.size == self._format.num_bytes
            for info in self._store.list(prefix)
        }

    def _key(self, name: str) -> str:
        return f"volumes/{self._format.digest}/{name}"
