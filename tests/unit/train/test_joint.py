"""Heads trained together: the numbers of one head after the other, stopped anywhere or not."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from octjob.data.sampling import class_weights
from octjob.errors import DataError
from octjob.runtime.single import Single
from octjob.spec.experiment import Experiment
from octjob.train.classifier import make_head
from octjob.train.joint import Joint
from octjob.train.loop import Loop, Task, Training
from octjob.train.scaling import standardize
from octjob.train.source import FeatureSource
from octjob.train.streams import Member
from octjob.train.together import together
from octjob.train.units import Unit

CPU = Single("cpu")
NUM_VOLUMES, WIDTH = 40, 7
LABEL_N = (np.arange(NUM_VOLUMES) * 7 % 13) % 4


class Stopped(Exception):
    """Stands for a signal."""


class Hooks:
    """Keeps the history; saves the state and stops after so many calls."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.left = stop_after
        self.history: list[dict[str, Any]] = []
        self.saved = io.BytesIO()

    def after_step(self, training: Training) -> None:
        self._count(training)

    def after_epoch(self, training: Training, records: Sequence[dict[str, Any]]) -> None:
        self.history += records
        self._count(training)

    def _count(self, training: Training) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                torch.save(training.state(), self.saved)
                raise Stopped


def features() -> torch.Tensor:
    x_VN = torch.randn(2, NUM_VOLUMES, WIDTH, generator=torch.Generator().manual_seed(0))
    x_VN[..., :4] += torch.nn.functional.one_hot(torch.from_numpy(LABEL_N), 4).float()
    return x_VN


X_VN = features()


def assert_lines_agree(found: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> None:
    """Losses within rounding, all else the same."""
    assert len(found) == len(expected)
    for line, other in zip(found, expected, strict=True):
        assert line.keys() == other.keys()
        for key, value in other.items():
            loose = key == "lr" or key.endswith("/loss")
            assert line[key] == (pytest.approx(value, rel=1e-5) if loose else value), key


def scores(positions: np.ndarray, logits_NK: np.ndarray) -> dict[str, float]:
    log_p_NK = logits_NK - np.logaddexp.reduce(logits_NK, axis=1, keepdims=True)
    loss = -float(log_p_NK[np.arange(len(positions)), LABEL_N[positions]].mean())
    return {"loss": loss, "accuracy": float((logits_NK.argmax(1) == LABEL_N[positions]).mean())}


def unit(seed: int, fold: int, num_train: int = 24) -> Unit:
    """Folds differ in who is trained on, and by a row."""
    positions = np.random.default_rng(fold).permutation(NUM_VOLUMES)
    end = num_train - fold % 2
    return Unit(seed, fold, np.sort(positions[:end]), positions[24:30], positions[30:])


def config(train: dict[str, Any], batch_size: int = 5, head: dict[str, Any] | None = None) -> Experiment:
    return Experiment.model_validate(
        {
            "data": {"batch_size": batch_size},
            "model": {"head": head or {}},
            "train": {"epochs": 3, "lr_head": 0.01, "warmup_epochs": 1, **train},
        }
    )


def member(one: Unit, experiment: Experiment) -> Member:
    x_VN = standardize(X_VN, one.train_N)[0] if experiment.train.standardize else X_VN
    weight_K = class_weights(LABEL_N[one.train_N], 4, experiment.train.class_weights)
    return Member(Task(one, LABEL_N.astype(np.int64), weight_K, scores), experiment, x_VN)


def one_by_one(members: Sequence[Member]) -> list[tuple[Loop, dict[str, torch.Tensor], Hooks]]:
    """Each head by a loop of its own, with the weights of its last epoch."""
    found = []
    for each in members:
        head = make_head(each.experiment, WIDTH, each.unit.seed)
        loop, hooks = Loop(head, FeatureSource(each.x_VN), each.task, each.experiment, CPU), Hooks()
        found.append((loop, loop.run(hooks), hooks))
    return found


def assert_same_as_one_by_one(members: Sequence[Member]) -> Joint:
    """Losses, metrics, logits and weights within rounding; epochs and choices exactly."""
    joint, hooks = Joint(members, CPU), Hooks()
    joint.run(hooks)
    for i, (loop, last, alone) in enumerate(one_by_one(members)):
        one = members[i].unit
        found = joint.used(i)
        expected = loop.used()
        assert found == {**expected, "groups": found["groups"]}
        for group, other in zip(found["groups"], expected["groups"], strict=True):
            assert group == {**other, "last_lr": pytest.approx(other["last_lr"], rel=1e-12)}
        for name, tensor in loop.weights().items():
            # AdamW turns the rounding of a gradient near zero into a part of a step.
            torch.testing.assert_close(joint.weights(i)[name], tensor, rtol=1e-4, atol=2e-5)
            torch.testing.assert_close(joint.last_weights(i)[name], last[name], rtol=1e-4, atol=2e-5)
        logits_NK = loop.predict(one.eval_N, lambda: None)
        np.testing.assert_allclose(joint.logits(i, one.eval_N), logits_NK, rtol=1e-5, atol=1e-5)
        assert len(alone.history) == joint.standings[i].epochs_run
    return joint


GRID = [(0.003, 0.0), (0.003, 0.1), (0.05, 0.1)]


@pytest.mark.parametrize("head", [{"dropout": 0.3}, {"hidden": 5, "dropout": 0.3}], ids=str)
@pytest.mark.parametrize(
    "train",
    [
        {},
        {"optimizer": "SGD", "scheduler": "step"},
        {"loss": "focal", "focal_gamma": 1.5, "class_weights": "auto"},
        {"sampler": "weighted", "grad_clip": 0.2, "scheduler": "none"},
        {"accumulate": 3, "grad_clip": 0.2, "optimizer": "SGD"},
        {"early_stopping": {"enabled": True, "patience": 2, "min_delta": 0.02}, "epochs": 6},
        {"standardize": True},
    ],
    ids=str,
)
def test_a_grid_is_the_heads_one_by_one(train: dict[str, Any], head: dict[str, Any]) -> None:
    members = [
        member(unit(seed, fold), config({**train, "lr_head": rate, "weight_decay": decay}, head=head))
        for rate, decay in GRID
        for seed, fold in ((1, 0), (2, 1))
    ]
    assert_same_as_one_by_one(members)


def test_the_history_is_that_of_the_heads_one_by_one() -> None:
    """Epoch after epoch, with a line for each unit; those that stopped early have no more."""
    stopping = {"enabled": True, "patience": 2, "min_delta": 0.02}
    experiment = config({"early_stopping": stopping, "epochs": 6})
    members = [member(unit(seed, fold), experiment) for seed in (1, 2) for fold in (0, 1, 2)]
    joint, hooks = Joint(members, CPU), Hooks()
    joint.run(hooks)
    assert [line["epoch"] for line in hooks.history] == sorted(line["epoch"] for line in hooks.history)
    assert {standing.stopped_early for standing in joint.standings} == {True, False}
    for each, (_, _, alone) in zip(members, one_by_one(members), strict=True):
        own = (each.unit.seed, each.unit.fold)
        mine = [line for line in hooks.history if (line["seed"], line["fold"]) == own]
        assert_lines_agree(mine, alone.history)


@settings(max_examples=12, deadline=None)
@given(
    batch_size=st.integers(1, 30),
    accumulate=st.integers(1, 3),
    seeds=st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
    rates=st.lists(st.sampled_from([0.001, 0.004, 0.02]), min_size=1, max_size=3, unique=True),
    train=st.fixed_dictionaries(
        {
            "optimizer": st.sampled_from(["AdamW", "SGD"]),
            "weight_decay": st.sampled_from([0.0, 0.05]),
            "sampler": st.sampled_from(["shuffle", "weighted"]),
            "class_weights": st.sampled_from(["none", "auto", (3.0, 1.0, 1.0, 2.0)]),
            "grad_clip": st.sampled_from([0.0, 0.3]),
            "standardize": st.booleans(),
            "epochs": st.just(2),
        }
    ),
    hidden=st.sampled_from([0, 3]),
    dropout=st.sampled_from([0.0, 0.4]),
)
def test_any_config_is_the_heads_one_by_one(
    batch_size: int,
    accumulate: int,
    seeds: list[int],
    rates: list[float],
    train: dict[str, Any],
    hidden: int,
    dropout: float,
) -> None:
    head = {"hidden": hidden, "dropout": dropout}
    members = [
        member(
            unit(seed, 2 * seed),
            config({**train, "lr_head": rate, "accumulate": accumulate}, batch_size, head),
        )
        for seed in seeds
        for rate in rates
    ]
    assert_same_as_one_by_one(members)


def run_with_stops(members: Sequence[Member], stops: Sequence[int]) -> tuple[Joint, list[dict[str, Any]]]:
    """To the end through stops, each time from a state that went through the disk's format."""
    history: list[dict[str, Any]] = []
    saved: io.BytesIO | None = None
    for stop in [*stops, None]:
        joint, hooks = Joint(members, CPU), Hooks(stop)
        if saved is not None:
            saved.seek(0)
            joint.load_state(torch.load(saved, weights_only=True))
        try:
            joint.run(hooks)
        except Stopped:
            saved = hooks.saved
            history += hooks.history
            continue
        return joint, history + hooks.history
    raise AssertionError


@pytest.mark.parametrize(
    "train",
    [
        {"weight_decay": 0.1},
        {"optimizer": "SGD", "scheduler": "step"},
        {
            "early_stopping": {"enabled": True, "patience": 2, "min_delta": 0.02},
            "epochs": 5,
            "grad_clip": 0.5,
        },
    ],
    ids=str,
)
@settings(max_examples=5, deadline=None)
@given(stops=st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_stopped_anywhere_and_continued_equals_never_stopped(train: dict[str, Any], stops: list[int]) -> None:
    """Bit for bit, in the middle of an epoch and of its scores, before and after heads have left."""
    members = [
        member(unit(seed, fold), config({**train, "lr_head": rate}, head={"hidden": 4, "dropout": 0.3}))
        for seed, fold in ((1, 0), (1, 2), (2, 4))
        for rate in (0.01, 0.1)
    ]
    straight, expected = run_with_stops(members, [])
    resumed, found = run_with_stops(members, stops)
    assert found == expected
    for i, each in enumerate(members):
        assert resumed.used(i) == straight.used(i)
        assert np.array_equal(resumed.logits(i, each.unit.eval_N), straight.logits(i, each.unit.eval_N))
        for weights in (Joint.weights, Joint.last_weights):
            for name, tensor in weights(straight, i).items():
                assert torch.equal(weights(resumed, i)[name], tensor), name


def test_a_state_that_was_taken_is_not_changed_by_later_steps() -> None:
    """It is written while they run."""

    class Keeping(Hooks):
        def after_step(self, training: Training) -> None:
            if training.epoch == 1 and training.step == 2 and not self.saved.tell():
                self.state = training.state()
                torch.save(self.state, self.saved)

    hooks, later = Keeping(), io.BytesIO()
    Joint([member(unit(seed, 0), config({})) for seed in (1, 2)], CPU).run(hooks)
    torch.save(hooks.state, later)
    assert later.getvalue() == hooks.saved.getvalue()


THREE = ((1, 0), (2, 2), (1, 1))


@settings(max_examples=25, deadline=None)
@given(
    batch_size=st.integers(1, 30),
    width=st.sampled_from([5, 7, 32, 200]),
    num_classes=st.sampled_from([2, 4, 5]),
    own=st.just(list(THREE))
    | st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=3, unique=True),
    rates=st.lists(st.sampled_from([0.001, 0.004, 0.02]), min_size=1, max_size=7),
    train=st.fixed_dictionaries(
        {
            "optimizer": st.sampled_from(["AdamW", "SGD"]),
            "weight_decay": st.sampled_from([0.0, 0.05]),
            "loss": st.sampled_from(["cross_entropy", "focal"]),
            "focal_gamma": st.just(1.5),
            "accumulate": st.integers(1, 2),
            "standardize": st.booleans(),
            "epochs": st.just(4),
            "early_stopping": st.just({"enabled": True, "patience": 1}),
        }
    ),
    head=st.fixed_dictionaries(
        {"hidden": st.sampled_from([0, 3, 40]), "dropout": st.sampled_from([0.0, 0.4])}
    ),
)
def test_company_changes_no_bit(
    batch_size: int,
    width: int,
    num_classes: int,
    own: list[tuple[int, int]],
    rates: list[float],
    train: dict[str, Any],
    head: dict[str, Any],
) -> None:
    """Heads of other runs train beside a run's own, some leave early, and nobody can tell."""
    x_VN = torch.randn(2, NUM_VOLUMES, width, generator=torch.Generator().manual_seed(0))
    classes = {"mapping": {f"class{k}": k for k in range(num_classes)}}

    def made(seed: int, fold: int, **other: Any) -> Member:
        experiment = {
            "data": {"batch_size": batch_size},
            "classes": classes,
            "model": {"head": head},
            "train": {**train, **other},
        }
        one = unit(seed, fold)
        label_N = (LABEL_N % num_classes).astype(np.int64)
        task = Task(one, label_N, None, lambda positions, logits_NK: {"loss": float(logits_NK.std())})
        return Member(task, Experiment.model_validate(experiment), x_VN)

    alone = [made(seed, fold) for seed, fold in own]
    others = [
        made(seed, fold, lr_head=rate, grad_clip=0.3, class_weights=[2.0] * num_classes)
        for rate in rates
        for seed, fold in THREE
    ]
    # Only those of equally many steps train together.
    size = batch_size * train["accumulate"]
    assume(len({-(-len(each.unit.train_N) // size) for each in [*alone, *others]}) == 1)
    expected, told = Joint(alone, CPU), Hooks()
    expected.run(told)
    found, seen = Joint([*alone, *others], CPU, num_own=len(alone)), Hooks()
    found.run(seen)
    assert seen.history == told.history
    for i in range(len(alone)):
        for weights in (Joint.weights, Joint.last_weights):
            for name, tensor in weights(expected, i).items():
                assert torch.equal(weights(found, i)[name], tensor), name
    first = Joint(others[:1], CPU)
    first.run(hooks := Hooks())
    assert found.beside[0] == hooks.history


def test_a_failure_beside_is_not_ones_own() -> None:
    """It ends; the others train on, to the same bits."""
    wild = config({"lr_head": 1e6, "weight_decay": 1e6, "optimizer": "SGD", "warmup_epochs": 0, "epochs": 30})
    tame = config({"lr_head": 0.01, "optimizer": "SGD", "warmup_epochs": 0, "epochs": 30})
    joint = Joint([member(unit(1, 0), tame), member(unit(1, 0), wild)], CPU, num_own=1)
    joint.run(Hooks())
    alone = Joint([member(unit(1, 0), tame)], CPU)
    alone.run(Hooks())
    assert "training loss became" in (joint.standings[1].failure or "")
    assert torch.equal(joint.weights(0)["fc.weight"], alone.weights(0)["fc.weight"])


def test_a_state_saved_in_company_goes_on_alone() -> None:
    """It has the own heads only; the others begin anew elsewhere."""
    own = [member(unit(seed, 0), config({})) for seed in (1, 2)]
    others = [member(unit(1, 0), config({"lr_head": rate})) for rate in (0.1, 0.2)]
    straight, told = Joint(own, CPU), Hooks()
    straight.run(told)
    stopped = Hooks(stop_after=7)
    with pytest.raises(Stopped):
        Joint([*own, *others], CPU, num_own=2).run(stopped)
    stopped.saved.seek(0)
    resumed, hooks = Joint(own, CPU), Hooks()
    resumed.load_state(torch.load(stopped.saved, weights_only=True))
    resumed.run(hooks)
    assert stopped.history + hooks.history == told.history
    for i in range(2):
        assert torch.equal(resumed.weights(i)["fc.weight"], straight.weights(i)["fc.weight"])


def test_steps_of_small_heads_are_the_same_on_however_many_threads_and_leave_them_as_they_were() -> None:
    before = torch.get_num_threads()
    weights = []
    try:
        for num_threads in (1, 3):
            torch.set_num_threads(num_threads)
            joint = Joint([member(unit(1, 0), config({"epochs": 2}))], CPU)
            joint.run(Hooks())
            assert torch.get_num_threads() == num_threads
            weights.append(joint.weights(0))
    finally:
        torch.set_num_threads(before)
    for name, tensor in weights[0].items():
        assert torch.equal(weights[1][name], tensor)


def test_a_diverging_loss_is_an_error_that_names_the_learning_rate() -> None:
    wild = {"lr_head": 1e6, "weight_decay": 1e6, "optimizer": "SGD", "warmup_epochs": 0, "epochs": 30}
    with pytest.raises(DataError, match="training loss became") as error:
        Joint([member(unit(1, 0), config(wild)), member(unit(2, 0), config(wild))], CPU).run(Hooks())
    assert "lr_head" in error.value.hint


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    batch_size=st.integers(1, 20),
    width=st.sampled_from([8, 20_000, 400_000]),
    done=st.integers(0, 10),
)
def test_who_trains_together_does_not_depend_on_who_is_done(
    sizes: list[int], batch_size: int, width: int, done: int
) -> None:
    experiment = config({}, batch_size)
    units = [Unit(i, 0, np.arange(size), np.arange(0), np.arange(1)) for i, size in enumerate(sizes)]
    shape_VNE = (1, 60, width)
    groups = together(units, experiment, shape_VNE)
    assert sorted(u.seed for group in groups for u in group) == list(range(len(units)))
    for group in groups:
        assert len({-(-len(u.train_N) // min(batch_size, len(u.train_N))) for u in group}) == 1
        assert len(group) == 1 or len(group) * 4 * 16 * (width + 1) <= 16 * 2**20
    left = {u.seed for group in groups[done:] for u in group}
    assert together([u for u in units if u.seed in left], experiment, shape_VNE) == groups[done:]
