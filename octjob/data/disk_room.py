"""How much of a disk volumes may take, and which of them go first."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

# A process looks into the folders again when it has added so small a part of the limit itself.
_PART = 64


@dataclass(frozen=True, order=True)
class _Kept:
    used_ns: int
    path: Path
    size: int


class DiskRoom:
    """The room that the files in the folders below `root` share: `limit` bytes, or half of what is free. Thread-safe.

    Half counts the files themselves as free, so that it does not shrink as they come. Processes do not speak to each
    other: each looks at what is there when it has added a 64th of the limit, so together they may exceed it by as
    many 64ths as they are. A file that somebody reads while it is removed stays whole for him.
    """

    def __init__(self, root: Path, limit: int | None) -> None:
        self._root = root
        self._limit = limit
        self._lock = threading.Lock()
        self._unseen = 0  # bytes that may be added before the next look

    def make(self, size: int) -> bool:
        """Remove what was not used for longest until `size` more bytes are within the limit; False where they alone
        exceed it."""
        with self._lock:
            if size <= self._unseen:
                self._unseen -= size
                return True
            kept = sorted(self._files())
            held = sum(one.size for one in kept)
            limit = self._limit if self._limit is not None else (held + self._free_bytes()) // 2
            if size > limit:
                return False
            if held + size > limit:
                held -= self._remove(kept, held + size + limit // _PART - limit)
            self._unseen = max(0, min(limit - held - size, limit // _PART))
            return True

    def free(self, size: int) -> bool:
        """The disk is full, whatever the limit says: remove `size` bytes; False where there are not so many."""
        with self._lock:
            self._unseen = 0
            kept = sorted(self._files())
            return sum(one.size for one in kept) >= size and self._remove(kept, size) >= size

    def _remove(self, kept: list[_Kept], size: int) -> int:
        """Remove files in this order until `size` bytes are free; returns how many are."""
        removed = num_removed = 0
        for one in kept:
            if removed >= size:
                break
            try:
                one.path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("%s: cannot be removed to make room (%s)", one.path, error.strerror)
                break
            removed, num_removed = removed + one.size, num_removed + 1
        log.info("%s: removed %d volumes that were not used for longest", self._root, num_removed)
        return removed

    def _files(self) -> Iterator[_Kept]:
        for path in self._root.glob("*/*.npy"):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            yield _Kept(stat.st_mtime_ns, path, stat.st_size)

    def _free_bytes(self) -> int:
        folder = self._root
        while not folder.exists():
            folder = folder.parent
        space = os.statvfs(folder)
        return space.f_bavail * space.f_frsize
