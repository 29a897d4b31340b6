"""Heads on cached features, trained together: one batched step for all of them, the numbers of one by one.

Every process of a runtime computes all of it: a head's step is less work than a message. Everything the next step
depends on is in `Joint.state()`.

Shapes: A heads that still train, S streams of batches, R heads of each stream, T steps of an epoch, B rows of a
step, V views, N volumes, E features, F features under dropout, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from octjob.data.augment import IDENTITY
from octjob.models.heads import LinearHead, MlpHead, apply_head
from octjob.runtime.base import Runtime
from octjob.train import epoch
from octjob.train.classifier import make_head
from octjob.train.loop import Hooks, State
from octjob.train.loss import loss_gradient, make_loss
from octjob.train.schedule import lr_factor
from octjob.train.scoring import Logits
from octjob.train.stack import Weights, clip, make_stack, stacked
from octjob.train.stack_optimizer import make_stack_optimizer, no_moments
from octjob.train.streams import Batches, Member, Streams
from octjob.train.threads import as_many_as_worth
from octjob.train.units import Indices, Unit


@dataclass
class Standing:
    """How far one head has come. `last_weights` are there once it has ended."""

    epochs_run: int = 0
    best_metric: float | None = None
    best_epoch: int | None = None
    best_weights: Weights | None = None
    last_weights: Weights | None = None
    bad_epochs: int = 0
    stopped_early: bool = False


class Joint:
    """Trains the heads of all `members` to their ends."""

    def __init__(self, members: Sequence[Member], runtime: Runtime) -> None:
        self.members = members
        self.runtime = runtime
        self.experiment = members[0].experiment
        self.standings = [Standing() for _ in members]
        self.epoch = self.step = 0
        # Features lie in memory.
        self.waited = 0.0
        # The epoch's logits (K, S, B, R), step by step.
        self._seen: list[Tensor] = []
        streams = Streams(members)
        self.streams, self._x_row_E = streams, runtime.constant(streams.x_row_E)
        self.steps_per_epoch = streams.num_steps
        rate = self.experiment.train.lr_head
        self._scale = [member.experiment.train.lr_head / rate for member in members]
        heads = [_head(members[i]) for i in streams.active]
        parameters = self._times_scale(stacked(heads), -1)
        moments = no_moments(self.experiment.train.optimizer, parameters)
        self._place(parameters, moments)

    @property
    def units(self) -> list[Unit]:
        """Those of the members."""
        return [member.unit for member in self.members]

    @property
    def name(self) -> str:
        """For states: another composition has another one."""
        return "heads of " + " ".join(unit.name for unit in self.units)

    @property
    def best_metric(self) -> float | None:
        """The best value of the metric that the first member watches, of any head."""
        found = [s.best_metric for s in self.standings if s.best_metric is not None]
        stopping = self.experiment.train.early_stopping
        return None if not found else min(found) if stopping.metric == "loss" else max(found)

    def run(self, hooks: Hooks) -> None:
        """Train every head to its end."""
        while self.epoch < self.experiment.train.epochs and self._going():
            batches = self._train_epoch(hooks)
            records = self._end_epoch(batches, lambda: hooks.after_step(self))
            hooks.after_epoch(self, records)

    def _place(self, parameters: Weights, moments: dict[str, Weights]) -> None:
        """Take up the active heads' numbers, which are on the CPU."""
        constant, active = self.runtime.constant, self.streams.active
        trains = [self.members[i].experiment.train for i in active]
        scale = [self._scale[i] for i in active]
        decay = [s * train.weight_decay for s, train in zip(scale, trains, strict=True)]
        largest = [train.grad_clip or math.inf for train in trains]
        self._stack = make_stack(
            {name: constant(x) for name, x in parameters.items()},
            len(self.streams.groups),
            None if set(self._scale) == {1.0} else constant(torch.tensor(scale)),
        )
        self._optimizer = make_stack_optimizer(
            self.experiment.train.optimizer,
            {kind: {name: constant(x) for name, x in some.items()} for kind, some in moments.items()},
            self.runtime,
        )
        self._decay_A = constant(torch.tensor(decay)) if any(decay) else None
        self._largest_A = constant(torch.tensor(largest)) if min(largest) < math.inf else None
        self.runtime.end_step()

    def _train_epoch(self, hooks: Hooks) -> Batches:
        """All steps that are left of the epoch; returns its batches."""
        batches = self.streams.batches(self.epoch)
        # Where nothing is compiled, all at once; a compiled step is told its own as tensors.
        there = batches if self.runtime.compiled else batches.map(self.runtime.constant)
        work = self._num_multiplications
        for batch in there.steps()[self.step :]:
            mask_SBF = self.streams.dropout(self.epoch, self.step)
            if self.runtime.compiled:
                batch = batch.map(self.runtime.constant)
            with as_many_as_worth(work):
                self._take(batch, None if mask_SBF is None else self.runtime.constant(mask_SBF))
            self.step += 1
            hooks.after_step(self)
        return batches

    @property
    def _num_multiplications(self) -> int:
        """Of a step, about: forwards once and backwards twice through every head, for each of its rows."""
        size = epoch.step_size(self.experiment, len(self.units[0].train_N))
        return 3 * size * sum(x.numel() for x in self._stack.parameters.values())

    def _take(self, batch: Batches, mask_SBF: Tensor | None) -> None:
        x_SBE = self._x_row_E.index_select(0, batch.row.flatten()).view(*batch.row.shape, -1)
        logits_KSBR = self._stack.forward(x_SBE, mask_SBF).permute(3, 0, 1, 2).contiguous()
        gradient_KSBR = loss_gradient(self.experiment.train, logits_KSBR, batch.target) * batch.weight
        self._stack.backward(gradient_KSBR.permute(1, 2, 3, 0))
        # Loss and accuracy are worked out at the end of the epoch, for all of its steps in one go.
        self._seen.append(logits_KSBR)
        if self._largest_A is not None:
            clip(list(self._stack.gradients.values()), self._largest_A)
        number = self.epoch * self.steps_per_epoch + self.step
        lr = self.experiment.train.lr_head * self._factor(number)
        self._optimizer.step(self._stack, self._decay_A, number + 1, lr)
        self.runtime.end_step()

    def _factor(self, number: int) -> float:
        train = self.experiment.train
        return lr_factor(number, self.steps_per_epoch, train.epochs, train.warmup_epochs, train.scheduler)

    def _end_epoch(self, batches: Batches, check: Callable[[], None]) -> list[dict[str, Any]]:
        """Score every head that has not ended, then let those go that have."""
        heads, sums_A2, going = self._heads(), self._sums(batches), self._going()
        records, watched = [], []
        for a, i in going:
            record, value = self._scored(self.members[i], heads[a], sums_A2[a], check)
            records.append(record)
            watched.append(value)
        # Processes whose kernels round differently shall agree on who goes on.
        watched = self.runtime.share(lambda: watched)
        for (a, i), value in zip(going, watched, strict=True):
            self._note(i, heads[a], value)
        self.epoch += 1
        self.step = 0
        self._let_go()
        return records

    def _going(self) -> list[tuple[int, int]]:
        """The heads that have not ended: their places in the stack and among the members."""
        return [(a, i) for a, i in enumerate(self.streams.active) if not self.standings[i].stopped_early]

    def _sums(self, batches: Batches) -> list[list[float]]:
        """For each active head the epoch's sums: of weighted losses by the size of a step, and of those right."""
        logits_TKSBR = self.runtime.to_host(torch.stack(self._seen))
        label_TSBR = batches.target.argmax(1).expand_as(logits_TKSBR[:, 0])
        loss_TSBR = batches.weight * make_loss(self.experiment.train)(logits_TKSBR, label_TSBR)
        # Along the last axis it is five times as fast.
        predicted_TSBR = logits_TKSBR.movedim(1, -1).contiguous().argmax(-1)
        right_TSBR = (predicted_TSBR == label_TSBR) & (batches.weight > 0)
        sums_A = [x.sum((0, 2), dtype=torch.float64).flatten() for x in (loss_TSBR, right_TSBR)]
        sums_A2: list[list[float]] = torch.stack(sums_A, 1).tolist()
        return sums_A2

    def _heads(self) -> list[Weights]:
        """The active heads' weights now, on the CPU."""
        there = self._times_scale(self.runtime.to_host(self._stack.parameters), 1)
        return [{name: x[a] for name, x in there.items()} for a in range(len(self.streams.active))]

    def _scored(
        self, member: Member, weights: Weights, sums: Sequence[float], check: Callable[[], None]
    ) -> tuple[dict[str, Any], float | None]:
        """The head's line of history, and the value of the metric that it watches."""
        unit, stopping = member.unit, member.experiment.train.early_stopping
        size = epoch.step_size(self.experiment, len(unit.train_N))
        number = (self.epoch + 1) * self.steps_per_epoch - 1
        lr = {"head": member.experiment.train.lr_head * self._factor(number)}
        record = epoch.record(unit, self.epoch, lr, sums[0] * size, sums[1])
        scored = member.task.scores(unit.eval_N, head_logits(weights, member.x_VN, unit.eval_N))
        record |= {f"eval/{name}": value for name, value in scored.items()}
        check()
        if not stopping.enabled:
            return record, None
        held_out = member.task.scores(unit.holdout_N, head_logits(weights, member.x_VN, unit.holdout_N))
        check()
        return record | {f"holdout/{name}": value for name, value in held_out.items()}, held_out[
            stopping.metric
        ]

    def _note(self, i: int, weights: Weights, value: float | None) -> None:
        """Take note of a head's epoch."""
        standing, stopping = self.standings[i], self.members[i].experiment.train.early_stopping
        standing.epochs_run += 1
        if value is not None and epoch.improves(stopping, value, standing.best_metric):
            standing.best_metric, standing.best_epoch, standing.bad_epochs = value, self.epoch, 0
            standing.best_weights = _copied(weights)
        elif value is not None:
            standing.bad_epochs += 1
            standing.stopped_early = standing.bad_epochs >= stopping.patience
        if standing.stopped_early or standing.epochs_run == self.experiment.train.epochs:
            standing.last_weights = _copied(weights)

    def _let_go(self) -> None:
        """Begin the next epoch without the heads that stopped; a compiled step keeps them, lest it is another one."""
        self._seen = []
        left = [a for a, _ in self._going()]
        if self.runtime.compiled or not left or len(left) == len(self.streams.active):
            return
        self.streams.keep([self.streams.active[a] for a in left])
        parameters, moments = self.runtime.to_host((self._stack.parameters, self._optimizer.moments))
        kept = {kind: _rows(some, left) for kind, some in moments.items()}
        self._place(_rows(parameters, left), kept)

    def logits(self, i: int, positions: Indices) -> Logits:
        """Logits (N, K) of unaugmented volumes by the weights of head `i` that are scored."""
        return head_logits(self.weights(i), self.members[i].x_VN, positions)

    def weights(self, i: int) -> Weights:
        """The weights of head `i` that are scored, once it has ended: the best epoch's, or the last's."""
        return self.standings[i].best_weights or self.last_weights(i)

    def last_weights(self, i: int) -> Weights:
        """The weights of the last epoch of head `i`, once it has ended."""
        return cast(Weights, self.standings[i].last_weights)

    def state(self) -> State:
        """Everything that follows from the steps taken, as tensors of the CPU and plain values."""
        there = {
            "parameters": self._stack.parameters,
            "moments": self._optimizer.moments,
            "seen": list(self._seen),
        }
        return {
            **self.runtime.to_host(there),
            "standings": [asdict(standing) for standing in self.standings],
            "active": list(self.streams.active),
            "epoch": self.epoch,
            "step": self.step,
        }

    def load_state(self, state: State) -> None:
        """Continue from `state()`."""
        self.epoch, self.step = state["epoch"], state["step"]
        self.standings = [Standing(**standing) for standing in state["standings"]]
        self.streams.keep(state["active"])
        self._seen = [self.runtime.constant(logits) for logits in state["seen"]]
        self._place(state["parameters"], state["moments"])

    def used(self, i: int) -> dict[str, Any]:
        """The values really used for head `i`, for the log and the result."""
        member, standing = self.members[i], self.standings[i]
        unit, weights = member.unit, member.task.class_weight_K
        taken = standing.epochs_run * self.steps_per_epoch
        base_lr = member.experiment.train.lr_head
        last_lr = base_lr * self._factor(taken - 1) if taken else base_lr
        sizes = {3: 0, 2: 0}
        for parameter in self._stack.parameters.values():
            sizes[parameter.ndim] += parameter[0].numel()
        return {
            "seed": unit.seed,
            "repeat": unit.repeat,
            "fold": unit.fold,
            "num_train": len(unit.train_N),
            "num_holdout": len(unit.holdout_N),
            "num_eval": len(unit.eval_N),
            "class_weights": None if weights is None else [float(w) for w in weights],
            "steps_per_epoch": self.steps_per_epoch,
            "epochs_run": standing.epochs_run,
            "scored_epoch": standing.epochs_run - 1 if standing.best_epoch is None else standing.best_epoch,
            "stopped_early": standing.stopped_early,
            "groups": [
                {"name": name, "base_lr": base_lr, "last_lr": last_lr, "num_parameters": number}
                for name, number in zip(("head", "head_no_decay"), sizes.values(), strict=True)
            ],
        }

    def _times_scale(self, parameters: Weights, power: int) -> Weights:
        """The active heads' parameters on the CPU times their scale, or divided by it."""
        if set(self._scale) == {1.0}:
            return parameters
        scale_A = torch.tensor([self._scale[i] ** power for i in self.streams.active])
        return {name: x * scale_A.view(-1, *[1] * (x.ndim - 1)) for name, x in parameters.items()}


def _head(member: Member) -> LinearHead | MlpHead:
    head = make_head(member.experiment, member.x_VN.shape[-1], member.unit.seed)
    return cast(LinearHead | MlpHead, head)


def head_logits(weights: Weights, x_VN: Tensor, positions: Indices) -> Logits:
    """Logits (N, K) of unaugmented volumes by a linear or MLP head, on features float32 (V, N, E) on the CPU."""
    x_NE = x_VN[IDENTITY, torch.from_numpy(positions)]
    return np.asarray(apply_head(weights, x_NE).double().numpy())


def _copied(weights: Weights) -> Weights:
    """In memory of their own, which keeps no stack alive."""
    return {name: x.clone() for name, x in weights.items()}


def _rows(parameters: Weights, rows: Sequence[int]) -> Weights:
    return {name: x[list(rows)] for name, x in parameters.items()}
