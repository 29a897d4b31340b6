"""What heads that are trained together see: who shares batches with whom, and an epoch's batches as tensors.

A head's batches are those that it would see alone, filled up with rows of weight 0.

Shapes: S streams, R heads of each, T steps of an epoch, B rows of a step, b rows of a batch whose dropout
is drawn at once, V views, N volumes, n a head's training samples, E features, F features under dropout, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from octjob.runtime.base import seed_of
from octjob.spec.experiment import Experiment
from octjob.train import epoch as epochs
from octjob.train.loop import Task
from octjob.train.units import Indices, Unit

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Member:
    """One head among those trained together, on features x_VN, float32 (V, N, E) on the CPU.

    Members may differ in unit, learning rate, weight decay, class weights, clipping and early stopping; the rest of
    their experiments, the number of volumes and that of steps of an epoch is the same.
    """

    task: Task
    experiment: Experiment
    x_VN: Tensor

    @property
    def unit(self) -> Unit:
        """The task's."""
        return self.task.unit


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of an epoch, with T first, or of one step.

    row: int64 (T, S, B), rows of `Streams.x_row_E`. target: float32 (T, S, 1, K, B), 1 for a row's class.
    weight: float32 (T, S, R, 1, B), or (T, S, 1, 1, B) where a stream's heads weigh alike: class weight by the
    samples of a full step, 0 for padding.
    """

    row: Tensor
    target: Tensor
    weight: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Batches:
        """With `function` applied to each tensor."""
        return Batches(function(self.row), function(self.target), function(self.weight))

    def steps(self) -> list[Batches]:
        """Step by step."""
        tensors = (self.row.unbind(), self.target.unbind(), self.weight.unbind())
        return [Batches(*of_step) for of_step in zip(*tensors, strict=True)]


class Streams:
    """Heads by what they see: those of one stream see the same batches, in every epoch.

    x_row_E: the features of all, a row for each view and volume. active: the heads that still train, by their place
    among the members, a stream's as neighbours. groups: these, stream by stream, equally many in each. num_rows: B.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self._experiment = members[0].experiment
        distinct = {id(member.x_VN): member.x_VN for member in members}
        parts = [x_VN.flatten(0, 1) for x_VN in distinct.values()]
        self.x_row_E = parts[0] if len(parts) == 1 else torch.cat(parts)
        self._num_views, self._num_volumes = members[0].x_VN.shape[:2]
        places = {key: place for place, key in enumerate(distinct)}
        self._first_row = [
            places[id(member.x_VN)] * self._num_views * self._num_volumes for member in members
        ]
        streams: dict[object, list[int]] = {}
        for i, member in enumerate(members):
            unit = member.unit
            key = (unit.seed, unit.train_N.tobytes(), id(member.x_VN))
            streams.setdefault(key, []).append(i)
        self._stream = {i: number for number, group in enumerate(streams.values()) for i in group}
        # Whoever the members are: a product over more rows may be rounded otherwise.
        self.num_rows = epochs.step_size(self._experiment, self._num_volumes)
        self.keep(sorted(range(len(members)), key=lambda i: self._stream[i]))

    def keep(self, active: Sequence[int]) -> None:
        """Go on with these heads, a stream's as neighbours. Streams of unequal numbers are taken head by head."""
        self.active = list(active)
        groups: dict[int, list[int]] = {}
        for i in self.active:
            groups.setdefault(self._stream[i], []).append(i)
        equal = len({len(group) for group in groups.values()}) == 1
        self.groups = list(groups.values()) if equal else [[i] for i in self.active]

    @property
    def num_steps(self) -> int:
        """T, of every epoch."""
        return epochs.steps_per_epoch(self._experiment, len(self.members[0].unit.train_N))

    def batches(self, epoch: int) -> Batches:
        """Those of an epoch, on the CPU."""
        parts = [self._of_stream(group, epoch) for group in self.groups]
        row, label, weight = (torch.from_numpy(np.stack(x, axis=1)) for x in zip(*parts, strict=True))
        target_TSBK = one_hot(label, self._experiment.classes.num_classes).float()
        return Batches(
            row,
            target_TSBK.transpose(2, 3)[:, :, None].contiguous(),
            weight.transpose(2, 3)[:, :, :, None].contiguous(),
        )

    def _of_stream(self, group: Sequence[int], epoch: int) -> tuple[Array, Array, Array]:
        """Rows and labels (T, B), weights (T, B, R) or (T, B, 1)."""
        first = self.members[group[0]]
        unit, label_N = first.unit, first.task.label_N
        position_n = epochs.order(unit, label_N, self._experiment, epoch)
        view_N = epochs.views(unit.seed, epoch, self._num_views, self._num_volumes)
        row_n = self._first_row[group[0]] + view_N[position_n] * self._num_volumes + position_n
        weight_nR = self._weights(group, label_N[position_n])
        padding = self.num_steps * self.num_rows - len(position_n)
        shape = (self.num_steps, self.num_rows)
        return (
            np.pad(row_n, (0, padding), mode="edge").reshape(shape),
            np.pad(label_N[position_n], (0, padding)).reshape(shape),
            np.pad(weight_nR, ((0, padding), (0, 0))).reshape(*shape, -1),
        )

    def _weights(self, group: Sequence[int], label_n: Indices) -> npt.NDArray[np.float32]:
        """(n, R) or (n, 1): what each sample's loss is multiplied with."""
        size = epochs.step_size(self._experiment, len(label_n))
        tables = [self.members[i].task.class_weight_K for i in group]
        if any(self.members[i].task.class_weight_K is not None for i in self.active):
            ones_K = np.ones(self._experiment.classes.num_classes)
            weight_nR = np.stack([ones_K if w_K is None else w_K for w_K in tables], axis=1)[label_n]
        else:
            weight_nR = np.ones((len(label_n), 1))
        return np.asarray(weight_nR / size, dtype=np.float32)

    def dropout(self, epoch: int, step: int) -> Tensor | None:
        """What the step's features are multiplied with, float32 (S, B, F) on the CPU; None without dropout.

        Drawn as for a head alone: for each batch by seed, epoch and the batch's number.
        """
        if not self._experiment.model.head.dropout:
            return None
        units = [self.members[group[0]].unit for group in self.groups]
        keys = [(unit.seed, len(unit.train_N)) for unit in units]
        drawn = {key: self._drawn(*key, epoch, step) for key in dict.fromkeys(keys)}
        return torch.stack([drawn[key] for key in keys])

    def _drawn(self, seed: int, num_samples: int, epoch: int, step: int) -> Tensor:
        """(B, F) for a head of that seed with so many samples."""
        head, size = self._experiment.model.head, self._experiment.data.batch_size
        mask_BF = torch.zeros(self.num_rows, head.hidden or self.x_row_E.shape[-1])
        first = step * self._experiment.train.accumulate
        for number, place in enumerate(range(0, self.num_rows, size), first + 1):
            num_rows = min(size, num_samples - (number - 1) * size)
            if num_rows > 0:
                generator = torch.Generator().manual_seed(seed_of((seed, epoch, number)))
                drawn_bF = mask_BF[place : place + num_rows]
                drawn_bF.bernoulli_(1 - head.dropout, generator=generator).div_(1 - head.dropout)
        return mask_BF
