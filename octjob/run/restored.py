"""A finished run's stored weights, applied to volumes again.

Shapes: V views, N volumes, E embedding, T tokens, K classes.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import safetensors.torch
from torch import Tensor, nn

from octjob.data.augment import IDENTITY
from octjob.data.cohort import Cohort, Volume
from octjob.data.quarantine import Quarantine
from octjob.errors import AccessError, DataError
from octjob.evaluate import Predictions
from octjob.models.checkpoint import LoadedEncoder
from octjob.models.heads import AttentiveHead
from octjob.records.layout import SPEC, run_key
from octjob.run.inputs import read_inputs
from octjob.runtime.base import Runtime
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.tick import Tick
from octjob.train.classifier import Classifier, make_head
from octjob.train.joint import head_logits
from octjob.train.logistic import Logistic
from octjob.train.loop import Loop, Task
from octjob.train.scaling import rescale
from octjob.train.scoring import Logits, Scorer, concatenate
from octjob.train.source import FeatureSource, Source
from octjob.train.units import Indices, Unit

Weights = dict[str, Tensor]
Which = Literal["best", "last"]
# The logits (N, K) of some positions by the model with these weights.
Apply = Callable[[Unit, Weights], Logits]

_SCALE = ("feature_mean", "feature_std")
_NONE = np.array([], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class StoredWeights:
    """A run's weights by unit name. which: those that were scored, or those of the last epoch.

    digest: SHA-256 of the run's spec and the files.
    """

    which: Which
    digest: str
    by_unit: Mapping[str, Weights]


def scoring_units(run: Run, positions: Indices) -> list[Unit]:
    """Every pass and fold of the run in their order, each to score the same positions and to train on none."""
    return [
        Unit(seed=seed, fold=fold, train_N=_NONE, holdout_N=_NONE, eval_N=positions, repeat=repeat)
        for seed, repeat in run.passes
        for fold in range(max(1, run.folds))
    ]


def read_weights(store: ObjectStore, run: Run) -> StoredWeights:
    """The weights that were scored, `best`; where the run kept only `last`, these.

    Raises:
        AccessError: the run kept neither, or not of every unit; names the key that keeps them.
        DataError: naming the URI of a damaged file.
    """
    names = [unit.name for unit in scoring_units(run, _NONE)]
    there = {info.key for info in store.list(run_key(run.run_id, "checkpoint/"))}
    keys: dict[Which, list[str]] = {
        which: [run_key(run.run_id, f"checkpoint/{which}-{name}.safetensors") for name in names]
        for which in ("best", "last")
    }
    which = next((which for which, wanted in keys.items() if there.issuperset(wanted)), None)
    if which is None:
        missing = next(key for key in keys["best"] if key not in there)
        raise AccessError(
            f"run {run.run_id} kept no weights to score: {store.uri(missing)} is not there",
            "`log.save_best: true` keeps them. Set it, and carry the run out again under a new sweep name.",
        )
    digest = hashlib.sha256(store.get(run_key(run.run_id, SPEC)))
    by_unit = {}
    for name, key in zip(names, keys[which], strict=True):
        data = store.get(key)
        digest.update(hashlib.sha256(data).digest())
        try:
            by_unit[name] = safetensors.torch.load(data)
        except safetensors.SafetensorError as error:
            raise DataError(
                f"{store.uri(key)}: not readable weights ({error})",
                "It is damaged; carry the run out again under a new sweep name.",
            ) from None
    return StoredWeights(which, digest.hexdigest(), by_unit)


def restore(
    run: Run,
    loaded: LoadedEncoder,
    cohort: Cohort,
    cache: ObjectStore,
    runtime: Runtime,
    quarantine: Quarantine,
    tick: Tick,
) -> tuple[Cohort, Apply]:
    """Read or encode every volume once: the cohort without unreadable ones, and what applies weights to it.

    Unreadable volumes are put into `quarantine`; `tick(done, total)` is called after each volume.
    Raises `DataError` for more of them than `data.max_corrupt`.
    """
    readable, inputs = read_inputs(run, loaded, cohort, cache, runtime, quarantine, tick)
    if isinstance(inputs, Tensor):
        return readable, _probe(run, inputs, runtime)
    return readable, _network(run, loaded, inputs, runtime)


def predict(run: Run, volumes: Sequence[Volume], apply: Apply, weights: Mapping[str, Weights]) -> Predictions:
    """What every unit of the run predicts for every volume: a row per unit and volume."""
    scorer, positions = Scorer(volumes, run.config), np.arange(len(volumes), dtype=np.int64)
    return concatenate(
        [
            scorer.predictions(unit, positions, apply(unit, weights[unit.name]))
            for unit in scoring_units(run, positions)
        ]
    )


def _probe(run: Run, x_VN: Tensor, runtime: Runtime) -> Apply:
    """Heads on features (V, N, E) or (V, N, T, E)."""

    def apply(unit: Unit, weights: Weights) -> Logits:
        scale = {name: weights[name] for name in _SCALE if name in weights}
        head_weights = {name: x for name, x in weights.items() if name not in scale}
        scaled_VN = rescale(x_VN, scale) if scale else x_VN
        if run.config.train.optimizer == "LBFGS":
            model = Logistic(head_weights["weight"].numpy(), head_weights["bias"].numpy(), {})
            return model.logits(scaled_VN[IDENTITY].double().numpy()[unit.eval_N])
        head = make_head(run.config, scaled_VN.shape[-1], unit.seed)
        if isinstance(head, AttentiveHead):
            return _forward(run, unit, head, head_weights, FeatureSource(scaled_VN), runtime)
        _load(run, unit, head, head_weights)
        return head_logits(head_weights, scaled_VN, unit.eval_N)

    return apply


def _network(run: Run, loaded: LoadedEncoder, source: Source, runtime: Runtime) -> Apply:
    """Whole fine-tuned networks."""

    def apply(unit: Unit, weights: Weights) -> Logits:
        head = make_head(run.config, loaded.report.geometry.embed_dim, unit.seed)
        model = Classifier(copy.deepcopy(loaded.encoder), head, run.config.model.pool_method)
        return _forward(run, unit, model, weights, source, runtime)

    return apply


def _forward(
    run: Run, unit: Unit, model: nn.Module, weights: Weights, source: Source, runtime: Runtime
) -> Logits:
    """By the loop that predicted in training, so that nothing about it can differ."""
    _load(run, unit, model, weights)
    task = Task(unit, label_N=_NONE, class_weight_K=None, scores=lambda positions, logits_NK: {})
    return Loop(model, source, task, run.config, runtime).predict(unit.eval_N, lambda: None)


def _load(run: Run, unit: Unit, model: nn.Module, weights: Weights) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"run {run.run_id}, {unit.name}: the stored weights do not fit its spec ({error})",
            "They are of another version of octjob; open the test split with the version that wrote them.",
        ) from None
