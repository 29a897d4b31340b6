"""The features that a run needs of some volumes, and the making of those that are missing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

from octjob.data.augment import IDENTITY
from octjob.data.cohort import Volume
from octjob.data.quarantine import Quarantine
from octjob.data.stream import Breadth, load_volumes
from octjob.data.volumes import VolumeReader
from octjob.features.encoding import Encoding
from octjob.features.memory import FeatureMemory
from octjob.features.store import Features, FeatureStore, Form, Shards
from octjob.features.views import View, Volume3D, views_of
from octjob.models.pooling import VECTORS
from octjob.runtime.base import Runtime
from octjob.spec.experiment import Experiment
from octjob.storage.base import ObjectStore

T = TypeVar("T")

# What the rest of the sweep wants of this encoder; asked for only where something is to be encoded.
Others = Callable[[], Sequence[Experiment]]
# What is to be made of a volume: the poolings of each view, by its name.
Order = dict[str, tuple[str, ...]]


def in_step(each: Iterator[T], runtime: Runtime, size: int) -> Iterator[list[T]]:
    """At most `size` at a time, as often in each process; empty where only others have some left."""
    while True:
        chunk = list(islice(each, size))
        if not runtime.agree(bool(chunk)):
            return
        yield chunk


class Work:
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
