"""Where a loop's batches come from: cached features, or volumes read and augmented on the way.

Shapes: V views, N volumes of the cohort, B batch, E embedding, T tokens, D H W voxels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from octjob.data.augment import augment, augment_seed
from octjob.data.cohort import Volume
from octjob.data.volumes import VolumeReader
from octjob.spec.experiment import Experiment
from octjob.train.epoch import views
from octjob.train.units import Indices


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
    """Volumes read by `num_workers` threads, a few batches ahead."""

    def __init__(self, reader: VolumeReader, volumes: Sequence[Volume], experiment: Experiment) -> None:
        self.reader = reader
        self.volumes = volumes
        self.experiment = experiment

    def train_batches(self, batches: Sequence[Indices], epoch: int, seed: int) -> Iterator[Tensor]:
        """Augmented anew each epoch."""
        return self._batches(batches, epoch, seed)

    def eval_batches(self, batches: Sequence[Indices]) -> Iterator[Tensor]:
        """As preprocessed."""
        return self._batches(batches, None, 0)

    def _batches(self, batches: Sequence[Indices], epoch: int | None, seed: int) -> Iterator[Tensor]:
        workers = max(1, self.experiment.data.num_workers)
        with ThreadPoolExecutor(workers) as pool:
            pending: deque[list[Future[npt.NDArray[np.float32]]]] = deque()
            queue = iter(batches)
            try:
                while True:
                    while len(pending) < 2 and (batch := next(queue, None)) is not None:
                        pending.append([pool.submit(self._read, int(i), epoch, seed) for i in batch])
                    if not pending:
                        return
                    x_BDHW = np.stack([future.result() for future in pending.popleft()])
                    yield torch.from_numpy(x_BDHW)[:, None]
            finally:
                for futures in pending:
                    for future in futures:
                        future.cancel()

    def _read(self, position: int, epoch: int | None, seed: int) -> npt.NDArray[np.float32]:
        volume = self.volumes[position]
        x_DHW = self.reader.read(volume)
        config = self.experiment.data.augment
        if epoch is None or not config.any:
            return x_DHW
        return augment(x_DHW, config, augment_seed(seed, epoch, volume.record.sop_instance_uid))
