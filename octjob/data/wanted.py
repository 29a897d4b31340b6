"""What is wanted of a volume's file: all of it, or the first bytes and the spans that a resize touches."""

from __future__ import annotations

from dataclasses import dataclass

from octjob.data.dicom import DeclaredShape
from octjob.data.extents import HEAD_BYTES, extents_for, may_save
from octjob.data.layout import Span
from octjob.storage.base import ObjectInfo, ObjectStore


@dataclass(frozen=True)
class Wanted:
    """An object, and its first bytes and the spans behind them that are wanted; without spans all of it."""

    info: ObjectInfo
    head: bytes = b""
    spans: tuple[Span, ...] | None = None

    @property
    def held(self) -> tuple[Span, ...] | None:
        """What will be there of the file, None for all of it."""
        return None if self.spans is None else ((0, len(self.head)), *self.spans)

    @property
    def num_bytes(self) -> int:
        """That much memory it takes."""
        return self.info.size if self.held is None else sum(end - start for start, end in self.held)


def wanted_of(store: ObjectStore, info: ObjectInfo, declared: DeclaredShape, depth: int | None) -> Wanted:
    """What `read_volume` needs of a DICOM file to read it for `depth` (`octjob.data.preprocess.touched_depth`).

    Reads the first bytes where the manifest's shape lets hope that much can be left out. Raises what the store's
    `get_range` raises.
    """
    if not may_save(info.size, declared, depth):
        return Wanted(info)
    head = store.get_range(info.key, 0, HEAD_BYTES)
    spans = extents_for(head, info.size, depth)
    return Wanted(info) if spans is None else Wanted(info, head, spans)
