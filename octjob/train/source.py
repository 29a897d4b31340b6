"""Where a loop's batches come from: cached features, or volumes read and augmented on the way.

Shapes: V views, N volumes of the cohort, B batch, E embedding, T tokens, D H W voxels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from octjob.data.augment import augment, augment_seed
from octjob.data.cohort import Volume
from octjob.data.kept import KeptVolumes
from octjob.data.pool import Pool
from octjob.data.stream import Breadth, VolumeStream
from octjob.data.volumes import VolumeReader
from octjob.spec.experiment import Data, Experiment
from octjob.train.ahead import Ahead, Batch
from octjob.train.epoch import views
from octjob.train.units import Indices

Float32 = npt.NDArray[np.float32]


class Source(Protocol):
    """Batches by position in the cohort's volumes."""

    def train_batches(self, batches: Sequence[Indices], epoch: int, seed: int) -> Iterator[Tensor]:
        """One training input per batch of positions, in order: a function of seed, epoch and positions only."""
        ...

    def eval_batches(self, batches: Sequence[Indices]) -> Iterator[Tensor]:
        """The unaugmented inputs."""
        ...


class FeatureSource:
    """Features already in memory.

    x_VN: float32 (V, N, E) or (V, N, T, E); view 0 is the volume itself.
    """

    def __init__(self, x_VN: Tensor) -> None:
        self.x_VN = x_VN

    def train_batches(self, batches: Sequence[Indices], epoch: int, seed: int) -> Iterator[Tensor]:
        """A random view of each volume, drawn anew each epoch."""
        num_views, num_volumes = self.x_VN.shape[:2]
        view_N = torch.from_numpy(views(seed, epoch, num_views, num_volumes))
        for batch in batches:
            positions = torch.from_numpy(batch)
            yield self.x_VN[view_N[positions], positions]

    def eval_batches(self, batches: Sequence[Indices]) -> Iterator[Tensor]:
        """View 0."""
        for batch in batches:
            yield self.x_VN[0, torch.from_numpy(batch)]


class VolumeSource:
    """Volumes read ahead, from the source once and then from memory or the volume cache.

    kept: those in memory, and the room for more of them. What reads and augments lives from the first batch to
    `close`, over all epochs and units.
    """

    def __init__(
        self, reader: VolumeReader, volumes: Sequence[Volume], experiment: Experiment, kept: KeptVolumes
    ) -> None:
        self.reader = reader
        self.volumes = volumes
        self.experiment = experiment
        self.kept = kept
        self._reading: _Reading | None = None

    def train_batches(self, batches: Sequence[Indices], epoch: int, seed: int) -> Iterator[Tensor]:
        """Augmented anew each epoch. They are read behind all that was asked for before, from now on."""
        return self._batches(batches, epoch, seed)

    def eval_batches(self, batches: Sequence[Indices]) -> Iterator[Tensor]:
        """As preprocessed; read likewise."""
        return self._batches(batches, None, 0)

    def close(self) -> None:
        """End all reading; the next batches that are asked for begin anew."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _batches(self, batches: Sequence[Indices], epoch: int | None, seed: int) -> Iterator[Tensor]:
        if self._reading is None:
            self._reading = _Reading(self.reader, self.volumes, self.experiment.data, self.kept)
        reading = self._reading
        return reading.ahead.batches(batches, lambda positions: reading.ask(positions, epoch, seed))


class _Reading:
    """What is open while batches are read: threads, connections and decoding processes."""

    def __init__(
        self, reader: VolumeReader, volumes: Sequence[Volume], data: Data, kept: KeptVolumes
    ) -> None:
        self._volumes = volumes
        self._config = data.augment
        breadth = Breadth.of(data.connections, data.num_workers)
        self._stream = VolumeStream(reader, breadth)
        self._augmenting = Pool(max(1, breadth.num_workers), "augment")
        self._kept = kept
        self._size = reader.size
        self.ahead = Ahead(self._stream.num_ahead)

    def ask(self, positions: Indices, epoch: int | None, seed: int) -> Batch:
        """The volumes at these positions of the cohort, augmented for the epoch; None for as they are."""
        x_BDHW = np.empty((len(positions), *self._size), np.float32)
        rows: dict[int, list[Float32]] = {}
        for position, x_DHW in zip(positions.tolist(), x_BDHW, strict=True):
            # A volume that pads the batch is there more than once.
            rows.setdefault(position, []).append(x_DHW)
        return Batch(x_BDHW, [self._ask(position, epoch, seed, rows[position]) for position in rows])

    def _ask(self, position: int, epoch: int | None, seed: int, rows: list[Float32]) -> Future[None]:
        volume = self._volumes[position]
        kept_DHW = self._kept.get(volume.record.sop_instance_uid)
        if kept_DHW is None:
            given = self._stream.ask(volume)
        else:
            given = Future()
            given.set_result(kept_DHW)
        finish = partial(self._finish, volume.record.sop_instance_uid, epoch, seed, rows)
        return self._augmenting.after(given, finish)

    def _finish(self, uid: str, epoch: int | None, seed: int, rows: list[Float32], x_DHW: Float32) -> None:
        """Put it into its rows of the batch."""
        x_DHW = self._kept.keep(uid, x_DHW)
        first, *more = rows
        if epoch is None or not self._config.any:
            first[:] = x_DHW
        else:
            augment(x_DHW, self._config, augment_seed(seed, epoch, uid), first)
        for row in more:
            row[:] = first

    def close(self) -> None:
        self.ahead.close()
        self._stream.close()
        self._augmenting.close()
