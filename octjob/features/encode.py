"""Put every volume through the encoder once, for all views and poolings that the runs of a sweep want of it.

Shapes: D, H, W voxels; N tokens; E embedding; M pooling methods; T pooled tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from octjob.data.augment import IDENTITY
from octjob.data.cohort import Volume
from octjob.data.quarantine import Quarantine
from octjob.data.stream import Breadth, load_volumes
from octjob.data.volume_format import VolumeFormat
from octjob.data.volumes import VolumeReader
from octjob.features.claims import Claims
from octjob.features.memory import FeatureMemory
from octjob.features.pace import Pace
from octjob.features.store import FeatureKey, Features, FeatureStore, Form, Shards
from octjob.features.views import View, Volume3D, views_of
from octjob.models.checkpoint import LoadedEncoder
from octjob.models.pooling import VECTORS, pool, pooling_for, row_of
from octjob.runtime.base import Runtime
from octjob.spec.experiment import Experiment
from octjob.storage.base import ObjectStore
from octjob.tick import Tick

T = TypeVar("T")

# What the rest of the sweep wants of this encoder; asked for only where something is to be encoded.
Others = Callable[[], Sequence[Experiment]]
# By pooling, what is kept of one encoded volume: (M, E) or (T, E).
Pooled = dict[str, npt.NDArray[np.float32]]
# What is to be made of a volume: the poolings of each view, by its name.
Order = dict[str, tuple[str, ...]]

_POLL_S = 0.5


@dataclass(frozen=True)
class Encoding:
    """How volumes become features: one encoder, one preprocessing, one precision."""

    loaded: LoadedEncoder
    experiment: Experiment
    runtime: Runtime

    @property
    def key(self) -> FeatureKey:
        """The content address of the features."""
        data, geometry = self.experiment.data, self.loaded.encoder.geometry
        return FeatureKey(
            encoder=self.loaded.report.encoder_digest,
            preprocess=VolumeFormat(data.profile, geometry.volume_size, data.volume_dtype).digest,
            precision=self.experiment.train.precision,
            backend=self.runtime.backend,
        )

    def pooling_of(self, experiment: Experiment) -> str:
        """What has to be kept of this encoder's tokens for a probe of the experiment."""
        return pooling_for(experiment.model.pool_method, self.loaded.encoder.geometry)

    def encode(self, volumes: Sequence[Volume3D], poolings: Sequence[str]) -> list[Pooled]:
        """What is kept of at most `own_shards` volumes (D, H, W), by pooling.

        One volume a device, so that a feature never depends on its neighbours in a batch. Every process of the
        runtime calls this as often as the others, with nothing where it has no more.
        """
        geometry = self.loaded.encoder.geometry
        blank = np.zeros(geometry.volume_size, np.float32)
        padding = [blank] * (self.runtime.own_shards - len(volumes))
        x_bCDHW = torch.from_numpy(np.stack([*volumes, *padding]))[:, None]
        bf16 = self.experiment.train.precision == "bf16"
        with torch.no_grad(), self.runtime.autocast(bf16):
            tokens_BNE = self.loaded.encoder(self.runtime.batch(x_bCDHW)).float()
        # Side by side, so that the devices are asked once.
        parts = [pool(tokens_BNE, pooling, geometry) for pooling in poolings]
        own = self.runtime.gather(torch.cat(parts, dim=1))[self.runtime.rows(self.runtime.num_shards)]
        pieces = torch.split(own[: len(volumes)], [part.shape[1] for part in parts], dim=1)
        return [
            {pooling: piece[i].numpy().copy() for pooling, piece in zip(poolings, pieces, strict=True)}
            for i in range(len(volumes))
        ]


def encode_views(
    encoding: Encoding,
    cache: ObjectStore,
    reader: VolumeReader,
    volumes: Sequence[Volume],
    augmented: Collection[str],
    quarantine: Quarantine,
    owner: str,
    tick: Tick,
    others: Others = tuple,
    memory: FeatureMemory | None = None,
) -> npt.NDArray[np.float32]:
    """Features of every view of every volume not in `quarantine`, in the volumes' order: (V, N, E) or (V, N, T, E).

    The others that are not `augmented` repeat view 0 there, which nothing may read. The rest is as in
    `encode_volumes`.
    """
    found = encode_volumes(
        encoding, cache, reader, volumes, augmented, quarantine, owner, tick, others, memory
    )
    row = row_of(encoding.experiment.model.pool_method)
    # Only now: a volume whose first view was cached may have become unreadable for the second.
    readable = [
        v.record.sop_instance_uid for v in volumes if v.record.sop_instance_uid not in quarantine.uids
    ]
    identity = found[0]
    return np.stack([np.stack([view.get(uid, identity[uid])[row] for uid in readable]) for view in found])


def encode_volumes(
    encoding: Encoding,
    cache: ObjectStore,
    reader: VolumeReader,
    volumes: Sequence[Volume],
    augmented: Collection[str],
    quarantine: Quarantine,
    owner: str,
    tick: Tick,
    others: Others = tuple,
    memory: FeatureMemory | None = None,
) -> list[Features]:
    """What is kept for the run's pooling by SOP instance UID, view by view, made now or by another run.

    A volume that has to be encoded is read once for all views that are missing, those of `others` included.
    augmented: the UIDs of volumes that have augmented views. memory: is looked into first, and gets what is found.

    Runs that need the same features divide the volumes, round by round, by `Claims`. `owner` is the run's id: its own
    attempts do not wait for each other. Volumes that cannot be read are put into `quarantine` and are absent.
    `tick(done, total)` counts volumes; it is called after each step of the devices, by all processes of the runtime
    alike, and may raise to stop; what was encoded until then is kept.
    """
    work = _Work(encoding, cache, reader, volumes, augmented, quarantine)
    work.recall(memory)
    work.read()
    pace = Pace(encoding.runtime.num_shards)
    with Claims(cache, encoding.key.claims_prefix, owner) as claims:
        # What process 0 misses, so that all do the same.
        while missing := encoding.runtime.share(work.missing):
            work.serve(others)
            tick(len(work.by_uid) - len(missing), len(work.by_uid))
            if not _round(work, claims, pace, missing, tick):
                time.sleep(_POLL_S)
            work.read()
    work.level()
    work.remember(memory)
    return list(work.features.values())


def _round(work: _Work, claims: Claims, pace: Pace, missing: Sequence[str], tick: Tick) -> bool:
    """Claim and encode some of what is missing; False where others hold all of it."""
    runtime = work.encoding.runtime
    claimed = runtime.share(lambda: claims.take(missing, pace.num_volumes(len(missing))))
    if not claimed:
        return False

    def progress(num_encoded: int) -> None:
        claims.renew()
        tick(len(work.by_uid) - len(missing) + num_encoded, len(work.by_uid))

    try:
        # Another run may have finished between our reading and our claim.
        work.read()
        orders = runtime.share(lambda: work.orders(_whole_steps(work.missing(claimed), runtime.num_shards)))
        began = time.monotonic()
        work.encode(orders, progress)
        pace.took(len(orders), time.monotonic() - began)
    finally:
        claims.release()
    return True


def _whole_steps(uids: Sequence[str], num_shards: int) -> Sequence[str]:
    """Without the last few, which would leave devices idle: the next round takes them, unless there are no others."""
    return uids[: len(uids) - len(uids) % num_shards] or uids


def in_step(each: Iterator[T], runtime: Runtime, size: int) -> Iterator[list[T]]:
    """At most `size` at a time, as often in each process; empty where only others have some left."""
    while True:
        chunk = list(islice(each, size))
        if not runtime.agree(bool(chunk)):
            return
        yield chunk


class _Work:
    """The features that a run needs of some volumes: what there is of them, and the making of the rest.

    All processes of the runtime do it together; methods marked *collective* are called by all of them.

    features: by view, what there is of the run's own pooling. views: all that are made, the run's own first.
    """

    def __init__(
        self,
        encoding: Encoding,
        cache: ObjectStore,
        reader: VolumeReader,
        volumes: Sequence[Volume],
        augmented: Collection[str],
        quarantine: Quarantine,
    ) -> None:
        self.encoding = encoding
        self.cache = cache
        self.reader = reader
        self.by_uid = {volume.record.sop_instance_uid: volume for volume in volumes}
        self.augmented = self.by_uid.keys() & set(augmented)
        self.quarantine = quarantine
        self.pooling = encoding.pooling_of(encoding.experiment)
        self.views: dict[str, View] = {}
        self._poolings: dict[str, set[str]] = {}
        self._want(encoding.experiment)
        self.features: dict[str, Features] = {name: {} for name in self.views}
        self._stores: dict[Form, FeatureStore] = {}
        self._served = False

    def serve(self, others: Others) -> None:
        """*Collective, the first time.* From now on make what these want too."""
        if self._served:
            return
        self._served = True
        for experiment in self.encoding.runtime.share(others):
            self._want(experiment)

    def _want(self, experiment: Experiment) -> None:
        views = views_of(experiment.data.augment)
        for view in views if self.augmented else views[:1]:
            self.views.setdefault(view.name, view)
            poolings = self._poolings.setdefault(view.name, {VECTORS})
            poolings.add(self.encoding.pooling_of(experiment))

    def store_of(self, form: Form) -> FeatureStore:
        """Where features of this form lie."""
        if form not in self._stores:
            self._stores[form] = FeatureStore(self.cache, self.encoding.key, form)
        return self._stores[form]

    def _own(self, name: str) -> FeatureStore:
        return self.store_of(Form(name, self.pooling))

    def _of(self, name: str, uids: Iterable[str]) -> Iterator[str]:
        """Those that have this view."""
        is_plain = self.views[name].number == IDENTITY
        return (uid for uid in uids if is_plain or uid in self.augmented)

    def _lacking(self, name: str, uids: Iterable[str] | None = None) -> list[str]:
        """Those of `uids`, of all by default, whose feature of this view is neither here nor impossible."""
        left_out, there = self.quarantine.uids, self.features[name]
        wanted = self._of(name, self.by_uid if uids is None else uids)
        return [uid for uid in wanted if uid not in there and uid not in left_out]

    def missing(self, uids: Iterable[str] | None = None) -> list[str]:
        """Those of `uids`, of all by default, that lack a view."""
        lacking = {uid for name in self.features for uid in self._lacking(name, uids)}
        return [uid for uid in (self.by_uid if uids is None else uids) if uid in lacking]

    def recall(self, memory: FeatureMemory | None) -> None:
        """Take in what an earlier run of this process had."""
        if memory is not None:
            for name, there in self.features.items():
                there |= memory.get(self._own(name).uri, self._lacking(name))

    def remember(self, memory: FeatureMemory | None) -> None:
        """Leave the next run of this process what there is."""
        if memory is not None:
            for name, there in self.features.items():
                memory.put(self._own(name).uri, there)

    def read(self) -> None:
        """Take in what others have written."""
        for name, there in self.features.items():
            if lacking := self._lacking(name):
                there |= self._own(name).read(lacking)

    def orders(self, uids: Sequence[str]) -> list[tuple[str, Order]]:
        """What to make of each of these, which lack something: what the run needs, and what others want beside it."""
        orders: dict[str, Order] = {uid: {} for uid in uids}
        for name in self.views:
            whose = list(self._of(name, uids))
            is_own = name in self.features
            if is_own and self.pooling == VECTORS:
                there: Collection[str] = self.features[name]
            else:
                there = self.store_of(Form(name, VECTORS)).read(whose)
            lacking = set(self._lacking(name, whose)) if is_own else set(whose) - set(there)
            for uid in lacking:
                left = self._poolings[name] - ({VECTORS} if uid in there else set())
                orders[uid][name] = tuple(sorted(left))
        return list(orders.items())

    def encode(self, orders: Sequence[tuple[str, Order]], progress: Callable[[int], None]) -> None:
        """*Collective.* Make and store these; what is encoded is stored even when `progress` raises.

        `progress(n)` is called after each step of the devices, n volumes of this process's being finished.
        """
        runtime = self.encoding.runtime
        own = dict(orders[runtime.index :: runtime.num_processes])
        shards = Shards(self.store_of)
        left = {uid: len(order) for uid, order in own.items()}
        # Of every volume alike, since another choice would be another program to compile.
        poolings = sorted(set().union(*self._poolings.values()))
        try:
            for chunk in in_step(self._inputs(own), runtime, runtime.own_shards):
                made = self.encoding.encode([x_DHW for _, _, x_DHW in chunk], poolings)
                for (uid, name, _), pooled in zip(chunk, made, strict=True):
                    for pooling in own[uid][name]:
                        shards.add(Form(name, pooling), uid, pooled[pooling])
                    if name in self.features:
                        self.features[name][uid] = pooled[self.pooling]
                    left[uid] -= 1
                progress(sum(count == 0 for count in left.values()))
        finally:
            shards.close()
        self.quarantine.merge(runtime.collect(self.quarantine.entries))
        own_unkept = {name: shards.unkept.get(Form(name, self.pooling), {}) for name in self.features}
        for unkept in runtime.collect(own_unkept):
            for name, there in self.features.items():
                there |= unkept[name]

    def _inputs(self, orders: dict[str, Order]) -> Iterator[tuple[str, str, Volume3D]]:
        """(UID, view, what the encoder gets); each volume is read once."""
        volumes = [self.by_uid[uid] for uid in orders]
        data = self.encoding.experiment.data
        breadth = Breadth.of(data.connections, data.num_workers)
        for volume, x_DHW in load_volumes(self.reader, volumes, breadth, self.quarantine):
            uid = volume.record.sop_instance_uid
            for name in orders[uid]:
                yield uid, name, self.views[name].of(x_DHW, uid)

    def level(self) -> None:
        """*Collective.* Give every process what process 0 has: it may have looked after another run's last shard."""
        self.read()
        runtime = self.encoding.runtime
        for name, there in self.features.items():
            lacking = {uid for uids in runtime.collect(self._lacking(name)) for uid in uids}
            if lacking:
                there |= runtime.share(partial(_chosen, there, lacking))


def _chosen(features: Features, uids: Iterable[str]) -> Features:
    return {uid: features[uid] for uid in uids}
