"""Fill a sweep's shared volume cache: read, decode and preprocess what is not in it, and nothing else.

Any number of processes may do so at once, each with a part or all of it. What one is killed in is made again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from octjob.data.cohort import Volume
from octjob.data.layouts import open_source
from octjob.data.quarantine import CorruptVolumeError, Quarantine, Quarantined
from octjob.data.shared_cache import SharedCache
from octjob.data.source_versions import SourceVersions
from octjob.data.stream import Breadth, load_volumes
from octjob.data.volume_cache import volume_name
from octjob.data.volume_format import VolumeFormat
from octjob.data.volumes import VolumeReader
from octjob.errors import Interrupted
from octjob.records.preparation import PartReport, Preparation, Refused
from octjob.run.inputs import load_cohort, load_encoder
from octjob.run.shared import Shared
from octjob.run.stop import Stop
from octjob.spec.experiment import Data
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.tick import Tick


@dataclass(frozen=True)
class Part:
    """Every `count`-th volume, from the `index`-th on."""

    index: int = 0
    count: int = 1


@dataclass
class _Batch:
    """The volumes of one source that are wanted in one format, by UID."""

    source: ObjectStore
    format: VolumeFormat
    volumes: dict[str, Volume] = field(default_factory=dict)


def prepare(
    preparation: Preparation, part: Part, cache: ObjectStore, num_workers: int, stop: Stop, tick: Tick
) -> PartReport:
    """Make the volumes of a part that the cache does not hold, `num_workers` at a time.

    `tick(done, total)` is called after each. Unusable volumes are named in the log and in the report, and not
    counted as an error: the runs do that.

    Raises `Interrupted` once `stop` is requested, `AccessError` where a store refuses, `StoreFullError` where the
    cache has no room, `DataError` for a checkpoint or a cohort that the runs could not use either.
    """
    fillings = [_Filling(batch, part, cache, stop) for batch in _batches(preparation, stop)]
    num_volumes = sum(one.num_volumes for one in fillings)

    def progress() -> None:
        tick(sum(one.num_done for one in fillings), num_volumes)

    for one in fillings:
        one.fill(num_workers, progress)
        _check(stop)
    refused = {entry.sop_instance_uid: entry for one in fillings for entry in one.quarantine.entries}
    return PartReport(
        num_volumes=num_volumes,
        num_there=sum(one.num_there for one in fillings),
        num_made=sum(one.num_made for one in fillings),
        bytes_made=sum(one.num_made * one.format.num_bytes for one in fillings),
        refused=tuple(Refused(**vars(entry)) for entry in refused.values()),
    )


def _check(stop: Stop) -> None:
    if stop.requested:
        raise Interrupted(
            f"stopped by signal {stop.signal}; what was made is kept", "The same command makes the rest."
        )


def _batches(preparation: Preparation, stop: Stop) -> list[_Batch]:
    batches: dict[tuple[str, str, str], _Batch] = {}
    sizes: dict[str, tuple[int, int, int]] = {}
    shared = Shared()
    for run in preparation.runs:
        _check(stop)
        file = f"{run.checkpoint.model_dump_json()} {run.config.model.encoder}"
        if file not in sizes:
            sizes[file] = _volume_size(run, shared, lambda done, total: _check(stop))
        data = run.config.data
        format_ = VolumeFormat(data.profile, sizes[file], data.volume_dtype)
        identity = (str(data.source), data.layout, format_.digest)
        batch = batches.setdefault(identity, _Batch(open_source(data), format_))
        for volume in load_cohort(run, shared).volumes:
            batch.volumes.setdefault(volume.record.sop_instance_uid, volume)
    return list(batches.values())


def _volume_size(run: Run, shared: Shared, tick: Tick) -> tuple[int, int, int]:
    """The size that the checkpoint was pretrained with; it is read only where the sweep does not say it."""
    if run.checkpoint.volume_size is not None:
        return run.checkpoint.volume_size
    return load_encoder(run, shared, tick).report.geometry.volume_size


class _Filling:
    """One batch's share of a part, while the cache is filled with it."""

    def __init__(self, batch: _Batch, part: Part, cache: ObjectStore, stop: Stop) -> None:
        self.format = batch.format
        self.quarantine = Quarantine()
        self.num_there = self.num_made = 0
        self._stop = stop
        self._volumes = [batch.volumes[uid] for uid in sorted(batch.volumes)][part.index :: part.count]
        self._cache = SharedCache(cache, batch.format, needed=True)
        self._versions = SourceVersions(batch.source)
        self._reader = VolumeReader(
            batch.source, batch.format.profile, batch.format.size, dtype=batch.format.dtype
        )

    @property
    def num_volumes(self) -> int:
        return len(self._volumes)

    @property
    def num_done(self) -> int:
        return self.num_there + self.num_made + len(self.quarantine)

    def fill(self, num_workers: int, progress: Callable[[], None]) -> None:
        """Make what is missing, or less once a stop is requested; `progress` is called after each volume."""
        kept = self._cache.names()
        names = self._names()
        missing = [v for v in self._volumes if _uid(v) in names and not kept.get(names[_uid(v)])]
        self.num_there = len(names) - len(missing)
        progress()
        # Each process in an order of its own, so that several that fill the same part seldom meet.
        random.SystemRandom().shuffle(missing)

        def still_missing() -> Iterator[Volume]:
            for volume in missing:
                if self._stop.requested:
                    return
                name = names[_uid(volume)]
                if name not in kept and self._cache.holds(name):
                    self.num_there += 1
                else:
                    yield volume

        breadth = Breadth(Data().connections, num_workers)
        for volume, x_DHW in load_volumes(self._reader, still_missing(), breadth, self.quarantine):
            name = names[_uid(volume)]
            self._cache.put(name, self.format.encode(x_DHW), damaged=name in kept)
            self.num_made += 1
            progress()
        progress()

    def _names(self) -> dict[str, str]:
        """The name in the cache of each volume whose file is there, by UID; the others are quarantined."""
        names = {}
        for volume in self._volumes:
            try:
                names[_uid(volume)] = volume_name(volume.record, self._versions)
            except CorruptVolumeError as error:
                self.quarantine.add(
                    Quarantined(volume.record.participant, _uid(volume), error.uri, error.reason)
                )
        return names


def _uid(volume: Volume) -> str:
    return volume.record.sop_instance_uid
