"""The one thing octjob asks of a store: objects by key, whole, atomic, and create-only when wanted."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from octjob.errors import AccessError


@dataclass(frozen=True)
class ObjectInfo:
    """One object of a listing.

    key: path below the store's root, no leading slash.
    size: bytes.
    version: opaque; changes whenever the content changes (GCS generation, B2 file id, file mtime and inode).
    checksum: `<algorithm>:<hex>` where the store knows one without reading, else empty.
    """

    key: str
    size: int
    version: str
    checksum: str = ""


class ObjectNotFoundError(AccessError):
    """The object named is not there."""


class AlreadyExistsError(AccessError):
    """A create-only write lost: somebody else's object is there. Raised never for one's own lost reply."""


# What the system says where a disk, a quota or the largest file size is used up.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreFullError(AccessError):
    """There is no room left. A cache can be done without; anything else cannot."""


class VersionConflictError(AccessError):
    """A write conditional on a version lost: the object changed in between."""


# Takes a piece of an object and where in the object it begins; the piece is the store's again afterwards.
Write = Callable[[int, bytes | memoryview], object]


class ObjectStore(Protocol):
    """Objects below one root URI. Thread-safe. Every error names the object's full URI."""

    @property
    def root(self) -> str:
        """The root URI, without a trailing slash."""
        ...

    def uri(self, key: str) -> str:
        """The full URI of `key`."""
        ...

    def get(self, key: str) -> bytes:
        """The whole object, length and checksum verified."""
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes `[start, start + length)`, fewer at the end of the object; length verified."""
        ...

    def copy_range(self, key: str, start: int, length: int, write: Write) -> None:
        """Hand bytes `[start, start + length)` to `write` as they arrive, fewer at the end of the object.

        After a fault they come again from `start`. Returns when all of them have come, their number verified. What
        `write` raises ends the copying.
        """
        ...

    def head(self, key: str) -> ObjectInfo:
        """Size and version without the content; raises `ObjectNotFoundError`."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        ...

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        """Write atomically and return the new version.

        `if_absent`: create-only, else `AlreadyExistsError`; exactly one of any number of racing writers wins, and
        a write whose reply was lost and is found to be ours counts as won.
        `if_version`: replace only that version, else `VersionConflictError`.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with `prefix` (a plain string prefix), in key order."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; raises `ObjectNotFoundError`."""
        ...
