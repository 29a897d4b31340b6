"""What the optimiser sees of an epoch, whatever the batch size: every sample once, at its class's weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from octjob.data.sampling import class_weights
from octjob.runtime.single import Single
from octjob.spec.experiment import Experiment
from octjob.train.classifier import make_head
from octjob.train.loop import Loop, Task
from octjob.train.source import FeatureSource
from octjob.train.units import Unit

WIDTH, CPU = 5, Single("cpu")
# 13 training samples: no batch size but 1 and 13 divides them. Imbalanced about as the original's classes.
LABELS = np.repeat(np.arange(4), (6, 3, 3, 1))
N = len(LABELS)
EVERYONE, NOBODY = np.arange(N), np.arange(0)


class Quiet:
    """Hooks that keep the history."""

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = []

    def after_step(self, loop: Loop) -> None:
        pass

    def after_epoch(self, loop: Loop, records: list[dict[str, Any]]) -> None:
        self.history += records


def features() -> FeatureSource:
    generator = torch.Generator().manual_seed(0)
    x_VN = torch.randn(1, N, WIDTH, generator=generator)
    x_VN[..., :4] += torch.nn.functional.one_hot(torch.from_numpy(LABELS), 4)
    return FeatureSource(x_VN)


def loop(batch_size: int, **train: Any) -> Loop:
    config = Experiment.model_validate({"data": {"batch_size": batch_size}, "train": train})
    weight_K = class_weights(LABELS, 4, config.train.class_weights)
    unit = Unit(seed=1, fold=0, train_N=EVERYONE, holdout_N=NOBODY, eval_N=EVERYONE)
    task = Task(unit, LABELS.astype(np.int64), weight_K, lambda positions, logits_NK: {})
    return Loop(make_head(config, WIDTH, seed=1), features(), task, config, CPU)


def gradients_seen(made: Loop) -> list[np.ndarray]:
    """The weight's gradient at each optimisation step of one epoch, the weights staying as they are."""
    seen: list[np.ndarray] = []
    weight = made.model.get_parameter("fc.weight")

    def step() -> None:
        assert weight.grad is not None
        seen.append(weight.grad.double().numpy().copy())

    made.optimizer.step = step  # type: ignore[method-assign, assignment]
    made.run(Quiet())
    return seen


def gradient_of_the_mean(made: Loop) -> np.ndarray:
    """Of `mean(w_y * cross-entropy)` over all samples, in closed form."""
    x_NE = features().x_VN[0].double().numpy()
    logits_NK = made.predict(EVERYONE, lambda: None)
    p_NK = np.exp(logits_NK) / np.exp(logits_NK).sum(1, keepdims=True)
    weight_N = np.ones(N) if made.task.class_weight_K is None else made.task.class_weight_K[LABELS]
    gradient: np.ndarray = (weight_N[:, None] * (p_NK - np.eye(4)[LABELS])).T @ x_NE / N
    return gradient


@pytest.mark.parametrize("weights", ["none", "auto", [5.0, 1.0, 1.0, 9.0]], ids=str)
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("batch_size", range(1, N + 2))
def test_an_epochs_gradients_sum_to_the_weighted_gradient_of_all_samples(
    batch_size: int, accumulate: int, weights: Any
) -> None:
    made = loop(batch_size, epochs=1, class_weights=weights, accumulate=accumulate)
    seen = gradients_seen(made)
    assert len(seen) == made.steps_per_epoch == -(-N // min(N, batch_size * accumulate))
    total = np.sum(seen, axis=0) * made.step_size / N
    np.testing.assert_allclose(total, gradient_of_the_mean(made), atol=1e-6)


def logits(**train: Any) -> np.ndarray:
    trained = loop(1, epochs=20, lr_head=0.01, **train)
    trained.run(Quiet())
    return trained.predict(EVERYONE, lambda: None)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_class_weights_act_at_batch_size_1(loss: str) -> None:
    plain, balanced = (logits(class_weights=w, loss=loss) for w in ("none", "auto"))
    assert np.abs(plain - balanced).max() > 0.1

    def share(logits_NK: np.ndarray, label: int) -> float:
        return float((np.exp(logits_NK) / np.exp(logits_NK).sum(1, keepdims=True))[:, label].mean())

    assert share(balanced, 3) > 1.5 * share(plain, 3)
    assert share(balanced, 0) < share(plain, 0)


@pytest.mark.parametrize("train", [{"optimizer": "SGD"}, {"optimizer": "AdamW", "grad_clip": 0.3}], ids=str)
@pytest.mark.parametrize(("batch_size", "accumulate"), [(1, 4), (2, 3), (3, 2), (1, N), (5, 9)])
def test_accumulating_equals_the_larger_batch(
    batch_size: int, accumulate: int, train: dict[str, Any]
) -> None:
    settings = {"epochs": 6, "warmup_epochs": 2, "lr_head": 0.05, "class_weights": "auto", **train}
    small, large = (
        loop(batch_size, accumulate=accumulate, **settings),
        loop(batch_size * accumulate, **settings),
    )
    histories = []
    for each in (small, large):
        hooks = Quiet()
        each.run(hooks)
        histories.append(hooks.history)
    for name, tensor in large.model.state_dict().items():
        torch.testing.assert_close(small.model.state_dict()[name], tensor, atol=1e-6, rtol=0)
    for one, other in zip(*histories, strict=True):
        assert one["lr"] == other["lr"]
        assert one["train/loss"] == pytest.approx(other["train/loss"], abs=1e-6)
        assert one["train/accuracy"] == other["train/accuracy"]
    assert small.used()["steps_per_epoch"] == large.used()["steps_per_epoch"]
