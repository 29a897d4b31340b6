"""Where a loop's batches come from: cached features, or volumes read and augmented on the way.

Shapes: V views, N volumes of the cohort, B batch, E embedding, T tokens, D H W voxels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
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
from octjob.train.epoch import views
from octjob.train.units import Indices

Float32 = npt.NDArray[np.float32]

# So many are read before the first is taken, say while the epoch before is scored.
FIRST_BATCHES = 2


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
        """Augmented anew each epoch. The first batches are being read from now on."""
        return self._batches(batches, epoch, seed)

    def eval_batches(self, batches: Sequence[Indices]) -> Iterator[Tensor]:
        """As preprocessed. The first batches are being read from now on."""
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
        return Ahead(batches, lambda i: reading.ask(i, epoch, seed), reading.num_ahead)


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
        self.num_ahead = self._stream.num_ahead

    def ask(self, position: int, epoch: int | None, seed: int) -> Future[Float32]:
        """The volume at a position of the cohort, augmented for the epoch; None for as it is."""
        volume = self._volumes[position]
        kept_DHW = self._kept.get(volume.record.sop_instance_uid)
        if kept_DHW is None:
            given = self._stream.ask(volume)
        else:
            given = Future()
            given.set_result(kept_DHW)
        return self._augmenting.after(
            given, partial(self._finish, volume.record.sop_instance_uid, epoch, seed)
        )

    def _finish(self, uid: str, epoch: int | None, seed: int, x_DHW: Float32) -> Float32:
        x_DHW = self._kept.keep(uid, x_DHW)
        if epoch is None or not self._config.any:
            return x_DHW
        return augment(x_DHW, self._config, augment_seed(seed, epoch, uid))

    def close(self) -> None:
        self._stream.close()
        self._augmenting.close()


class Ahead(Iterator[Tensor]):
    """Batches of volumes, (B, 1, D, H, W) each, asked for before they are needed.

    ask: begins to read the volume at a position. The first `FIRST_BATCHES` batches are asked for at once; once the
    first is taken, as many as come to `num_ahead` volumes.
    """

    def __init__(
        self, batches: Sequence[Indices], ask: Callable[[int], Future[Float32]], num_ahead: int
    ) -> None:
        self._left = deque(batches)
        self._ask = ask
        self._num_ahead = num_ahead
        self._asked: deque[list[Future[Float32]]] = deque()
        self._fill(0)

    def __next__(self) -> Tensor:
        if not self._asked:
            raise StopIteration
        self._fill(self._num_ahead)
        x_BDHW = np.stack([x_DHW.result() for x_DHW in self._asked.popleft()])
        return torch.from_numpy(x_BDHW)[:, None]

    def _fill(self, num_volumes: int) -> None:
        while self._left and (len(self._asked) < FIRST_BATCHES or sum(map(len, self._asked)) < num_volumes):
            batch = self._left.popleft().tolist()
            # A volume that pads the batch is there more than once.
            asked = {position: self._ask(position) for position in dict.fromkeys(batch)}
            self._asked.append([asked[position] for position in batch])
