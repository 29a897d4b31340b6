"""The training loop: exact resumption, the schedule through unfreezing, early stopping, what is really used."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from doubles import tiny_training
from hypothesis import given, settings
from hypothesis import strategies as st

from octjob.models.encoder import init_encoder
from octjob.models.shape import EncoderGeometry
from octjob.runtime.single import Single
from octjob.spec.experiment import Experiment
from octjob.train.classifier import Classifier, make_head
from octjob.train.loop import Loop, Scores, Task
from octjob.train.schedule import lr_factor
from octjob.train.source import FeatureSource
from octjob.train.units import Unit

NUM_VOLUMES, WIDTH = 30, 6
TRAIN, HOLDOUT, EVAL = np.arange(0, 20), np.arange(20, 24), np.arange(24, 30)
LABELS = np.arange(NUM_VOLUMES) % 4
CPU = Single("cpu")


class Stopped(Exception):
    """Stands for a signal."""


def nothing() -> None:
    """A check that lets everything go on."""


class Hooks:
    """Counts steps, saves the state and stops when told; keeps the history as the session does."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.left = stop_after
        self.history: list[dict[str, Any]] = []
        self.saved = io.BytesIO()

    def after_step(self, loop: Loop) -> None:
        self._count(loop)

    def after_epoch(self, loop: Loop, records: list[dict[str, Any]]) -> None:
        self.history += records
        self._count(loop)

    def _count(self, loop: Loop) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left == 0:
            torch.save(loop.state(), self.saved)
            raise Stopped


def features() -> FeatureSource:
    generator = torch.Generator().manual_seed(0)
    x_VN = torch.randn(2, NUM_VOLUMES, WIDTH, generator=generator)
    x_VN[..., :4] += torch.nn.functional.one_hot(torch.from_numpy(LABELS), 4).float()
    return FeatureSource(x_VN)


def scores(positions: np.ndarray, logits_NK: np.ndarray) -> dict[str, float]:
    log_p_NK = logits_NK - np.logaddexp.reduce(logits_NK, axis=1, keepdims=True)
    loss = -float(log_p_NK[np.arange(len(positions)), LABELS[positions]].mean())
    return {"loss": loss, "balanced_accuracy": float((logits_NK.argmax(1) == LABELS[positions]).mean())}


def config(**train: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "data": {"batch_size": 6},
            "model": {"head": {"hidden": 5, "dropout": 0.3}},
            "train": {"epochs": 4, "lr_head": 0.05, "warmup_epochs": 1, **train},
        }
    )


def loop(experiment: Experiment, weights: np.ndarray | None = None) -> Loop:
    unit = Unit(seed=3, fold=0, train_N=TRAIN, holdout_N=HOLDOUT, eval_N=EVAL)
    task = Task(unit, LABELS.astype(np.int64), weights, scores)
    return Loop(make_head(experiment, WIDTH, unit.seed), features(), task, experiment, CPU)


def outcome(finished: Loop) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in finished.model.state_dict().items()}


def run_with_stops(experiment: Experiment, stops: Iterator[int]) -> tuple[Loop, list[dict[str, Any]]]:
    """Run to the end through stops, each time from a state that went through the disk's format."""
    history: list[dict[str, Any]] = []
    saved: io.BytesIO | None = None
    while True:
        torch.manual_seed(int(np.random.default_rng().integers(1 << 30)))  # a new process knows nothing
        current, hooks = loop(experiment), Hooks(next(stops, None))
        if saved is not None:
            saved.seek(0)
            current.load_state(torch.load(saved, weights_only=True))
        try:
            current.run(hooks)
        except Stopped:
            saved = hooks.saved
            history += hooks.history
            continue
        return current, history + hooks.history


@pytest.mark.parametrize(
    "train",
    [
        {},
        {"optimizer": "SGD", "scheduler": "step"},
        {"sampler": "weighted", "loss": "focal", "grad_clip": 0.5},
        {"early_stopping": {"enabled": True, "patience": 1, "metric": "loss"}},
        {"accumulate": 3, "optimizer": "SGD"},
    ],
)
@settings(max_examples=8, deadline=None)
@given(stops=st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_stopped_anywhere_and_continued_equals_never_stopped(train: dict[str, Any], stops: list[int]) -> None:
    experiment = config(**train)
    straight, straight_history = run_with_stops(experiment, iter(()))
    resumed, resumed_history = run_with_stops(experiment, iter(stops))
    assert outcome(resumed).keys() == outcome(straight).keys()
    for name, tensor in outcome(straight).items():
        assert torch.equal(outcome(resumed)[name], tensor), name
    assert resumed_history == straight_history
    assert resumed.used() == straight.used()


def test_training_learns_and_reports_what_it_used() -> None:
    trained = loop(config(epochs=40, scheduler="none", warmup_epochs=0), np.array([1.0, 2.0, 1.0, 1.0]))
    hooks = Hooks()
    trained.run(hooks)
    assert hooks.history[-1]["train/loss"] < 0.7 * hooks.history[0]["train/loss"]
    used = trained.used()
    assert used["class_weights"] == [1.0, 2.0, 1.0, 1.0]
    assert used["epochs_run"] == 40
    assert used["num_train"] == 20
    assert used["groups"][0]["last_lr"] == 0.05


def test_class_weights_change_the_training() -> None:
    plain, weighted = loop(config()), loop(config(), np.array([9.0, 0.1, 0.1, 0.1]))
    for each in (plain, weighted):
        each.run(Hooks())
    share = [float((each.predict(EVAL, nothing).argmax(1) == 0).mean()) for each in (plain, weighted)]
    assert share[1] > share[0]


def test_early_stopping_evaluates_the_best_epochs_weights() -> None:
    stopping = {"enabled": True, "patience": 2, "min_delta": 0.0, "metric": "loss"}
    trained, hooks = loop(config(epochs=60, lr_head=0.5, early_stopping=stopping)), Hooks()
    last = trained.run(hooks)
    held_out = [record["holdout/loss"] for record in hooks.history]
    assert trained.stopped_early
    assert trained.best_epoch == int(np.argmin(held_out))
    assert len(held_out) == trained.best_epoch + 1 + 2
    assert scores(HOLDOUT, trained.predict(HOLDOUT, nothing))["loss"] == pytest.approx(
        min(held_out), abs=1e-12
    )
    assert any(not torch.equal(last[name], tensor) for name, tensor in trained.model.state_dict().items())


class Volumes:
    """Random volumes as a source."""

    x_N = torch.randn(NUM_VOLUMES, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))

    def train_batches(self, batches: list[np.ndarray], epoch: int, seed: int) -> Iterator[torch.Tensor]:
        return self.eval_batches(batches)

    def eval_batches(self, batches: list[np.ndarray]) -> Iterator[torch.Tensor]:
        for batch in batches:
            yield self.x_N[torch.from_numpy(batch)]


def finetune(
    train: dict[str, Any] | None = None, scored: Scores = scores, **model: Any
) -> tuple[Loop, Hooks, dict[str, torch.Tensor]]:
    experiment = Experiment.model_validate(
        {
            "data": {"batch_size": 10},
            "model": {"freeze_encoder": False, **model},
            "train": {"epochs": 4, "lr_head": 0.1, "lr_encoder": 0.01, **(train or {})},
        }
    )
    geometry = EncoderGeometry((4, 8, 8), (4, 4, 4), embed_dim=16, depth=1, num_heads=2)
    network = Classifier(
        init_encoder(geometry, 0), make_head(experiment, 16, 0), experiment.model.pool_method
    )
    before = {name: tensor.clone() for name, tensor in network.encoder.state_dict().items()}
    unit = Unit(seed=3, fold=0, train_N=TRAIN, holdout_N=HOLDOUT, eval_N=EVAL)
    made = Loop(network, Volumes(), Task(unit, LABELS.astype(np.int64), None, scored), experiment, CPU)
    return made, Hooks(), before


@pytest.mark.parametrize(("model", "unfrozen_from"), [({"unfreeze_at_epoch": 2}, 2), ({}, 0)])
def test_the_encoder_moves_from_its_epoch_on_and_the_schedule_holds(
    model: dict[str, Any], unfrozen_from: int
) -> None:
    trained, hooks, before = finetune(**model)
    moved = []

    def watch(loop: Loop, records: list[dict[str, Any]]) -> None:
        after = trained.encoder.state_dict()
        moved.append(any(not torch.equal(before[name], tensor) for name, tensor in after.items()))
        hooks.history.extend(records)

    hooks.after_epoch = watch  # type: ignore[method-assign]
    trained.run(hooks)
    assert moved == [epoch >= unfrozen_from for epoch in range(4)]
    for record in hooks.history:
        factor = lr_factor(record["epoch"] * 2 + 1, 2, 4, 0, "cosine")
        assert record["lr"] == {"head": pytest.approx(0.1 * factor), "encoder": pytest.approx(0.01 * factor)}


def test_epochs_with_a_frozen_encoder_neither_win_nor_end_the_training() -> None:
    falling = iter(np.linspace(1.0, 0.0, 8).repeat(2))  # the earliest epoch is always the best one
    stopping = {"enabled": True, "patience": 2, "metric": "accuracy"}
    trained, hooks, before = finetune(
        {"epochs": 8, "early_stopping": stopping},
        lambda positions, logits_NK: {"accuracy": float(next(falling))},
        unfreeze_at_epoch=3,
    )
    trained.run(hooks)
    used = trained.used()
    assert (used["scored_epoch"], used["epochs_run"], used["stopped_early"]) == (3, 6, True)
    assert all(not torch.equal(before[name], tensor) for name, tensor in trained.encoder.state_dict().items())


@pytest.mark.parametrize("pool_method", ["mean", "max"])
def test_pooled_features_are_normalised_one_sample_at_a_time(pool_method: str) -> None:
    network = finetune(pool_method=pool_method)[0].model.eval()
    seen: list[torch.Tensor] = []
    network.get_submodule("head").register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for x_BCDHW in (Volumes.x_N[:3], Volumes.x_N[:1]):
        network(x_BCDHW)
    torch.testing.assert_close(seen[0].mean(dim=1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[0].std(dim=1, correction=0), torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[0][:1], seen[1], atol=1e-5, rtol=0)


def test_a_diverging_loss_is_an_error_that_names_the_learning_rate() -> None:
    from octjob.errors import DataError

    diverging = loop(config(lr_head=1e6, weight_decay=1e6, optimizer="SGD", warmup_epochs=0, epochs=30))
    with pytest.raises(DataError, match="training loss became") as error:
        diverging.run(Hooks())
    assert "lr_head" in error.value.hint


@given(
    steps=st.integers(1, 7),
    epochs=st.integers(1, 9),
    kind=st.sampled_from(["cosine", "step", "none"]),
    data=st.data(),
)
def test_the_schedule_warms_up_and_then_never_rises(
    steps: int, epochs: int, kind: Any, data: st.DataObject
) -> None:
    warmup = data.draw(st.integers(0, epochs - 1))
    factors = [lr_factor(step, steps, epochs, warmup, kind) for step in range(steps * epochs)]
    top = warmup * steps
    assert factors[:top] == pytest.approx([(i + 1) / top for i in range(top)])
    assert factors[top] == 1.0
    assert all(a >= b for a, b in zip(factors[top:], factors[top + 1 :], strict=False))
    assert all(0.0 <= factor <= 1.0 for factor in factors)


@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize("train", [{}, {"accumulate": 2}, {"sampler": "weighted", "grad_clip": 0.5}])
def test_a_batch_in_parts_is_the_step_of_the_whole(train: dict[str, Any], parts: int) -> None:
    """Losses within what runtimes may differ by; the steps are as many, and the schedule is the same."""
    whole, in_parts = (tiny_training.finetune(CPU, one, **train) for one in (1, parts))
    expected, found = tiny_training.History(), tiny_training.History()
    whole.run(expected)
    in_parts.run(found)
    assert found.lines[-1]["lr"] == expected.lines[-1]["lr"]
    assert in_parts.used()["steps_per_epoch"] == whole.used()["steps_per_epoch"]
    for line, other in zip(expected.lines, found.lines, strict=True):
        for key in ("train/loss", "eval/loss"):
            assert other[key] == pytest.approx(line[key], abs=2e-5)
        assert other["train/accuracy"] == line["train/accuracy"]


@pytest.mark.parametrize("train", [{}, {"optimizer": "SGD"}, {"early_stopping": {"enabled": True}}])
def test_a_state_that_was_taken_is_not_changed_by_later_steps(train: dict[str, Any]) -> None:
    """It is written while they run."""

    class Keeping(Hooks):
        """Takes the state once in the second epoch, and what it is on disk then."""

        def after_step(self, loop: Loop) -> None:
            if loop.epoch == 1 and loop.step == 2 and not self.saved.tell():
                self.state = loop.state()
                torch.save(self.state, self.saved)

    hooks = Keeping()
    loop(config(**train)).run(hooks)
    later = io.BytesIO()
    torch.save(hooks.state, later)
    assert later.getvalue() == hooks.saved.getvalue()
