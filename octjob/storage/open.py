"""From a URI to a store, to an object's bytes, or to a verified local copy of a large object."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from octjob import env
from octjob.errors import AccessError, DataError, SpecError
from octjob.spec.uri import parse_uri, split_uri
from octjob.storage.base import ObjectInfo, ObjectStore
from octjob.storage.checksum import hasher_of
from octjob.storage.temporary import remove_dead, temporary_file

_DEFAULT_RETRY_S = 120.0
_DEFAULT_TIMEOUT_S = 60.0
_CHUNK_BYTES = 32 * 2**20
_NUM_STREAMS = 4
_NUM_DOWNLOAD_TRIES = 4


def open_store(root_uri: str) -> ObjectStore:
    """The store at `root_uri` (`file://`, `gs://`, `b2://` or a path); one per root and process.

    Nothing is contacted yet. `OCTJOB_STORAGE_RETRY_S` bounds the retrying of transient faults (120 s),
    `OCTJOB_STORAGE_TIMEOUT_S` the silence of one request (60 s).
    """
    retry_s = _seconds(env.STORAGE_RETRY_S, _DEFAULT_RETRY_S)
    return _open(str(parse_uri(root_uri)), retry_s, _seconds(env.STORAGE_TIMEOUT_S, _DEFAULT_TIMEOUT_S))


def forget_stores() -> None:
    """Drop the cached stores and their connections, after the credentials in the environment changed."""
    _open.cache_clear()


def read_uri(uri: str) -> bytes:
    """The whole object at `uri`, verified."""
    root, key = split_uri(uri)
    return open_store(root).get(key)


def download(
    store: ObjectStore,
    key: str,
    path: str | Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    chunk_bytes: int = _CHUNK_BYTES,
) -> ObjectInfo:
    """Copy an object of any size to the local file `path`, which appears whole and verified or not at all.

    Reads ranges on a few threads, so at most a few chunks are in memory. `progress(done, total)` gets bytes.
    Checks the length, the checksum where the store knows one, and that the object did not change meanwhile;
    a damaged copy is fetched again a few times, then `DataError`. Returns what was copied.
    """
    target = Path(path)
    try:
        remove_dead(target.parent)
        for _ in range(_NUM_DOWNLOAD_TRIES):
            info = store.head(key)
            with temporary_file(target.parent) as (temp, file):
                problem = _copy(store, info, file, progress, chunk_bytes)
                if not problem:
                    os.replace(temp, target)
                    return info
    except OSError as error:
        raise AccessError(
            f"{path}: {error.strerror or error}", "check the folder and the free space"
        ) from error
    raise DataError(
        f"{store.uri(key)} arrived damaged: {problem}", "try again; if it persists, upload it anew"
    )


def _copy(
    store: ObjectStore,
    info: ObjectInfo,
    file: BinaryIO,
    progress: Callable[[int, int], None] | None,
    chunk_bytes: int,
) -> str:
    """Write the object to `file`; returns what is wrong with the copy, empty if nothing."""
    hasher = hasher_of(info.checksum)
    done = 0
    for chunk in _chunks(store, info, chunk_bytes):
        file.write(chunk)
        if hasher is not None:
            hasher.update(chunk)
        done += len(chunk)
        if progress is not None:
            progress(done, info.size)
    file.flush()
    os.fsync(file.fileno())
    if done != info.size:
        return f"{done} of {info.size} bytes"
    if hasher is not None and hasher.hexdigest() != info.checksum.partition(":")[2]:
        return f"checksum is not {info.checksum}"
    if store.head(info.key).version != info.version:
        return "it changed during the download"
    return ""


def _chunks(store: ObjectStore, info: ObjectInfo, chunk_bytes: int) -> Iterator[bytes]:
    """The object's bytes in order, a few chunks read ahead."""
    pending: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_NUM_STREAMS) as pool:
        try:
            for start in range(0, info.size, chunk_bytes):
                pending.append(pool.submit(store.get_range, info.key, start, chunk_bytes))
                if len(pending) > _NUM_STREAMS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


@lru_cache(maxsize=64)
def _open(root: str, retry_s: float, timeout_s: float) -> ObjectStore:
    scheme = parse_uri(root).scheme
    if scheme == "gs":
        from octjob.storage.gcs import GcsStore

        return GcsStore(root, retry_s=retry_s, timeout_s=timeout_s)
    if scheme == "b2":
        from octjob.storage.b2 import B2Store

        return B2Store(root, retry_s=retry_s, timeout_s=timeout_s)
    from octjob.storage.file import FileStore

    return FileStore(root, retry_s=retry_s)


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise SpecError(f"{name}={text!r} is not a number of seconds", f"set {name}={default:g}")
    return value
