"""Trainers that look at no volume. Shapes: N volumes, F features, K classes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from octjob.data.cohort import Volume
from octjob.errors import DataError
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run
from octjob.spec.sweep import ControlName
from octjob.train.scoring import Scorer
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


def make_control_trainer(run: Run, scorer: Scorer) -> Trainer:
    """What trains the control `run` on the scorer's volumes, of which it sees what tables say.

    Raises `DataError` where these tell nobody apart.
    """
    if run.control is None or run.control == "prior":
        return PriorTrainer(run.config, scorer)
    table = _TABLES[run.control](scorer.volumes)
    log.info("control %s: %s", run.control, ", ".join(table.names))
    return LogisticTrainer(run.config, scorer, torch.from_numpy(table.x_NF).float()[None])
