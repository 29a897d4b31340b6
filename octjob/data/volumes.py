"""Preprocessed volumes from the store: read, decode, preprocess, cache; ahead of the consumer, in order.

Legend: x_DHW float32, B-scans x rows x columns, as the encoder takes them.
"""

from __future__ import annotations

import io
import logging
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octjob.data.cohort import Volume
from octjob.data.decoders import Decoders
from octjob.data.dicom import RawVolume
from octjob.data.preprocess import NoContrastError, Profile, preprocess_digest, preprocess_volume
from octjob.data.quarantine import CorruptVolumeError, Quarantine, Quarantined
from octjob.errors import AccessError
from octjob.storage.base import NO_ROOM, ObjectNotFoundError, ObjectStore
from octjob.storage.sealed import seal, unseal
from octjob.storage.temporary import remove_dead, temporary_file

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]


class VolumeReader:
    """Reads volumes as (D, H, W) float32 of `size`, preprocessed by `profile`. Thread-safe.

    With a `cache_dir`, each volume is kept at `<cache_dir>/volumes/<digest>/<SOP instance UID>.npy`, its SHA-256
    in front; what is damaged is made again, what there is no room for is not kept. `digest` is that of the
    preprocessing, so that a changed profile never meets old files.
    """

    def __init__(
        self, store: ObjectStore, profile: Profile, size: tuple[int, int, int], cache_dir: Path | None = None
    ) -> None:
        self._store = store
        self._decoders = Decoders()
        self._profile = profile
        self._size = size
        self._cache = cache_dir / "volumes" / preprocess_digest(profile, size) if cache_dir else None
        self._is_full = False
        # numpy evaluates a header as Python; CPython 3.11's parser fails now and then where two threads ask at once.
        self._parser = threading.Lock()
        if self._cache:
            remove_dead(self._cache)

    @property
    def size(self) -> tuple[int, int, int]:
        """(D, H, W) of what `read` returns."""
        return self._size

    def uri(self, volume: Volume) -> str:
        """Where the volume comes from."""
        return self._store.uri(volume.record.key)

    def read(self, volume: Volume) -> Float32:
        """x_DHW. Raises `CorruptVolumeError` if the object is missing, unreadable or not the volume the
        manifest describes, `AccessError` if the store refuses or the cache cannot be written."""
        path = self._cache / f"{volume.record.sop_instance_uid}.npy" if self._cache else None
        x_DHW = self._cached(path) if path else None
        if x_DHW is None:
            x_DHW = self._read(volume)
            if path and not self._is_full:
                self._keep(path, x_DHW)
        return x_DHW

    def _read(self, volume: Volume) -> Float32:
        uri = self.uri(volume)
        try:
            data = self._store.get(volume.record.key)
        except ObjectNotFoundError as error:
            raise CorruptVolumeError(
                uri, "missing object: the manifest names it, the store does not have it"
            ) from error
        raw = self._decoders.read(data, uri, volume.record.shape)
        del data
        _require_same(raw, volume, uri)
        try:
            return preprocess_volume(raw, self._profile, self._size)
        except NoContrastError as error:
            raise CorruptVolumeError(uri, str(error)) from error

    def _keep(self, path: Path, x_DHW: Float32) -> None:
        try:
            _write(path, x_DHW)
        except FileNotFoundError:
            log.warning("%s: the cache was removed meanwhile; not kept", path)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise AccessError(
                    f"{path}: cannot write the volume cache: {error.strerror or error}",
                    "Mend that or set another `data.cache_dir`, or null for none.",
                ) from error
            self._is_full = True
            log.warning("%s: %s; going on without the volume cache", path, error.strerror)

    def _cached(self, path: Path) -> Float32 | None:
        try:
            body = unseal(path.read_bytes())
            if body is None:
                raise ValueError("its SHA-256 is wrong")
            with self._parser:
                x_DHW: Float32 = np.load(io.BytesIO(body), allow_pickle=False)
        except FileNotFoundError:
            return None
        except (ValueError, EOFError, OSError) as error:
            log.warning("%s: damaged cache file (%s), made again", path, error)
            return None
        if x_DHW.shape != self._size or x_DHW.dtype != np.float32:
            log.warning("%s: cache file holds %s %s, made again", path, x_DHW.shape, x_DHW.dtype)
            return None
        return x_DHW


def load_volumes(
    reader: VolumeReader, volumes: Iterable[Volume], num_workers: int, on_corrupt: Quarantine
) -> Iterator[tuple[Volume, Float32]]:
    """(volume, x_DHW) in the order given, read by `num_workers` threads; 0 reads in the caller's.

    At most `num_workers` + 1 volumes are read ahead of the consumer. Unusable volumes go to `on_corrupt` and
    are passed over; any other error (a store that refuses, a missing decoder) is raised and ends the reading.
    """
    if num_workers == 0:
        for volume in volumes:
            x_DHW = _read_or_quarantine(reader, volume, on_corrupt)
            if x_DHW is not None:
                yield volume, x_DHW
        return
    with ThreadPoolExecutor(num_workers, thread_name_prefix="volumes") as pool:
        ahead: deque[tuple[Volume, Future[Float32 | None]]] = deque()
        try:
            for volume in volumes:
                ahead.append((volume, pool.submit(_read_or_quarantine, reader, volume, on_corrupt)))
                if len(ahead) > num_workers:
                    yield from _finished(*ahead.popleft())
            while ahead:
                yield from _finished(*ahead.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _finished(volume: Volume, future: Future[Float32 | None]) -> Iterator[tuple[Volume, Float32]]:
    x_DHW = future.result()
    if x_DHW is not None:
        yield volume, x_DHW


def _read_or_quarantine(reader: VolumeReader, volume: Volume, quarantine: Quarantine) -> Float32 | None:
    try:
        return reader.read(volume)
    except CorruptVolumeError as error:
        record = volume.record
        quarantine.add(
            Quarantined(record.participant, record.sop_instance_uid, reader.uri(volume), error.reason)
        )
        return None


def _require_same(raw: RawVolume, volume: Volume, uri: str) -> None:
    """The file must be the volume the manifest speaks of, or its label would be another's."""
    record = volume.record
    if raw.sop_instance_uid != record.sop_instance_uid:
        raise CorruptVolumeError(
            uri, f"holds volume {raw.sop_instance_uid}, the manifest says {record.sop_instance_uid}"
        )
    if raw.laterality and raw.laterality != record.laterality:
        raise CorruptVolumeError(uri, f"is of eye {raw.laterality}, the manifest says {record.laterality}")


def _write(path: Path, x_DHW: Float32) -> None:
    buffer = io.BytesIO()
    np.save(buffer, x_DHW)
    with temporary_file(path.parent) as (temporary, file):
        file.write(seal(buffer.getvalue()))
        file.flush()
        os.replace(temporary, path)
