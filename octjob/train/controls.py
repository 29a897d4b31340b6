"""What trains controls that have no encoder, and by which labels runs train.

Shapes: N volumes, F features, K classes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from octjob.data.cohort import Volume
from octjob.errors import DataError
from octjob.spec.control_options import ControlName
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run
from octjob.train.pixel_pca import Float32, PixelPcaTrainer
from octjob.train.scoring import Scorer
from octjob.train.shuffled import ShuffledScorer
from octjob.train.tabular import Table, clinical, site_device
from octjob.train.trained import Done, Trained, Trainer, Watch
from octjob.train.trainers import LogisticTrainer
from octjob.train.units import Unit

log = logging.getLogger(__name__)

_TABLES: dict[ControlName, Callable[[Sequence[Volume]], Table]] = {
    "clinical": clinical,
    "site_device": site_device,
}


class PriorTrainer:
    """The shares of the classes among whom a unit trains on, for everyone: participants, or volumes, as is scored."""

    def __init__(self, experiment: Experiment, scorer: Scorer) -> None:
        self.experiment = experiment
        self.scorer = scorer

    def train(self, units: Sequence[Unit], watch: Watch) -> Iterator[Done]:
        """One after the other."""
        for unit in units:
            watch.begin([unit], unit.name)
            yield [(unit, self._train(unit))]

    def _train(self, unit: Unit) -> Trained:
        scorer, train_N = self.scorer, unit.train_N
        if self.experiment.data.unit == "participant":
            _, first_N = np.unique(scorer.participant_N[train_N], return_index=True)
            train_N = train_N[first_N]
        count_K = np.bincount(scorer.label_N[train_N], minlength=self.experiment.classes.num_classes)
        if not count_K.all():
            raise DataError(
                f"training samples hold {np.count_nonzero(count_K)} of {len(count_K)} classes",
                "Widen the selection, or use fewer folds.",
            )
        share_K = count_K / count_K.sum()
        used = {
            "seed": unit.seed,
            "repeat": unit.repeat,
            "fold": unit.fold,
            "num_train": len(unit.train_N),
            "num_eval": len(unit.eval_N),
            "class_weights": None,
            "prior": share_K.tolist(),
        }
        weights = {"bias": torch.from_numpy(np.log(share_K))}
        eval_NK, train_NK = (
            np.tile(np.log(share_K), (len(one_N), 1)) for one_N in (unit.eval_N, unit.train_N)
        )
        return Trained(eval_NK, train_NK, weights, weights, used)


def make_scorer(run: Run, volumes: Sequence[Volume]) -> Scorer:
    """What knows the labels that the run trains on."""
    kind = ShuffledScorer if run.control == "shuffled_labels" else Scorer
    return kind(volumes, run.config)


def make_control_trainer(run: Run, scorer: Scorer, pixels_NF: Float32 | None = None) -> Trainer:
    """What trains a control without an encoder on the scorer's volumes: of which it sees what tables say, or
    `pixels_NF`.

    Raises `DataError` where the tables tell nobody apart.
    """
    if pixels_NF is not None:
        return PixelPcaTrainer(run.config, scorer, pixels_NF)
    if run.control is None or run.control == "prior":
        return PriorTrainer(run.config, scorer)
    table = _TABLES[run.control](scorer.volumes)
    log.info("control %s: %s", run.control, ", ".join(table.names))
    return LogisticTrainer(run.config, scorer, torch.from_numpy(table.x_NF).float()[None])
