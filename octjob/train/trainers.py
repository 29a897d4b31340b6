"""The two ways to train a unit, each leaving logits for any position: on cached features, or end to end.

Shapes: V views, N volumes of the cohort, E embedding, T tokens, K classes.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from octjob.data.augment import IDENTITY
from octjob.models.checkpoint import LoadedEncoder
from octjob.models.fingerprint import relative_distance
from octjob.runtime.base import Runtime
from octjob.spec.experiment import Experiment
from octjob.train.classifier import Classifier, head_kind, make_head
from octjob.train.company import Company
from octjob.train.logistic import EigenBasis, fit_logistic
from octjob.train.loop import Loop, State, Task
from octjob.train.probe import ProbeTrainer
from octjob.train.scaling import by_training_set, scaled
from octjob.train.scoring import Scorer
from octjob.train.source import FeatureSource, VolumeSource
from octjob.train.stack import STACKED
from octjob.train.trained import Done, Trained, Trainer, Watch
from octjob.train.units import Unit

log = logging.getLogger(__name__)

# Features of a frozen encoder, float32 (V, N, E) or (V, N, T, E), view 0 the volume itself; or what reads volumes.
Inputs = Tensor | VolumeSource


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
        weight_K = self.scorer.class_weights(unit)
        task = Task(unit, self.scorer.labels(unit), weight_K, self.scorer.for_unit(unit))
        return Loop(head, FeatureSource(x_VN), task, self.experiment, self.runtime)


class LogisticTrainer:
    """Logistic regressions on the same features, to their optimum."""

    def __init__(self, experiment: Experiment, scorer: Scorer, x_VN: Tensor) -> None:
        self.experiment = experiment
        self.scorer = scorer
        self.x_VN = x_VN

    def train(self, units: Sequence[Unit], watch: Watch) -> Iterator[Done]:
        """One after the other, those of one training set together; one that is interrupted begins again."""
        for alike in by_training_set(units):
            x_VN, scale = scaled(self.experiment, self.x_VN, alike[0])
            basis = EigenBasis(x_VN[:, alike[0].train_N].flatten(0, 1).double().numpy())
            for unit in alike:
                watch.begin([unit], unit.name)
                yield [(unit, self._train(unit, x_VN, scale, basis, watch))]

    def _train(
        self, unit: Unit, x_VN: Tensor, scale: dict[str, Tensor], basis: EigenBasis, watch: Watch
    ) -> Trained:
        weight_K = self.scorer.class_weights(unit)
        experiment, num_views = self.experiment, x_VN.shape[0]
        label_N = self.scorer.labels(unit)[unit.train_N]
        weight_N = np.ones(len(label_N)) if weight_K is None else weight_K[label_N]
        model = fit_logistic(
            basis,
            np.tile(label_N, num_views),
            np.tile(weight_N, num_views) / num_views,
            np.tile(self.scorer.participant_N[unit.train_N], num_views),
            self.scorer.training_participants(unit),
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
        weight_K = self.scorer.class_weights(unit)
        task = Task(unit, self.scorer.labels(unit), weight_K, self.scorer.for_unit(unit))
        return Loop(model, self.source, task, experiment, self.runtime, self.microbatches)


def make_trainer(
    experiment: Experiment,
    scorer: Scorer,
    loaded: LoadedEncoder,
    inputs: Inputs,
    runtime: Runtime,
    microbatches: int = 1,
    company: Company | None = None,
) -> Trainer:
    """What trains on these inputs: heads on features, the whole network on volumes.

    microbatches: equal parts that a batch of volumes is taken in. company: whose heads may train beside, where they
    are of a kind that does.
    """
    if isinstance(inputs, Tensor):
        if experiment.train.optimizer == "LBFGS":
            return LogisticTrainer(experiment, scorer, inputs)
        if head_kind(experiment) in STACKED:
            return ProbeTrainer(experiment, scorer, inputs, runtime, company)
        return OneByOneTrainer(experiment, scorer, inputs, runtime)
    return FinetuneTrainer(experiment, scorer, loaded, inputs, runtime, microbatches)
