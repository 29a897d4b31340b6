"""Encode every volume once per view and keep the features.

Shapes: D, H, W voxels; N tokens; E embedding; T pooled tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch

from octjob.data.augment import IDENTITY, augment, augment_seed
from octjob.data.cohort import Volume
from octjob.data.quarantine import Quarantine
from octjob.data.volume_format import VolumeFormat
from octjob.data.volumes import VolumeReader, load_volumes
from octjob.features.claims import Claims
from octjob.features.pace import Pace
from octjob.features.store import FeatureKey, Features, FeatureStore, Shards
from octjob.models.checkpoint import LoadedEncoder
from octjob.models.pooling import PROBE_GRID, pool_tokens, token_grid
from octjob.runtime.base import Runtime
from octjob.spec.experiment import Augment, Experiment
from octjob.storage.base import ObjectStore
from octjob.tick import Tick

Volume3D = npt.NDArray[np.float32]
Loaded = tuple[Volume, Volume3D]

_POLL_S = 0.5


@dataclass(frozen=True)
class Encoding:
    """How volumes become features: one encoder, one preprocessing, one pooling."""

    loaded: LoadedEncoder
    experiment: Experiment
    runtime: Runtime

    def key(self, view: int) -> FeatureKey:
        """The content address of one view's features."""
        data, geometry = self.experiment.data, self.loaded.encoder.geometry
        return FeatureKey(
            encoder=self.loaded.report.encoder_digest,
            preprocess=VolumeFormat(data.profile, geometry.volume_size, data.volume_dtype).digest,
            view=view_name(data.augment, view),
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

    Runs that need the same features divide the volumes, round by round, by `Claims`. `owner` is the run's id: its own
    attempts do not wait for each other. Volumes that cannot be read are put into `quarantine` and are absent.
    `tick(done, total)` is called after each volume of each device, by all processes of the runtime alike, and may
    raise to stop; what was encoded until then is kept.
    """
    work = _Work(encoding, FeatureStore(cache, encoding.key(view)), reader, volumes, view, quarantine)
    work.read()
    pace = Pace(encoding.runtime.num_shards)
    with Claims(cache, work.store.claims_prefix, owner) as claims:
        # What process 0 misses, so that all do the same.
        while missing := encoding.runtime.share(work.missing):
            tick(len(work.by_uid) - len(missing), len(work.by_uid))
            if not _round(work, claims, pace, missing, tick):
                time.sleep(_POLL_S)
            work.read()
    work.level()
    return work.features


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
        todo = runtime.share(lambda: _whole_steps(work.missing(claimed), runtime.num_shards))
        began = time.monotonic()
        work.encode(todo, progress)
        pace.took(len(todo), time.monotonic() - began)
    finally:
        claims.release()
    return True


def _whole_steps(uids: Sequence[str], num_shards: int) -> Sequence[str]:
    """Without the last few, which would leave devices idle: the next round takes them, unless there are no others."""
    return uids[: len(uids) - len(uids) % num_shards] or uids


def in_step(loaded: Iterator[Loaded], runtime: Runtime, size: int) -> Iterator[list[Loaded]]:
    """At most `size` volumes at a time, as often in each process; empty where only others have some left."""
    while True:
        chunk = list(islice(loaded, size))
        if not runtime.agree(bool(chunk)):
            return
        yield chunk


def _augmented(x_DHW: Volume3D, config: Augment, view: int, uid: str) -> Volume3D:
    return x_DHW if view == IDENTITY else augment(x_DHW, config, augment_seed(0, view, uid))


class _Work:
    """One view of the features of some volumes: what there is of them, and the making of the rest.

    All processes of the runtime do it together; methods marked *collective* are called by all of them.
    """

    def __init__(
        self,
        encoding: Encoding,
        store: FeatureStore,
        reader: VolumeReader,
        volumes: Sequence[Volume],
        view: int,
        quarantine: Quarantine,
    ) -> None:
        self.encoding = encoding
        self.store = store
        self.reader = reader
        self.by_uid = {volume.record.sop_instance_uid: volume for volume in volumes}
        self.view = view
        self.quarantine = quarantine
        self.features: Features = {}

    def missing(self, uids: Iterable[str] | None = None) -> list[str]:
        """Those of `uids`, of all by default, that this process neither has nor has found unreadable."""
        left_out = self.quarantine.uids
        wanted = self.by_uid if uids is None else uids
        return [uid for uid in wanted if uid not in self.features and uid not in left_out]

    def read(self) -> None:
        """Take in what others have written."""
        if missing := self.missing():
            self.features |= self.store.read(missing)

    def encode(self, uids: Sequence[str], progress: Callable[[int], None]) -> None:
        """*Collective.* Encode and store these in shards; what is encoded is stored even when `progress` raises.

        `progress(n)` is called after each volume of each device, n of this process's.
        """
        runtime = self.encoding.runtime
        own = [self.by_uid[uid] for uid in uids[runtime.index :: runtime.num_processes]]
        shards = Shards(self.store)
        num_encoded = 0
        try:
            loaded = load_volumes(
                self.reader, own, self.encoding.experiment.data.num_workers, self.quarantine
            )
            for chunk in in_step(loaded, runtime, runtime.own_shards):
                made = self._made(chunk)
                self.features |= made
                shards.add(made)
                num_encoded += len(made)
                progress(num_encoded)
        finally:
            shards.close()
        self.quarantine.merge(runtime.collect(self.quarantine.entries))
        for unkept in runtime.collect(shards.unkept):
            self.features |= unkept

    def _made(self, chunk: Sequence[Loaded]) -> Features:
        uids = [volume.record.sop_instance_uid for volume, _ in chunk]
        config = self.encoding.experiment.data.augment
        inputs = [
            _augmented(x_DHW, config, self.view, uid) for uid, (_, x_DHW) in zip(uids, chunk, strict=True)
        ]
        return dict(zip(uids, self.encoding.encode(inputs), strict=True))

    def level(self) -> None:
        """*Collective.* Give every process what process 0 has: it may have looked after another run's last shard."""
        self.read()
        runtime = self.encoding.runtime
        lacking = {uid for uids in runtime.collect(self.missing()) for uid in uids}
        if lacking:
            self.features |= runtime.share(lambda: {uid: self.features[uid] for uid in lacking})
