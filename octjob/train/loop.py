"""The optimisation loop of one unit, for heads on features and for whole networks alike.

Everything the next step depends on is in `Loop.state()`: stopped after any step and continued from that state,
the loop ends with the same weights, bit for bit on the CPU. Shapes: N volumes, B batch, K classes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from octjob.data.sampling import epoch_order, sample_weights
from octjob.errors import DataError
from octjob.spec.experiment import Experiment
from octjob.train.classifier import Classifier
from octjob.train.loss import make_loss
from octjob.train.optimizer import make_optimizer
from octjob.train.schedule import lr_factor
from octjob.train.source import Source
from octjob.train.units import Indices, Unit

Scores = Callable[[Indices, npt.NDArray[np.float64]], dict[str, float]]
State = dict[str, Any]


class Hooks(Protocol):
    """What a loop tells the outside."""

    def after_step(self, loop: Loop) -> None:
        """After every trained and evaluated batch; may save the state and raise `Interrupted`."""
        ...

    def after_epoch(self, loop: Loop, record: dict[str, Any]) -> None:
        """After every epoch, with its line of history."""
        ...


@dataclass(frozen=True, eq=False)
class Task:
    """What a unit trains on: labels of all volumes (N), its positions, class weights (K) and scoring."""

    unit: Unit
    label_N: npt.NDArray[np.int64]
    class_weight_K: npt.NDArray[np.float64] | None
    scores: Scores


class Loop:
    """Trains `model`, a head or a `Classifier` with its encoder, on `source` as `task` says."""

    def __init__(
        self, model: nn.Module, source: Source, task: Task, experiment: Experiment, device: torch.device
    ) -> None:
        self.model = model.to(device)
        self.source = source
        self.task = task
        self.experiment = experiment
        self.device = device
        weight = (
            None if task.class_weight_K is None else torch.tensor(task.class_weight_K, dtype=torch.float32)
        )
        self.loss = make_loss(experiment.train, None if weight is None else weight.to(device))
        self.encoder = model.encoder if isinstance(model, Classifier) else None
        self.optimizer = make_optimizer(self.model, experiment.train)
        self.epoch = 0
        self.batch = 0
        self.step = 0
        self.loss_sum = 0.0
        self.num_correct = 0
        self.best_metric: float | None = None
        self.best_epoch: int | None = None
        self.best_weights: State | None = None
        self.bad_epochs = 0
        self.stopped_early = False

    @property
    def num_samples(self) -> int:
        """Training volumes of the unit."""
        return len(self.task.unit.train_N)

    @property
    def step_size(self) -> int:
        """Samples of an optimisation step; the last of an epoch may have fewer."""
        return min(self.experiment.data.batch_size * self.experiment.train.accumulate, self.num_samples)

    @property
    def steps_per_epoch(self) -> int:
        """Optimisation steps an epoch."""
        return math.ceil(self.num_samples / self.step_size)

    def run(self, hooks: Hooks) -> State:
        """Train to the end, leaving the weights to evaluate in the model; returns those of the last epoch."""
        train = self.experiment.train
        if self.epoch == self.batch == 0:
            torch.manual_seed(self.task.unit.seed)
        while self.epoch < train.epochs and not self.stopped_early:
            self._train_epoch(hooks)
            record = self._end_epoch(lambda: hooks.after_step(self))
            hooks.after_epoch(self, record)
        last = copy.deepcopy(self.model.state_dict())
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
        return last

    def _train_epoch(self, hooks: Hooks) -> None:
        unit, data = self.task.unit, self.experiment.data
        self.model.train()
        if self.encoder is not None:
            self.encoder.requires_grad_(self._encoder_trains)
        order = unit.train_N[self._order()]
        batches = [order[i : i + data.batch_size] for i in range(0, len(order), data.batch_size)]
        left = batches[self.batch :]
        inputs = self.source.train_batches(left, self.epoch, unit.seed)
        for batch, x_B in zip(left, inputs, strict=True):
            self._accumulate(x_B, torch.from_numpy(self.task.label_N[batch]).to(self.device))
            self.batch += 1
            if self.batch % self.experiment.train.accumulate == 0 or self.batch == len(batches):
                self._optimiser_step()
            hooks.after_step(self)

    @property
    def _encoder_trains(self) -> bool:
        return self.epoch >= self.experiment.model.unfreeze_at_epoch

    def _order(self) -> Indices:
        unit, train = self.task.unit, self.experiment.train
        weighted = train.sampler == "weighted"
        labels = self.task.label_N[unit.train_N]
        weights = sample_weights(labels, self.experiment.classes.num_classes) if weighted else None
        return epoch_order(self.num_samples, unit.seed, self.epoch, weights)

    def _accumulate(self, x_B: Tensor, label_B: Tensor) -> None:
        """Add a batch's share to the gradient of the step under way.

        Divided by the samples of a full step, whatever the batch holds: every sample of an epoch weighs the
        same, one in a short last step included, and the epoch's gradients, summed and multiplied by
        `step_size / num_samples`, are the gradient of the mean over all samples.
        """
        logits_BK = self._forward(x_B)
        loss = self.loss(logits_BK, label_B).sum()
        (loss / self.step_size).backward()  # type: ignore[no-untyped-call]
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DataError(
                f"training loss became {value} in epoch {self.epoch}, step {self.step}",
                "Lower train.lr_head and train.lr_encoder, or set train.grad_clip.",
            )
        self.loss_sum += value
        self.num_correct += int((logits_BK.detach().argmax(dim=1) == label_B).sum())

    def _optimiser_step(self) -> None:
        train = self.experiment.train
        step = self.epoch * self.steps_per_epoch + self.step
        factor = lr_factor(step, self.steps_per_epoch, train.epochs, train.warmup_epochs, train.scheduler)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        if train.grad_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), train.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def _forward(self, x_B: Tensor) -> Tensor:
        bf16 = self.experiment.train.precision == "bf16" and self.encoder is not None
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            logits_BK: Tensor = self.model(x_B)
        return logits_BK.float()

    def predict(self, positions: Indices, check: Callable[[], None]) -> npt.NDArray[np.float64]:
        """Logits (N, K) of unaugmented volumes with the model as it is now.

        `check` is called after every batch and may raise to stop.
        """
        self.model.eval()
        size = self.experiment.data.val_batch_size
        batches = [positions[i : i + size] for i in range(0, len(positions), size)]
        with torch.inference_mode():
            logits = []
            for x_B in self.source.eval_batches(batches):
                logits.append(self._forward(x_B).double().cpu().numpy())
                check()
        return np.concatenate(logits) if logits else np.zeros((0, self.experiment.classes.num_classes))

    def _end_epoch(self, check: Callable[[], None]) -> dict[str, Any]:
        unit, stopping = self.task.unit, self.experiment.train.early_stopping
        record: dict[str, Any] = {
            "seed": unit.seed,
            "repeat": unit.repeat,
            "fold": unit.fold,
            "epoch": self.epoch,
            "lr": {group["part"]: group["lr"] for group in self.optimizer.param_groups},
            "train/loss": self.loss_sum / self.num_samples,
            "train/accuracy": self.num_correct / self.num_samples,
        }
        scored = self.task.scores(unit.eval_N, self.predict(unit.eval_N, check))
        record |= {f"eval/{name}": value for name, value in scored.items()}
        if stopping.enabled:
            held_out = self.task.scores(unit.holdout_N, self.predict(unit.holdout_N, check))
            record |= {f"holdout/{name}": value for name, value in held_out.items()}
            # A probe is not what fine-tuning was asked for: epochs with a frozen encoder neither win nor tire.
            if self.encoder is None or self._encoder_trains:
                self._early_stopping(held_out[stopping.metric])
        self.epoch += 1
        self.batch = self.step = 0
        self.loss_sum, self.num_correct = 0.0, 0
        return record

    def _early_stopping(self, value: float) -> None:
        stopping = self.experiment.train.early_stopping
        sign = -1.0 if stopping.metric == "loss" else 1.0
        if self.best_metric is None or sign * (value - self.best_metric) > stopping.min_delta:
            self.best_metric, self.best_epoch, self.bad_epochs = value, self.epoch, 0
            self.best_weights = copy.deepcopy(self.model.state_dict())
        else:
            self.bad_epochs += 1
            self.stopped_early = self.bad_epochs >= stopping.patience

    def state(self) -> State:
        """Everything the next step depends on, as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "gradient": {n: p.grad for n, p in self.model.named_parameters() if p.grad is not None},
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            **{name: getattr(self, name) for name in _PROGRESS},
        }

    def load_state(self, state: State) -> None:
        """Continue from `state()`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, gradient in state["gradient"].items():
            self.model.get_parameter(name).grad = gradient.to(self.device)
        torch.set_rng_state(state["torch_rng"].cpu())
        if state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"].cpu(), self.device)
        for name in _PROGRESS:
            setattr(self, name, state[name])

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
            "groups": [
                {"name": g["name"], "base_lr": g["base_lr"], "last_lr": g["lr"], "num_parameters": _count(g)}
                for g in self.optimizer.param_groups
            ],
        }


_PROGRESS = (
    "epoch",
    "batch",
    "step",
    "loss_sum",
    "num_correct",
    "best_metric",
    "best_epoch",
    "best_weights",
    "bad_epochs",
    "stopped_early",
)


def _count(group: dict[str, Any]) -> int:
    return sum(parameter.numel() for parameter in group["params"])
