"""Of an object, only the bytes that a resize needs.

Stores verify ranges by their length alone: no store knows a range's checksum (docs/storage.md). What lies between is
never looked at, and an object that was replaced while its ranges came is read anew, whole.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

from octjob.data.dicom import DeclaredShape
from octjob.data.excerpt import Excerpt
from octjob.data.extents import HEAD_BYTES, extents_for, may_save
from octjob.data.layout import Span
from octjob.storage.base import ObjectInfo, ObjectStore

log = logging.getLogger(__name__)

_NUM_REQUESTS = 8


def fetch_excerpt(
    store: ObjectStore, info: ObjectInfo, declared: DeclaredShape, depth: int | None
) -> Excerpt | None:
    """What `read_volume` needs of a DICOM file to read it for `depth`, eight ranges at a time.

    None where the whole object should be got instead: little would be saved, its first bytes do not say where its
    B-scans lie, or it is no longer the one that `info` is about. Raises what the store's `get_range` raises.
    """
    if not may_save(info.size, declared, depth):
        return None
    head = store.get_range(info.key, 0, HEAD_BYTES)
    spans = extents_for(head, info.size, depth)
    if spans is None:
        return None

    def read(span: Span) -> bytes:
        return store.get_range(info.key, span[0], span[1] - span[0])

    with ThreadPoolExecutor(min(_NUM_REQUESTS, len(spans)), thread_name_prefix="ranges") as pool:
        parts = list(pool.map(read, spans))
    lengths = [end - start for start, end in spans]
    if [len(part) for part in parts] != lengths or store.head(info.key).version != info.version:
        log.warning("%s: replaced while it was read; read again whole", store.uri(info.key))
        return None
    return Excerpt(info.size, [(0, head), *zip((start for start, _ in spans), parts, strict=True)])
