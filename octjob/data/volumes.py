"""Preprocessed volumes from the store: looked up, brought here, decoded, preprocessed, cached; one at a time or many.

Legend: x_DHW float32, B-scans x rows x columns, as the encoder takes them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octjob.data.cohort import Volume
from octjob.data.decoders import Decoders
from octjob.data.disk_cache import DiskCache
from octjob.data.downloads import Downloads, verified
from octjob.data.memory_file import MemoryFile
from octjob.data.mounted_cache import MountedCache
from octjob.data.prepared import Preparation, PreparedVolume
from octjob.data.preprocess import Profile, touched_depth
from octjob.data.quarantine import CorruptVolumeError
from octjob.data.shared_cache import SharedCache
from octjob.data.source_versions import SourceVersions
from octjob.data.volume_cache import Place, VolumeCache
from octjob.data.volume_format import VolumeFormat
from octjob.data.wanted import Wanted, wanted_of
from octjob.spec.experiment import VolumeDtype
from octjob.storage.base import ObjectInfo, ObjectNotFoundError, ObjectStore

Float32 = NDArray[np.float32]


class VolumeReader:
    """Reads volumes as (D, H, W) float32 of `size`, preprocessed by `profile`, rounded to `dtype`. Thread-safe.

    cache_dir: a local folder that keeps at most `cache_limit` bytes of them, see `octjob.data.disk_cache`.
    shared: a store that keeps them for all runs, see `octjob.data.shared_cache`. With either, what is damaged is made
    again and what there is no room for is not kept; the numbers are the same with and without. mount: a directory
    that stands for `shared` where volumes are read.
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
        mount: Path | None = None,
    ) -> None:
        self._store = store
        self._decoders = Decoders()
        self._preparation = Preparation(profile, size)
        self._format = VolumeFormat(profile, size, dtype)
        places: list[Place] = []
        if cache_dir:
            places.append(DiskCache(cache_dir, self._format, cache_limit))
        self._mounted = MountedCache(mount, self._format) if shared and mount else None
        if self._mounted:
            places.append(self._mounted)
        if shared:
            places.append(SharedCache(shared, self._format))
        self._cache = VolumeCache(self._format, SourceVersions(store), places) if places else None

    @property
    def size(self) -> tuple[int, int, int]:
        """(D, H, W) of what `read` returns."""
        return self._preparation.size

    def uri(self, volume: Volume) -> str:
        """Where the volume comes from."""
        return self._store.uri(volume.record.key)

    def read(self, volume: Volume) -> Float32:
        """x_DHW. Raises `CorruptVolumeError` if the object is missing, unreadable or not the volume the
        manifest describes, `AccessError` if the store refuses or the cache cannot be written."""
        x_DHW = self.cached(volume)
        if x_DHW is not None:
            return x_DHW
        with self._naming(volume):
            data = self._store.get(volume.record.key)
        with MemoryFile.of(data) as file:
            del data
            return self._made(volume, file)

    def cached(self, volume: Volume) -> Float32 | None:
        """x_DHW, None where it is not kept."""
        return self._cache.get(volume.record) if self._cache else None

    def find(self, volume: Volume) -> Wanted:
        """The volume's file in the store, and what is wanted of it. Raises `CorruptVolumeError` if there is none."""
        depth = touched_depth(self._preparation.profile, self._preparation.size)
        with self._naming(volume):
            info = self._store.head(volume.record.key)
            return wanted_of(self._store, info, volume.record.shape, depth)

    def downloads(self, connections: int, most_bytes: int) -> Downloads:
        """What brings files here."""
        return Downloads(self._store, connections, most_bytes)

    def make(self, volume: Volume, info: ObjectInfo, file: MemoryFile) -> Float32:
        """x_DHW from a file that came in ranges, and closes it. Raises as `read` does."""
        with file, self._naming(volume), verified(self._store, info, file) as whole:
            return self._made(volume, whole)

    def report(self) -> None:
        """Log how many volumes came from the mount so far; nothing where there is none."""
        if self._mounted:
            self._mounted.report()

    def start_one(self) -> None:
        """Have a decoding process ready for the next file."""
        self._decoders.start_one()

    def _made(self, volume: Volume, file: MemoryFile) -> Float32:
        uri = self.uri(volume)
        prepared = self._decoders.prepare(
            file, uri, volume.record.shape, self._preparation, volume.record.content
        )
        _require_same(prepared, volume, uri)
        x_DHW = self._format.rounded(prepared.x_DHW)
        if self._cache:
            self._cache.put(volume.record, x_DHW)
        return x_DHW

    @contextlib.contextmanager
    def _naming(self, volume: Volume) -> Iterator[None]:
        """An object that is not there makes a corrupt volume."""
        try:
            yield
        except ObjectNotFoundError as error:
            raise CorruptVolumeError(
                self.uri(volume), "missing object: the manifest names it, the store does not have it"
            ) from error


def _require_same(prepared: PreparedVolume, volume: Volume, uri: str) -> None:
    """The file must be the volume the manifest speaks of, or its label would be another's."""
    record = volume.record
    if record.states_uid and prepared.sop_instance_uid != record.sop_instance_uid:
        raise CorruptVolumeError(
            uri, f"holds volume {prepared.sop_instance_uid}, the manifest says {record.sop_instance_uid}"
        )
    if prepared.laterality and record.laterality and prepared.laterality != record.laterality:
        listing = "manifest" if record.states_uid else "table"
        raise CorruptVolumeError(
            uri, f"is of eye {prepared.laterality}, the {listing} says {record.laterality}"
        )
