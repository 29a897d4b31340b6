"""The two ways to train a unit, each leaving logits for any position: on cached features, or end to end.

Shapes: V views, N volumes of the cohort, E embedding, T tokens, K classes.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from octjob.data.augment import IDENTITY
from octjob.data.sampling import class_weights
from octjob.models.checkpoint import LoadedEncoder
from octjob.models.fingerprint import relative_distance
from octjob.runtime.base import Runtime
from octjob.spec.experiment import Experiment
from octjob.train.classifier import Classifier, head_kind, make_head
from octjob.train.joint import Joint
from octjob.train.logistic import EigenBasis, fit_logistic
from octjob.train.loop import Hooks, Loop, State, Task
from octjob.train.scoring import Logits, Scorer
from octjob.train.source import FeatureSource, VolumeSource
from octjob.train.stack import STACKED, Weights
from octjob.train.streams import Member
from octjob.train.together import together
from octjob.train.units import Indices, Unit

log = logging.getLogger(__name__)

# Features of a frozen encoder, float32 (V, N, E) or (V, N, T, E), view 0 the volume itself; or what reads volumes.
Inputs = Tensor | VolumeSource


@dataclass(frozen=True, eq=False)
class Trained:
    """A unit's outcome: logits of the evaluated and the training volumes, weights, and the values used.

    `weights` gave the logits; `last_weights` are those of the last epoch, other ones after early stopping.
    `used` holds `scored_epoch` where there were epochs, and after fine-tuning `encoder_change`, the distance of
    the scored encoder's weights from the checkpoint's over the norm of the checkpoint's.
    """

    eval_logits_NK: Logits
    train_logits_NK: Logits
    weights: dict[str, Tensor]
    last_weights: dict[str, Tensor]
    used: dict[str, Any]


Done = Sequence[tuple[Unit, Trained]]


class Watch(Hooks, Protocol):
    """What looks on while units train: a loop's hooks, what was saved before, and when to stop."""

    def begin(self, units: Sequence[Unit], name: str) -> State | None:
        """Units begin together: the state of the training of this name, where an attempt was interrupted in it."""
        ...

    def check_stop(self) -> None:
        """Raise `Interrupted` where training has to end; called wherever nothing would be lost."""
        ...


class Trainer(Protocol):
    """Trains units, each from the same start."""

    def train(self, units: Sequence[Unit], watch: Watch) -> Iterator[Done]:
        """Train each, or continue it, in any order; what is trained together is handed over together."""
        ...


def class_weights_of(experiment: Experiment, scorer: Scorer, unit: Unit) -> npt.NDArray[np.float64] | None:
    """Loss weights from the labels this unit really trains on."""
    labels = scorer.label_N[unit.train_N]
    return class_weights(labels, experiment.classes.num_classes, experiment.train.class_weights)


def begin(loop: Loop, watch: Watch) -> None:
    """Begin the loop's unit, or take it up where an earlier attempt was interrupted in it."""
    unit = loop.task.unit
    if (state := watch.begin([unit], loop.name)) is not None:
        loop.load_state(state)
    log.info("%s: %s", unit.name, loop.used())


def trained(loop: Loop, last: State, watch: Watch) -> Trained:
    """What became of a loop that has run; `last` are the weights of its last epoch."""
    unit = loop.task.unit
    return Trained(
        eval_logits_NK=loop.predict(unit.eval_N, watch.check_stop),
        train_logits_NK=loop.predict(unit.train_N, watch.check_stop),
        weights=loop.weights(),
        last_weights=last,
        used=loop.used(),
    )


class ProbeTrainer:
    """Linear and MLP heads on features of a frozen encoder, float32 (V, N, E); view 0 is the volume itself."""

    def __init__(self, experiment: Experiment, scorer: Scorer, x_VN: Tensor, runtime: Runtime) -> None:
        self.experiment = experiment
        self.scorer = scorer
        self.x_VN = x_VN
        self.runtime = runtime

    def train(self, units: Sequence[Unit], watch: Watch) -> Iterator[Done]:
        """As many heads together as fit."""
        V, N, E = self.x_VN.shape
        for some in together(units, self.experiment, (V, N, E)):
            yield self._train(some, watch)

    def _train(self, units: Sequence[Unit], watch: Watch) -> Done:
        features: dict[str, tuple[Tensor, Weights]] = {}
        for alike in _by_training_set(units):
            features |= dict.fromkeys([u.name for u in alike], scaled(self.experiment, self.x_VN, alike[0]))
        joint = Joint([self._member(unit, features[unit.name][0]) for unit in units], self.runtime)
        if (state := watch.begin(units, joint.name)) is not None:
            joint.load_state(state)
        for i, unit in enumerate(units):
            log.info("%s: %s", unit.name, joint.used(i))
        joint.run(watch)
        return [
            (unit, self._trained(joint, i, features[unit.name][1], watch)) for i, unit in enumerate(units)
        ]

    def _member(self, unit: Unit, x_VN: Tensor) -> Member:
        weight_K = class_weights_of(self.experiment, self.scorer, unit)
        task = Task(unit, self.scorer.label_N, weight_K, self.scorer.for_unit(unit))
        return Member(task, self.experiment, x_VN)

    def _trained(self, joint: Joint, i: int, scale: Weights, watch: Watch) -> Trained:
        watch.check_stop()
        unit = joint.units[i]
        return Trained(
            eval_logits_NK=joint.logits(i, unit.eval_N),
            train_logits_NK=joint.logits(i, unit.train_N),
            weights=joint.weights(i) | scale,
            last_weights=joint.last_weights(i) | scale,
            used=joint.used(i),
        )


class OneByOneTrainer:
    """Heads that do not stack, on features (V, N, E) or tokens (V, N, T, E) of a frozen encoder, float32; view 0 is
    the volume itself."""

    def __init__(self, experiment: Experiment, scorer: Scorer, x_VN: Tensor, runtime: Runtime) -> None:
        self.experiment = experiment
        self.scorer = scorer
        self.x_VN = x_VN
        self.runtime = runtime

    def train(self, units: Sequence[Unit], watch: Watch) -> Iterator[Done]:
        """One head after the other."""
        for unit in units:
            x_VN, scale = scaled(self.experiment, self.x_VN, unit)
            loop = self._loop(unit, x_VN)
            begin(loop, watch)
            last = loop.run(watch)
            one = trained(loop, last, watch)
            yield [(unit, replace(one, weights=one.weights | scale, last_weights=one.last_weights | scale))]

    def _loop(self, unit: Unit, x_VN: Tensor) -> Loop:
        head = make_head(self.experiment, x_VN.shape[-1], unit.seed)
        weight_K = class_weights_of(self.experiment, self.scorer, unit)
        task = Task(unit, self.scorer.label_N, weight_K, self.scorer.for_unit(unit))
        return Loop(head, FeatureSource(x_VN), task, self.experiment, self.runtime)


class LogisticTrainer:
    """Logistic regressions on the same features, to their optimum."""

    def __init__(self, experiment: Experiment, scorer: Scorer, x_VN: Tensor) -> None:
        self.experiment = experiment
        self.scorer = scorer
        self.x_VN = x_VN

    def train(self, units: Sequence[Unit], watch: Watch) -> Iterator[Done]:
        """One after the other, those of one training set together; one that is interrupted begins again."""
        for alike in _by_training_set(units):
            x_VN, scale = scaled(self.experiment, self.x_VN, alike[0])
            basis = EigenBasis(x_VN[:, alike[0].train_N].flatten(0, 1).double().numpy())
            for unit in alike:
                watch.begin([unit], unit.name)
                yield [(unit, self._train(unit, x_VN, scale, basis, watch))]

    def _train(
        self, unit: Unit, x_VN: Tensor, scale: dict[str, Tensor], basis: EigenBasis, watch: Watch
    ) -> Trained:
        weight_K = class_weights_of(self.experiment, self.scorer, unit)
        experiment, num_views = self.experiment, x_VN.shape[0]
        label_N = self.scorer.label_N[unit.train_N]
        weight_N = np.ones(len(label_N)) if weight_K is None else weight_K[label_N]
        people = {p.id: p for p in (self.scorer.volumes[i].participant for i in unit.train_N)}
        model = fit_logistic(
            basis,
            np.tile(label_N, num_views),
            np.tile(weight_N, num_views) / num_views,
            np.tile(self.scorer.participant_N[unit.train_N], num_views),
            list(people.values()),
            experiment.classes.num_classes,
            experiment.train.l2,
            unit.seed,
            watch.check_stop,
        )
        identity_NE = x_VN[IDENTITY].double().numpy()
        used = {
            "seed": unit.seed,
            "repeat": unit.repeat,
            "fold": unit.fold,
            "num_train": len(unit.train_N),
            "num_eval": len(unit.eval_N),
            "class_weights": None if weight_K is None else [float(w) for w in weight_K],
            **model.used,
        }
        log.info("%s: logistic regression, %s", unit.name, used)
        if not used["converged"]:
            log.warning("%s: logistic regression stopped after %d iterations", unit.name, used["iterations"])
        coef, intercept = np.ascontiguousarray(model.coef_KE), np.ascontiguousarray(model.intercept_K)
        weights = {"weight": torch.from_numpy(coef), "bias": torch.from_numpy(intercept), **scale}
        return Trained(
            model.logits(identity_NE[unit.eval_N]),
            model.logits(identity_NE[unit.train_N]),
            weights,
            weights,
            used,
        )


def _by_training_set(units: Sequence[Unit]) -> list[list[Unit]]:
    alike: dict[bytes, list[Unit]] = {}
    for unit in units:
        alike.setdefault(unit.train_N.tobytes(), []).append(unit)
    return list(alike.values())


def scaled(experiment: Experiment, x_VN: Tensor, unit: Unit) -> tuple[Tensor, dict[str, Tensor]]:
    """The unit's features, standardised where the config says so, and what scaled them."""
    return standardize(x_VN, unit.train_N) if experiment.train.standardize else (x_VN, {})


def standardize(x_VN: Tensor, train_N: Indices) -> tuple[Tensor, dict[str, Tensor]]:
    """Each feature to mean 0 and std 1 over the training samples of all views; a constant one to 0.

    Returns the scaled features and what scaled them, to be stored with the weights.
    """
    scale = scale_of(x_VN, train_N)
    return rescale(x_VN, scale), scale


def scale_of(x_VN: Tensor, train_N: Indices) -> dict[str, Tensor]:
    """Mean and std of each feature, (E) float64, over the training samples of all views; 1 for a std of 0."""
    train = x_VN[:, train_N].double().flatten(0, -2)
    mean_E, std_E = train.mean(dim=0), train.std(dim=0, correction=0)
    std_E = torch.where(std_E > 0, std_E, torch.ones_like(std_E))
    return {"feature_mean": mean_E, "feature_std": std_E}


def rescale(x_VN: Tensor, scale: Mapping[str, Tensor]) -> Tensor:
    """Features scaled as `standardize` did, by the values that it returned."""
    return ((x_VN.double() - scale["feature_mean"]) / scale["feature_std"]).float()


class FinetuneTrainer:
    """The whole network, end to end, from the checkpoint's weights for every unit."""

    def __init__(
        self,
        experiment: Experiment,
        scorer: Scorer,
        loaded: LoadedEncoder,
        source: VolumeSource,
        runtime: Runtime,
        microbatches: int = 1,
    ) -> None:
        self.experiment = experiment
        self.scorer = scorer
        self.loaded = loaded
        self.source = source
        self.runtime = runtime
        self.microbatches = microbatches

    def train(self, units: Sequence[Unit], watch: Watch) -> Iterator[Done]:
        """One network after the other. The source is closed at the end, however that comes."""
        with contextlib.closing(self.source):
            for unit in units:
                loop = self._loop(unit)
                begin(loop, watch)
                last = loop.run(watch)
                one = trained(loop, last, watch)
                encoder = {
                    n.removeprefix("encoder."): x for n, x in one.weights.items() if n.startswith("encoder.")
                }
                change = relative_distance(encoder, self.loaded.encoder.state_dict())
                yield [(unit, replace(one, used={**one.used, "encoder_change": change}))]

    def _loop(self, unit: Unit) -> Loop:
        experiment = self.experiment
        head = make_head(experiment, self.loaded.report.geometry.embed_dim, unit.seed)
        model = Classifier(copy.deepcopy(self.loaded.encoder), head, experiment.model.pool_method)
        weight_K = class_weights_of(experiment, self.scorer, unit)
        task = Task(unit, self.scorer.label_N, weight_K, self.scorer.for_unit(unit))
        return Loop(model, self.source, task, experiment, self.runtime, self.microbatches)


def make_trainer(
    experiment: Experiment,
    scorer: Scorer,
    loaded: LoadedEncoder,
    inputs: Inputs,
    runtime: Runtime,
    microbatches: int = 1,
) -> Trainer:
    """What trains on these inputs: heads on features, the whole network on volumes.

    microbatches: equal parts that a batch of volumes is taken in.
    """
    if isinstance(inputs, Tensor):
        if experiment.train.optimizer == "LBFGS":
            return LogisticTrainer(experiment, scorer, inputs)
        stacks = head_kind(experiment) in STACKED
        return (ProbeTrainer if stacks else OneByOneTrainer)(experiment, scorer, inputs, runtime)
    return FinetuneTrainer(experiment, scorer, loaded, inputs, runtime, microbatches)
