"""The optimisation loop of one unit, for heads on features and for whole networks alike.

Everything the next step depends on is in `Loop.state()`: stopped anywhere and continued from that state, the loop
ends with the same weights, bit for bit on one kind of device. Shapes: N volumes, B padded batch, b this process's
rows of it, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from octjob.runtime.base import Runtime
from octjob.spec.experiment import Experiment
from octjob.train import epoch
from octjob.train.optimizer import as_here
from octjob.train.schedule import lr_factor
from octjob.train.source import Source
from octjob.train.step import Step
from octjob.train.units import Indices, Unit

Mask = npt.NDArray[np.bool_]
Scores = Callable[[Indices, npt.NDArray[np.float64]], dict[str, float]]
State = dict[str, Any]


class Training(Protocol):
    """What is seen of one unit's training, or of several units' that go through their epochs together.

    name: of this composition of units. best_metric: the best value of the watched metric so far. waited: the share
    of the last epoch's training that went by waiting for data; no part of the state.
    """

    epoch: int
    step: int
    waited: float

    @property
    def units(self) -> Sequence[Unit]: ...

    @property
    def name(self) -> str: ...

    @property
    def steps_per_epoch(self) -> int: ...

    @property
    def best_metric(self) -> float | None: ...

    def state(self) -> State:
        """Everything that follows from the steps taken, as tensors of the CPU and plain values."""
        ...


class Hooks(Protocol):
    """What a training tells the outside."""

    def after_step(self, training: Training) -> None:
        """After every trained and evaluated batch; may save the state and raise `Interrupted`."""
        ...

    def after_epoch(self, training: Training, records: Sequence[dict[str, Any]]) -> None:
        """After every epoch, with its line of history for each unit that went through it."""
        ...


@dataclass(frozen=True, eq=False)
class Task:
    """What a unit trains on: labels of all volumes (N), its positions, class weights (K) and scoring."""

    unit: Unit
    label_N: npt.NDArray[np.int64]
    class_weight_K: npt.NDArray[np.float64] | None
    scores: Scores


@dataclass(frozen=True, eq=False)
class _Parts:
    """What a loop goes through: this process's positions of each batch, which of them count, and their inputs."""

    padded: list[tuple[Indices, Mask]]
    inputs: Iterator[Tensor]


@dataclass(frozen=True, eq=False)
class _Next:
    """What comes after an epoch's steps, begun with them, so that a source of volumes can read it while they end.

    watched: of the holdout, None without early stopping. epoch: the next one, None after the last.
    """

    evaluated: _Parts
    watched: _Parts | None
    epoch: _Parts | None


class Loop:
    """Trains `model`, a head or a `Classifier` with its encoder, on `source` as `task` says.

    microbatches: equal parts that each batch is taken in. A step's gradient is a sum over its samples, so it is the
    same up to rounding; what is drawn on the devices, dropout, is drawn anew for each part.
    """

    def __init__(
        self,
        model: nn.Module,
        source: Source,
        task: Task,
        experiment: Experiment,
        runtime: Runtime,
        microbatches: int = 1,
    ) -> None:
        self.source = source
        self.task = task
        self.experiment = experiment
        self.runtime = runtime
        self.microbatches = microbatches
        self.train_step = Step(model, experiment, runtime, self.step_size)
        self.model, self.optimizer = self.train_step.model, self.train_step.optimizer
        self.encoder = self.train_step.encoder
        self.epoch = 0
        self.step = 0
        self.best_metric: float | None = None
        self.best_epoch: int | None = None
        self.best_weights: State | None = None
        self.bad_epochs = 0
        self.stopped_early = False
        self.waited = 0.0

    @property
    def units(self) -> list[Unit]:
        """The one."""
        return [self.task.unit]

    @property
    def name(self) -> str:
        """The unit's."""
        return self.task.unit.name

    @property
    def num_samples(self) -> int:
        """Training volumes of the unit."""
        return len(self.task.unit.train_N)

    @property
    def step_size(self) -> int:
        """Samples of an optimisation step; the last of an epoch may have fewer."""
        return epoch.step_size(self.experiment, self.num_samples)

    @property
    def steps_per_epoch(self) -> int:
        """Optimisation steps an epoch."""
        return epoch.steps_per_epoch(self.experiment, self.num_samples)

    def run(self, hooks: Hooks) -> State:
        """Train to the end, leaving the weights to evaluate in the model; returns those of the last epoch."""
        train = self.experiment.train
        upcoming: _Next | None = None
        while self.epoch < train.epochs and not self.stopped_early:
            upcoming = self._train_epoch(hooks, None if upcoming is None else upcoming.epoch)
            record = self._end_epoch(upcoming, lambda: hooks.after_step(self))
            hooks.after_epoch(self, [record])
        del upcoming  # nobody will take what was read for an epoch that early stopping spares
        last = self.weights()
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
            self.runtime.end_step()
        return last

    def weights(self) -> State:
        """The model's weights now, on the CPU."""
        return self.runtime.to_host(dict(self.model.state_dict()))

    def _train_epoch(self, hooks: Hooks, begun: _Parts | None) -> _Next:
        """All steps that are left of the epoch. Interrupted within one, that step is taken anew."""
        self.model.train()
        if self.encoder is not None:
            self.encoder.requires_grad_(self._encoder_trains)
        accumulate = self.experiment.train.accumulate * self.microbatches
        first = self.step * accumulate
        parts = begun or self._begin_epoch(self.epoch, first)
        upcoming = self._begin_next()
        last = first + len(parts.padded)
        began, waited_s = time.monotonic(), 0.0
        for number, (own, real) in enumerate(parts.padded, first + 1):
            asked = time.monotonic()
            x_b = next(parts.inputs)
            waited_s += time.monotonic() - asked
            self.runtime.seed(self.task.unit.seed, self.epoch, number)
            self._add(own, real, x_b)
            if number % accumulate == 0 or number == last:
                self.train_step.apply(self._lr_factor())
                self.step += 1
            else:
                self.runtime.end_step()
            hooks.after_step(self)
        self.waited = waited_s / max(time.monotonic() - began, 1e-9)
        return upcoming

    def _begin_epoch(self, number: int, first: int = 0) -> _Parts:
        """The batches of epoch `number` from the `first` on; a source of volumes begins to read them."""
        size = self.experiment.data.batch_size // self.microbatches
        positions = epoch.order(self.task.unit, self.task.label_N, self.experiment, number)
        padded = [self._pad(batch, size) for batch in cut(positions, size)[first:]]
        inputs = self.source.train_batches([own for own, _ in padded], number, self.task.unit.seed)
        return _Parts(padded, inputs)

    def _begin_next(self) -> _Next:
        unit = self.task.unit
        evaluated = self._begin_scoring(unit.eval_N)
        is_watched = self.experiment.train.early_stopping.enabled
        watched = self._begin_scoring(unit.holdout_N) if is_watched else None
        is_last = self.epoch + 1 == self.experiment.train.epochs
        return _Next(evaluated, watched, None if is_last else self._begin_epoch(self.epoch + 1))

    def _pad(self, batch: Indices, full: int) -> tuple[Indices, Mask]:
        """This process's positions of a batch, and which of them are not padding (by the batch's first position)."""
        num_padded = self.runtime.padded(len(batch), full)
        padding = np.full(num_padded - len(batch), batch[0])
        rows = self.runtime.rows(num_padded)
        return np.concatenate([batch, padding])[rows], (np.arange(num_padded) < len(batch))[rows]

    @property
    def _encoder_trains(self) -> bool:
        return self.epoch >= self.experiment.model.unfreeze_at_epoch

    def _add(self, own: Indices, real: Mask, x_b: Tensor) -> None:
        label = self.task.label_N[own]
        weight = real.astype(np.float32)
        if self.task.class_weight_K is not None:
            weight *= self.task.class_weight_K[label].astype(np.float32)
        batch = self.runtime.batch
        self.train_step.add(batch(x_b), batch(torch.from_numpy(label)), batch(torch.from_numpy(weight)))

    def _lr_factor(self) -> float:
        train = self.experiment.train
        step = self.epoch * self.steps_per_epoch + self.step
        return lr_factor(step, self.steps_per_epoch, train.epochs, train.warmup_epochs, train.scheduler)

    def predict(self, positions: Indices, check: Callable[[], None]) -> npt.NDArray[np.float64]:
        """Logits (N, K) of unaugmented volumes with the model as it is now.

        `check` is called after every batch and may raise to stop. Raises `AssertionError` where what the devices
        give back is not one row for each position, in order.
        """
        return self._predict(positions, self._begin_scoring(positions), check)

    def _begin_scoring(self, positions: Indices) -> _Parts:
        size = self.experiment.data.val_batch_size
        padded = [self._pad(batch, size) for batch in cut(positions, size)]
        return _Parts(padded, self.source.eval_batches([own for own, _ in padded]))

    def _predict(
        self, positions: Indices, parts: _Parts, check: Callable[[], None]
    ) -> npt.NDArray[np.float64]:
        self.model.eval()
        batches = cut(positions, self.experiment.data.val_batch_size)
        logits = [np.zeros((0, self.experiment.classes.num_classes))]
        with torch.no_grad():
            for batch, (own, _), x_b in zip(batches, parts.padded, parts.inputs, strict=True):
                logits.append(self._scored(batch, own, x_b))
                check()
        return np.concatenate(logits)

    def _scored(self, batch: Indices, own: Indices, x_b: Tensor) -> npt.NDArray[np.float64]:
        """A batch's logits, each with the position that it is of on its way through the devices."""
        logits_BK = self.train_step.forward(self.runtime.batch(x_b))
        position_B1 = self.runtime.batch(torch.from_numpy(own).float()[:, None])
        rows = self.runtime.gather(torch.cat([logits_BK, position_B1], dim=1))[: len(batch)]
        if not np.array_equal(rows[:, -1].numpy(), batch.astype(np.float32)):
            raise AssertionError(f"{self.task.unit.name}: rows were lost or mixed up among the devices")
        return rows[:, :-1].double().numpy()

    def _end_epoch(self, upcoming: _Next, check: Callable[[], None]) -> dict[str, Any]:
        unit, stopping = self.task.unit, self.experiment.train.early_stopping
        lr = {group["part"]: group["last_lr"] for group in self.optimizer.param_groups}
        record = epoch.record(unit, self.epoch, lr, *self.runtime.to_host(self.train_step.sums).tolist())
        scored = self.task.scores(unit.eval_N, self._predict(unit.eval_N, upcoming.evaluated, check))
        record |= {f"eval/{name}": value for name, value in scored.items()}
        if upcoming.watched is not None:
            held_out = self.task.scores(
                unit.holdout_N, self._predict(unit.holdout_N, upcoming.watched, check)
            )
            record |= {f"holdout/{name}": value for name, value in held_out.items()}
            # A probe is not what fine-tuning was asked for: epochs with a frozen encoder neither win nor tire.
            if self.encoder is None or self._encoder_trains:
                self._early_stopping(held_out[stopping.metric])
        self.epoch += 1
        self.step = 0
        self.train_step.forget()
        return record

    def _early_stopping(self, value: float) -> None:
        stopping = self.experiment.train.early_stopping
        if epoch.improves(stopping, value, self.best_metric):
            self.best_metric, self.best_epoch, self.bad_epochs = value, self.epoch, 0
            self.best_weights = self.weights()
        else:
            self.bad_epochs += 1
            self.stopped_early = self.bad_epochs >= stopping.patience

    def state(self) -> State:
        """Everything that follows from the steps taken, as tensors of the CPU and plain values."""
        return self.runtime.to_host(
            {
                "model": dict(self.model.state_dict()),
                "optimizer": self.optimizer.state_dict(),
                "sums": self.train_step.sums,
                **{name: getattr(self, name) for name in _PROGRESS},
            }
        )

    def load_state(self, state: State) -> None:
        """Continue from `state()`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(as_here(state["optimizer"], self.optimizer))
        for name in _PROGRESS:
            setattr(self, name, state[name])
        # Result version 2 kept two numbers, and a generator's state that nothing needs any more.
        sums = state["sums"] if "sums" in state else torch.tensor([state["loss_sum"], state["num_correct"]])
        self.train_step.sums = self.runtime.constant(sums.float())
        self.runtime.end_step()

    def used(self) -> dict[str, Any]:
        """The values really used, for the log and the result."""
        weights = self.task.class_weight_K
        return {
            "seed": self.task.unit.seed,
            "repeat": self.task.unit.repeat,
            "fold": self.task.unit.fold,
            "num_train": self.num_samples,
            "num_holdout": len(self.task.unit.holdout_N),
            "num_eval": len(self.task.unit.eval_N),
            "class_weights": None if weights is None else [float(w) for w in weights],
            "steps_per_epoch": self.steps_per_epoch,
            "epochs_run": self.epoch,
            "scored_epoch": self.best_epoch if self.best_epoch is not None else self.epoch - 1,
            "stopped_early": self.stopped_early,
            "groups": [_facts(group) for group in self.optimizer.param_groups],
        }


_PROGRESS = (
    "epoch",
    "step",
    "best_metric",
    "best_epoch",
    "best_weights",
    "bad_epochs",
    "stopped_early",
)


def cut(positions: Indices, size: int) -> list[Indices]:
    """Batches of `size`; the last may have fewer."""
    return [positions[i : i + size] for i in range(0, len(positions), size)]


def _facts(group: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": group["name"],
        "base_lr": group["base_lr"],
        "last_lr": group.get("last_lr", group["base_lr"]),
        "num_parameters": sum(parameter.numel() for parameter in group["params"]),
    }
