"""Checksums as stores report them, `<algorithm>:<hex>`, computed as the bytes arrive."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol


class Hasher(Protocol):
    """What `hashlib` objects and CRC-32C share."""

    def update(self, data: Any, /) -> object:
        """Take more bytes, or an array of them."""
        ...

    def hexdigest(self) -> str:
        """The checksum of the bytes so far."""
        ...


class _Crc32c:
    def __init__(self) -> None:
        import google_crc32c

        self._extend = google_crc32c.extend
        self._value = 0

    def update(self, data: Any, /) -> None:
        self._value = self._extend(self._value, data)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def hasher_of(checksum: str) -> Hasher | None:
    """A fresh hasher for the algorithm of `checksum` (`sha1:…`, `crc32c:…`); None where it is empty."""
    algorithm = checksum.partition(":")[0]
    if algorithm == "crc32c":
        return _Crc32c()
    return hashlib.new(algorithm) if algorithm else None
