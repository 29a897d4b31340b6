"""The two ways to train a unit, each leaving logits for any position: on cached features, or end to end.

Shapes: V views, N volumes of the cohort, E embedding, T tokens, K classes.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from octjob.data.cohort import Volume
from octjob.data.quarantine import Quarantine
from octjob.data.sampling import class_weights
from octjob.data.volumes import VolumeReader
from octjob.features.encode import IDENTITY, Encoding, encode_volumes, num_views
from octjob.features.store import Features
from octjob.models.checkpoint import LoadedEncoder
from octjob.models.fingerprint import relative_distance
from octjob.train.classifier import Classifier, make_head
from octjob.train.logistic import fit_logistic
from octjob.train.loop import Loop, Task
from octjob.train.scoring import Logits, Scorer
from octjob.train.session import Session
from octjob.train.source import FeatureSource, VolumeSource
from octjob.train.units import Indices, Unit

log = logging.getLogger(__name__)


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


class Trainer(Protocol):
    """Trains one unit after the other."""

    def train(self, unit: Unit) -> Trained:
        """Train it, or continue it."""
        ...


def class_weights_of(session: Session, scorer: Scorer, unit: Unit) -> npt.NDArray[np.float64] | None:
    """Loss weights from the labels this unit really trains on."""
    config = session.run.config
    labels = scorer.label_N[unit.train_N]
    return class_weights(labels, config.classes.num_classes, config.train.class_weights)


def train_loop(session: Session, loop: Loop) -> Trained:
    """Run (or continue) a loop to its end."""
    unit = loop.task.unit
    if session.current is not None and session.current["unit"] == unit.name:
        loop.load_state(session.current["state"])
    used = loop.used()
    log.info("%s: %s", unit.name, used)
    last = loop.run(session)
    return Trained(
        eval_logits_NK=loop.predict(unit.eval_N, session.check_stop),
        train_logits_NK=loop.predict(unit.train_N, session.check_stop),
        weights=_on_cpu(loop.model.state_dict()),
        last_weights=_on_cpu(last),
        used=loop.used(),
    )


def _on_cpu(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.detach().cpu().clone() for name, x in weights.items()}


class ProbeTrainer:
    """Heads on features of a frozen encoder."""

    def __init__(self, session: Session, scorer: Scorer, x_VN: Tensor) -> None:
        self.session = session
        self.scorer = scorer
        self.x_VN = x_VN

    def train(self, unit: Unit) -> Trained:
        """One head."""
        config = self.session.run.config
        x_VN, scale = standardize(self.x_VN, unit.train_N) if config.train.standardize else (self.x_VN, {})
        weight_K = class_weights_of(self.session, self.scorer, unit)
        if config.train.optimizer == "LBFGS":
            return self._logistic(unit, x_VN, weight_K, scale)
        head = make_head(config, x_VN.shape[-1], unit.seed)
        task = Task(unit, self.scorer.label_N, weight_K, self.scorer.for_unit(unit))
        source = FeatureSource(x_VN.to(self.session.device))
        trained = train_loop(self.session, Loop(head, source, task, config, self.session.device))
        return replace(
            trained, weights={**trained.weights, **scale}, last_weights={**trained.last_weights, **scale}
        )

    def _logistic(
        self,
        unit: Unit,
        x_VN: Tensor,
        weight_K: npt.NDArray[np.float64] | None,
        scale: dict[str, Tensor],
    ) -> Trained:
        config, num_views = self.session.run.config, x_VN.shape[0]
        label_N = self.scorer.label_N[unit.train_N]
        weight_N = np.ones(len(label_N)) if weight_K is None else weight_K[label_N]
        people = {p.id: p for p in (self.scorer.volumes[i].participant for i in unit.train_N)}
        model = fit_logistic(
            x_VN[:, unit.train_N].flatten(0, 1).double().numpy(),
            np.tile(label_N, num_views),
            np.tile(weight_N, num_views) / num_views,
            np.tile(self.scorer.participant_N[unit.train_N], num_views),
            list(people.values()),
            config.classes.num_classes,
            config.train.l2,
            unit.seed,
            self.session.check_stop,
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


def standardize(x_VN: Tensor, train_N: Indices) -> tuple[Tensor, dict[str, Tensor]]:
    """Each feature to mean 0 and std 1 over the training samples of all views; a constant one to 0.

    Returns the scaled features and what scaled them, to be stored with the weights.
    """
    train = x_VN[:, train_N].double().flatten(0, -2)
    mean_E, std_E = train.mean(dim=0), train.std(dim=0, correction=0)
    std_E = torch.where(std_E > 0, std_E, torch.ones_like(std_E))
    scale = {"feature_mean": mean_E, "feature_std": std_E}
    return rescale(x_VN, scale), scale


def rescale(x_VN: Tensor, scale: Mapping[str, Tensor]) -> Tensor:
    """Features scaled as `standardize` did, by the values that it returned."""
    return ((x_VN.double() - scale["feature_mean"]) / scale["feature_std"]).float()


def encode_cohort(
    session: Session,
    encoding: Encoding,
    reader: VolumeReader,
    volumes: Sequence[Volume],
    quarantine: Quarantine,
) -> Tensor:
    """Features of every view of every volume not in `quarantine`, in the volumes' order: (V, N, E) or (V, N, T, E).

    Augmented views exist for training volumes; scored volumes repeat view 0 there, which nothing reads.
    """
    session.heartbeat.stage("encoding")
    augment = session.run.config.data.augment
    evaluated = session.run.config.data.eval_split if not session.run.folds else None

    def encoded(chosen: Sequence[Volume], view: int) -> Features:
        owner, tick = session.run.run_id, session.tick
        return encode_volumes(encoding, session.cache, reader, chosen, view, quarantine, owner, tick)

    identity = encoded(volumes, IDENTITY)
    trained_on = [v for v in volumes if v.participant.split != evaluated]
    views = [identity, *({**identity, **encoded(trained_on, view)} for view in range(1, num_views(augment)))]
    # Only now: a volume whose first view was cached may have become unreadable for the second.
    readable = [v for v in volumes if v.record.sop_instance_uid not in quarantine.uids]
    return torch.from_numpy(
        np.stack([np.stack([view[v.record.sop_instance_uid] for v in readable]) for view in views])
    )


class FinetuneTrainer:
    """The whole network, end to end, from the checkpoint's weights for every unit."""

    def __init__(
        self,
        session: Session,
        scorer: Scorer,
        loaded: LoadedEncoder,
        reader: VolumeReader,
        volumes: Sequence[Volume],
    ) -> None:
        self.session = session
        self.scorer = scorer
        self.loaded = loaded
        self.source = VolumeSource(reader, volumes, session.run.config, session.device)

    def train(self, unit: Unit) -> Trained:
        """One network."""
        config = self.session.run.config
        head = make_head(config, self.loaded.report.geometry.embed_dim, unit.seed)
        model = Classifier(copy.deepcopy(self.loaded.encoder), head, config.model.pool_method)
        weight_K = class_weights_of(self.session, self.scorer, unit)
        task = Task(unit, self.scorer.label_N, weight_K, self.scorer.for_unit(unit))
        trained = train_loop(self.session, Loop(model, self.source, task, config, self.session.device))
        change = relative_distance(model.encoder.state_dict(), self.loaded.encoder.state_dict())
        return replace(trained, used={**trained.used, "encoder_change": change})
