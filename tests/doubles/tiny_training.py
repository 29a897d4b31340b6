"""Small trainings for every runtime: a probe, a fine-tuning, heads together; with all that makes batches uneven."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from octjob.data.sampling import class_weights
from octjob.models.encoder import init_encoder
from octjob.models.shape import EncoderGeometry
from octjob.runtime.base import Runtime
from octjob.spec.experiment import Experiment
from octjob.train.classifier import Classifier, make_head
from octjob.train.joint import Joint
from octjob.train.loop import Loop, Task
from octjob.train.source import FeatureSource
from octjob.train.streams import Member
from octjob.train.units import Unit

NUM_VOLUMES, WIDTH = 60, 8
# 43 volumes to train on: 5 full batches of 8 and one of 3.
TRAIN, HOLDOUT, EVAL = np.arange(43), np.arange(43, 50), np.arange(50, 60)
# A person's volumes are neighbours, and classes are uneven.
PERSON_N = np.arange(NUM_VOLUMES) // 2
LABEL_N = np.array([0, 0, 0, 1, 1, 2, 3])[PERSON_N % 7]
GEOMETRY = EncoderGeometry((4, 16, 16), (4, 8, 8), embed_dim=16, depth=2, num_heads=2)


class History:
    """Hooks that keep the lines of history, and may save and stop after so many batches.

    compiles: how many programs had been compiled after each epoch, where the runtime compiles.
    executions: how many ran for each batch but an epoch's first, which scores may come before.
    """

    def __init__(self, stop_after: int | None = None) -> None:
        self.compiles: list[int] = []
        self.executions: list[int] = []
        self._executed = self._step = 0
        self.lines: list[dict[str, Any]] = []
        self.left = stop_after
        self.saved: dict[str, Any] | None = None

    def after_step(self, loop: Any) -> None:
        if loop.runtime.compiled:
            before, self._executed = self._executed, executed_programs()
            # Heads that are trained together are scored without the device.
            if loop.step > 1 and (isinstance(loop, Loop) or loop.step > self._step):
                self.executions.append(self._executed - before)
            self._step = loop.step
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                self.saved = loop.state()
                raise InterruptedError

    def after_epoch(self, loop: Any, records: list[dict[str, Any]]) -> None:
        self.lines += records
        if loop.runtime.compiled:
            self.compiles.append(loop.runtime.compiles())


def executed_programs() -> int:
    """Programs that torch_xla has carried out so far; it counts one when it has ended."""
    import torch_xla.core.xla_model as xm
    import torch_xla.debug.metrics as metrics

    xm.wait_device_ops()
    names = ("ExecuteTime", "ExecuteReplicatedTime")
    return sum(data[0] for name in names if (data := metrics.metric_data(name)) is not None)


class Volumes:
    """Volumes in memory."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.x_N = torch.randn(NUM_VOLUMES, 1, *GEOMETRY.volume_size, generator=generator)
        self.x_N += torch.from_numpy(LABEL_N)[:, None, None, None, None] * 0.3

    def train_batches(self, batches: list[np.ndarray], epoch: int, seed: int) -> Iterator[torch.Tensor]:
        return self.eval_batches(batches)

    def eval_batches(self, batches: list[np.ndarray]) -> Iterator[torch.Tensor]:
        for batch in batches:
            yield self.x_N[torch.from_numpy(batch)]


def features() -> FeatureSource:
    """Two views."""
    x_VN = torch.randn(2, NUM_VOLUMES, WIDTH, generator=torch.Generator().manual_seed(0))
    x_VN[..., :4] += torch.nn.functional.one_hot(torch.from_numpy(LABEL_N), 4)
    return FeatureSource(x_VN)


FEATURES_VN = features().x_VN


def scores(positions: np.ndarray, logits_NK: np.ndarray) -> dict[str, float]:
    """By person, as in a run: the mean over a person's volumes."""
    people = np.unique(PERSON_N[positions])
    mean_PK = np.stack([logits_NK[PERSON_N[positions] == person].mean(axis=0) for person in people])
    label_P = LABEL_N[people * 2]
    log_p_PK = mean_PK - np.logaddexp.reduce(mean_PK, axis=1, keepdims=True)
    loss = -float(log_p_PK[np.arange(len(people)), label_P].mean())
    return {"loss": loss, "balanced_accuracy": float((mean_PK.argmax(axis=1) == label_P).mean())}


def probe(runtime: Runtime, **train: Any) -> Loop:
    """A head with a hidden layer on cached features."""
    experiment = _experiment({"head": {"hidden": 6}}, {"lr_head": 0.02, **train})
    return _loop(make_head(experiment, WIDTH, seed=3), features(), experiment, runtime)


def heads(runtime: Runtime, **train: Any) -> Joint:
    """Three learning rates on two sets of volumes, together."""
    members = []
    for rate in (0.01, 0.02, 0.05):
        for fold in (0, 1):
            experiment = _experiment({"head": {"hidden": 6, "dropout": 0.2}}, {"lr_head": rate, **train})
            unit = Unit(seed=3, fold=fold, train_N=TRAIN[fold:], holdout_N=HOLDOUT, eval_N=EVAL)
            weight_K = class_weights(LABEL_N[unit.train_N], 4, experiment.train.class_weights)
            members.append(Member(Task(unit, LABEL_N, weight_K, scores), experiment, FEATURES_VN))
    return Joint(members, runtime)


def finetune(runtime: Runtime, microbatches: int = 1, **train: Any) -> Loop:
    """A network whose encoder moves from the third epoch on, each batch taken in `microbatches` parts."""
    experiment = _experiment(
        {"freeze_encoder": False, "unfreeze_at_epoch": 2}, {"lr_head": 0.02, "lr_encoder": 0.002, **train}
    )
    network = Classifier(init_encoder(GEOMETRY, 0), make_head(experiment, GEOMETRY.embed_dim, seed=3), "mean")
    return _loop(network, Volumes(), experiment, runtime, microbatches)


def _experiment(model: dict[str, Any], train: dict[str, Any]) -> Experiment:
    settings = {"epochs": 6, "warmup_epochs": 1, "grad_clip": 1.0, "class_weights": "auto", **train}
    size = settings.pop("batch_size", 8)
    data = {"batch_size": size, "val_batch_size": size}
    return Experiment.model_validate({"data": data, "model": model, "train": settings})


def _loop(
    model: torch.nn.Module, source: Any, experiment: Experiment, runtime: Runtime, microbatches: int = 1
) -> Loop:
    unit = Unit(seed=3, fold=0, train_N=TRAIN, holdout_N=HOLDOUT, eval_N=EVAL)
    weight_K = class_weights(LABEL_N[TRAIN], 4, experiment.train.class_weights)
    return Loop(model, source, Task(unit, LABEL_N, weight_K, scores), experiment, runtime, microbatches)


STOPPING = {"enabled": True, "patience": 2, "metric": "loss", "min_delta": 0.02}
TRAININGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "probe": (probe, {}),
    "probe, SGD": (probe, {"optimizer": "SGD"}),
    "probe, batches of 1": (probe, {"batch_size": 1, "epochs": 2, "lr_head": 0.005}),
    "probe, early stopping": (probe, {"early_stopping": STOPPING, "epochs": 30, "lr_head": 0.05}),
    "heads together": (heads, {}),
    "heads together, SGD": (heads, {"optimizer": "SGD"}),
    "heads together, early stopping": (heads, {"early_stopping": STOPPING, "epochs": 30}),
    "finetune": (finetune, {}),
    "finetune, accumulated": (finetune, {"batch_size": 4, "accumulate": 3}),
    "finetune, in parts": (finetune, {"microbatches": 2}),
}


def carry_out(
    runtime: Runtime, name: str, stop_after: int | None = None, state: Path | None = None
) -> dict[str, Any]:
    """Train to the end; stopped once on the way where `stop_after` says so, and continued by another loop.

    state: a file. Stopped, that is the end and the state is left there; else it is where another process began.

    Returns lines of history, `logits` of the scored volumes, `stopped_early`, `compiles` and `executions`.
    """
    make, settings = TRAININGS[name]
    loop, history = make(runtime, **settings), History(stop_after)
    if state is not None and stop_after is None:
        loop.load_state(torch.load(state, weights_only=True))
    try:
        loop.run(history)
    except InterruptedError:
        lines, saved = history.lines, history.saved
        assert saved is not None
        if state is not None:
            torch.save(saved, state)
            return {"history": lines}
        loop, history = make(runtime, **settings), History()
        loop.load_state(saved)
        loop.run(history)
        history.lines = lines + history.lines
    if isinstance(loop, Joint):
        logits = [loop.logits(i, EVAL) for i in range(len(loop.members))]
        stopped = any(standing.stopped_early for standing in loop.standings)
    else:
        logits, stopped = [loop.predict(EVAL, lambda: None)], loop.stopped_early
    return {
        "history": history.lines,
        "logits": np.concatenate(logits).tolist(),
        "stopped_early": stopped,
        "compiles": history.compiles,
        "executions": history.executions,
    }
