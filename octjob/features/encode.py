"""Encode every volume once per view and keep the features.

Shapes: D, H, W voxels; N tokens; E embedding; T pooled tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch

from octjob.data.augment import IDENTITY, augment, augment_seed
from octjob.data.cohort import Volume
from octjob.data.preprocess import preprocess_digest
from octjob.data.quarantine import Quarantine
from octjob.data.volumes import VolumeReader, load_volumes
from octjob.features.lease import Lease
from octjob.features.store import FeatureKey, Features, FeatureStore
from octjob.models.checkpoint import LoadedEncoder
from octjob.models.pooling import PROBE_GRID, pool_tokens, token_grid
from octjob.runtime.base import Runtime
from octjob.spec.experiment import Augment, Experiment
from octjob.storage.base import ObjectStore
from octjob.tick import Tick

Volume3D = npt.NDArray[np.float32]
Loaded = tuple[Volume, Volume3D]

# A shard is written when it is full or this old, so that a killed run loses little.
_SHARD_VOLUMES = 64
_SHARD_S = 30.0
_POLL_S = 0.5


@dataclass(frozen=True)
class Encoding:
    """How volumes become features: one encoder, one preprocessing, one pooling."""

    loaded: LoadedEncoder
    experiment: Experiment
    runtime: Runtime

    def key(self, view: int) -> FeatureKey:
        """The content address of one view's features."""
        geometry = self.loaded.encoder.geometry
        return FeatureKey(
            encoder=self.loaded.report.encoder_digest,
            preprocess=preprocess_digest(self.experiment.data.profile, geometry.volume_size),
            view=view_name(self.experiment.data.augment, view),
            pooling=self.pooling,
            precision=self.experiment.train.precision,
            backend=self.runtime.backend,
        )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Token grid of the attentive probe: the encoder's own, or `PROBE_GRID` where that is coarser."""
        d, h, w = (min(a, b) for a, b in zip(PROBE_GRID, self.loaded.encoder.geometry.grid, strict=True))
        return d, h, w

    @property
    def pooling(self) -> str:
        """`mean`, `max` or `grid-DxHxW`."""
        method = self.experiment.model.pool_method
        return f"grid-{'x'.join(map(str, self.grid))}" if method == "attentive" else method

    def encode(self, volumes: Sequence[Volume3D]) -> list[npt.NDArray[np.float32]]:
        """The features of at most `own_shards` volumes (D, H, W): (E) for mean and max, (T, E) for attentive.

        One volume a device, so that a feature never depends on its neighbours in a batch. Every process of the
        runtime calls this as often as the others, with nothing where it has no more.
        """
        blank = np.zeros(self.loaded.encoder.geometry.volume_size, np.float32)
        padding = [blank] * (self.runtime.own_shards - len(volumes))
        x_bCDHW = torch.from_numpy(np.stack([*volumes, *padding]))[:, None]
        bf16 = self.experiment.train.precision == "bf16"
        with torch.no_grad(), self.runtime.autocast(bf16):
            tokens_BNE = self.loaded.encoder(self.runtime.batch(x_bCDHW)).float()
        if self.experiment.model.pool_method == "attentive":
            pooled = token_grid(tokens_BNE, self.loaded.encoder.geometry, self.grid)
        else:
            pooled = pool_tokens(tokens_BNE, self.experiment.model.pool_method)
        own = self.runtime.gather(pooled)[self.runtime.rows(self.runtime.num_shards)]
        return list(own[: len(volumes)].numpy())


def view_name(config: Augment, view: int) -> str:
    """The part of a feature's address that says which view it is."""
    if view == IDENTITY:
        return "identity"
    on = [name for name in ("flip", "intensity_jitter", "random_crop", "rotation") if getattr(config, name)]
    return f"{'+'.join(on)}-{view}"


def num_views(config: Augment) -> int:
    """Views per training volume: the volume itself, and more only where some augmentation is on."""
    return config.views if config.any else 1


def encode_views(
    encoding: Encoding,
    cache: ObjectStore,
    reader: VolumeReader,
    volumes: Sequence[Volume],
    augmented: Collection[str],
    quarantine: Quarantine,
    owner: str,
    tick: Tick,
) -> npt.NDArray[np.float32]:
    """Features of every view of every volume not in `quarantine`, in the volumes' order: (V, N, E) or (V, N, T, E).

    augmented: the UIDs of volumes that have augmented views. The others repeat view 0 there, which nothing may read.
    The rest is as in `encode_volumes`.
    """

    def encoded(chosen: Sequence[Volume], view: int) -> Features:
        return encode_volumes(encoding, cache, reader, chosen, view, quarantine, owner, tick)

    identity = encoded(volumes, IDENTITY)
    chosen = [v for v in volumes if v.record.sop_instance_uid in augmented]
    others = range(1, num_views(encoding.experiment.data.augment)) if chosen else ()
    views = [identity, *({**identity, **encoded(chosen, view)} for view in others)]
    # Only now: a volume whose first view was cached may have become unreadable for the second.
    readable = [v for v in volumes if v.record.sop_instance_uid not in quarantine.uids]
    return np.stack([np.stack([view[v.record.sop_instance_uid] for v in readable]) for view in views])


def encode_volumes(
    encoding: Encoding,
    cache: ObjectStore,
    reader: VolumeReader,
    volumes: Sequence[Volume],
    view: int,
    quarantine: Quarantine,
    owner: str,
    tick: Tick,
) -> Features:
    """Features of one view by SOP instance UID, made now or by an earlier or concurrent run.

    `owner` is the run's id: its own attempts do not wait for each other. Volumes that cannot be read are put
    into `quarantine` and are absent. `tick(done, total)` is called after each volume of each device, by all processes
    of the runtime alike, and may raise to stop; what was encoded until then is kept.
    """
    store = FeatureStore(cache, encoding.key(view))
    runtime = encoding.runtime
    lease = Lease(cache, store.lease_key, owner)
    by_uid = {volume.record.sop_instance_uid: volume for volume in volumes}
    features = store.read(by_uid)

    def missing() -> list[str]:
        """As process 0 sees it, so that all do the same."""
        return runtime.share(lambda: [u for u in by_uid if u not in features and u not in quarantine.uids])

    def progress(num_encoded: int, done: int) -> None:
        if runtime.index == 0:
            lease.renew()
        tick(done + num_encoded, len(by_uid))

    while wanted := missing():
        tick(len(by_uid) - len(wanted), len(by_uid))
        if not runtime.share(lease.acquire):
            time.sleep(_POLL_S)
            features |= store.read(wanted)
            continue
        try:
            # Another worker may have finished between our reading and our lease.
            features |= store.read(wanted)
            todo = missing()
            own = [by_uid[uid] for uid in todo[runtime.index :: runtime.num_processes]]
            done = len(by_uid) - len(todo)
            features |= _encode(encoding, reader, own, view, quarantine, store, partial(progress, done=done))
            quarantine.merge(runtime.collect(quarantine.entries))
            theirs = [uid for uid in todo if uid not in features and uid not in quarantine.uids]
            features |= store.read(theirs) if theirs else {}
        finally:
            if runtime.index == 0:
                lease.release()
    return features


def in_step(loaded: Iterator[Loaded], runtime: Runtime, size: int) -> Iterator[list[Loaded]]:
    """At most `size` volumes at a time, as often in each process; empty where only others have some left."""
    while True:
        chunk = list(islice(loaded, size))
        if not runtime.agree(bool(chunk)):
            return
        yield chunk


def _augmented(x_DHW: Volume3D, config: Augment, view: int, uid: str) -> Volume3D:
    return x_DHW if view == IDENTITY else augment(x_DHW, config, augment_seed(0, view, uid))


def _encode(
    encoding: Encoding,
    reader: VolumeReader,
    volumes: Sequence[Volume],
    view: int,
    quarantine: Quarantine,
    store: FeatureStore,
    progress: Callable[[int], None],
) -> Features:
    """Encode and store in shards; what is encoded is stored even when `progress` raises to stop."""
    data = encoding.experiment.data
    features: Features = {}
    shard: Features = {}
    written_at = time.monotonic()
    try:
        loaded = load_volumes(reader, volumes, data.num_workers, quarantine)
        for chunk in in_step(loaded, encoding.runtime, encoding.runtime.own_shards):
            uids = [volume.record.sop_instance_uid for volume, _ in chunk]
            inputs = [
                _augmented(x_DHW, data.augment, view, uid)
                for uid, (_, x_DHW) in zip(uids, chunk, strict=True)
            ]
            made = dict(zip(uids, encoding.encode(inputs), strict=True))
            features |= made
            shard |= made
            if len(shard) >= _SHARD_VOLUMES or time.monotonic() - written_at > _SHARD_S:
                store.write(shard)
                shard, written_at = {}, time.monotonic()
            progress(len(features))
    finally:
        if shard:
            store.write(shard)
    return features
