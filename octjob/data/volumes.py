"""Preprocessed volumes from the store: read, decode, preprocess, cache; ahead of the consumer, in order.

Legend: x_DHW float32, B-scans x rows x columns, as the encoder takes them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octjob.data.cohort import Volume
from octjob.data.decoders import Decoders
from octjob.data.dicom import RawVolume
from octjob.data.disk_cache import DiskCache
from octjob.data.preprocess import NoContrastError, Profile, preprocess_volume
from octjob.data.quarantine import CorruptVolumeError, Quarantine, Quarantined
from octjob.data.shared_cache import SharedCache
from octjob.data.source_versions import SourceVersions
from octjob.data.volume_cache import Place, VolumeCache
from octjob.data.volume_format import VolumeFormat
from octjob.spec.experiment import VolumeDtype
from octjob.storage.base import ObjectNotFoundError, ObjectStore

Float32 = NDArray[np.float32]


class VolumeReader:
    """Reads volumes as (D, H, W) float32 of `size`, preprocessed by `profile`, rounded to `dtype`. Thread-safe.

    cache_dir: a local folder that keeps at most `cache_limit` bytes of them, see `octjob.data.disk_cache`.
    shared: a store that keeps them for all runs, see `octjob.data.shared_cache`. With either, what is damaged is made
    again and what there is no room for is not kept; the numbers are the same with and without.
    """

    def __init__(
        self,
        store: ObjectStore,
        profile: Profile,
        size: tuple[int, int, int],
        cache_dir: Path | None = None,
        *,
        cache_limit: int | None = None,
        dtype: VolumeDtype = "float32",
        shared: ObjectStore | None = None,
    ) -> None:
        self._store = store
        self._decoders = Decoders()
        self._profile = profile
        self._size = size
        self._format = VolumeFormat(profile, size, dtype)
        places: list[Place] = []
        if cache_dir:
            places.append(DiskCache(cache_dir, self._format, cache_limit))
        if shared:
            places.append(SharedCache(shared, self._format))
        self._cache = VolumeCache(self._format, SourceVersions(store), places) if places else None

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
        x_DHW = self._cache.get(volume.record) if self._cache else None
        if x_DHW is None:
            x_DHW = self._format.rounded(self._read(volume))
            if self._cache:
                self._cache.put(volume.record, x_DHW)
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
