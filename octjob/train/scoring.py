"""From a unit's logits to rows of `predictions.parquet` and to metrics. Shapes: N volumes, K classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from octjob.catalog import PER_EPOCH
from octjob.data.cohort import Volume
from octjob.data.participants import Participant
from octjob.data.sampling import class_weights
from octjob.evaluate import Predictions, by_participant
from octjob.evaluate.metrics import Metrics, compute_metrics
from octjob.evaluate.predictions import COLUMNS, How
from octjob.spec.experiment import Experiment
from octjob.train.units import Indices, Unit

Logits = npt.NDArray[np.float64]


class Scorer:
    """Knows the cohort's volumes and turns positions and logits into predictions."""

    def __init__(self, volumes: Sequence[Volume], experiment: Experiment) -> None:
        self.volumes = volumes
        self.experiment = experiment
        people = [volume.participant for volume in volumes]
        self.participant_N = np.array([p.id for p in people])
        self.split_N = np.array([p.split for p in people])
        self.label_N = np.array([p.label for p in people], dtype=np.int64)
        self.eye_N = np.array([volume.record.laterality for volume in volumes])
        self.device_N = np.array([volume.record.device for volume in volumes])
        self.site_N = np.array([p.site for p in people])

    def labels(self, unit: Unit) -> Indices:
        """(N,) the class of each volume, as the unit is trained and scored by it."""
        return self.label_N

    def training_participants(self, unit: Unit) -> list[Participant]:
        """Whom the unit trains on, with the classes that it is trained by."""
        return list({p.id: p for p in (self.volumes[i].participant for i in unit.train_N)}.values())

    def class_weights(self, unit: Unit) -> npt.NDArray[np.float64] | None:
        """(K,) weights of the loss, from the labels this unit really trains on."""
        train = self.experiment.train
        return class_weights(
            self.labels(unit)[unit.train_N], self.experiment.classes.num_classes, train.class_weights
        )

    def predictions(self, unit: Unit, positions: Indices, logits_NK: Logits) -> Predictions:
        """One row per volume."""
        return Predictions(
            participant=self.participant_N[positions],
            eye=self.eye_N[positions],
            device=self.device_N[positions],
            split=self.split_N[positions],
            site=self.site_N[positions],
            fold=np.full(len(positions), unit.fold if unit.scored_fold is None else unit.scored_fold),
            seed=np.full(len(positions), unit.seed),
            label=self.labels(unit)[positions],
            logits_NK=logits_NK,
            repeat=np.full(len(positions), unit.repeat),
        )

    def metrics(self, unit: Unit, positions: Indices, logits_NK: Logits) -> Metrics:
        """Metrics in the configured unit, whatever splits the positions are of."""
        how: How = "mean" if self.experiment.data.unit == "participant" else "volume"
        return compute_metrics(by_participant(self.predictions(unit, positions, logits_NK), how))

    def for_unit(self, unit: Unit) -> Callable[[Indices, Logits], dict[str, float]]:
        """What history and early stopping look at; `loss` is the log-loss."""

        def scores(positions: Indices, logits_NK: Logits) -> dict[str, float]:
            metrics = self.metrics(unit, positions, logits_NK)
            counts = np.array(metrics.prediction_counts)
            return {
                "loss": metrics["log_loss"],
                **{name: metrics[name] for name in PER_EPOCH},
                "top_class_share": float(counts.max() / counts.sum()),
            }

        return scores


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """Rows of several units as one table."""
    columns = (*COLUMNS, "logits_NK")
    return Predictions(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns})
