"""A scorer whose units are trained on labels that say nothing of their participants. N volumes of the cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from octjob.data.cohort import Volume
from octjob.data.participants import Participant
from octjob.data.sampling import shuffled_labels
from octjob.spec.experiment import Experiment
from octjob.train.scoring import Scorer
from octjob.train.units import Indices, Unit


class ShuffledScorer(Scorer):
    """Deals the labels of whom a unit trains or selects with anew within their sites, by the unit's seed.

    Whom a unit scores keep theirs.
    """

    def __init__(self, volumes: Sequence[Volume], experiment: Experiment) -> None:
        super().__init__(volumes, experiment)
        self._labels: dict[str, Indices] = {}

    def labels(self, unit: Unit) -> Indices:
        """(N,) true ones but for whom the unit trains or selects with: a participant's volumes have one of them."""
        if unit.name not in self._labels:
            own = np.concatenate([unit.train_N, unit.holdout_N])
            people = {p.id: p for p in (self.volumes[i].participant for i in own)}
            dealt = shuffled_labels(list(people.values()), unit.seed, unit.repeat, unit.fold)
            label_N = self.label_N.copy()
            label_N[own] = [dealt[self.volumes[i].participant.id] for i in own]
            self._labels[unit.name] = label_N
        return self._labels[unit.name]

    def training_participants(self, unit: Unit) -> list[Participant]:
        """With the dealt classes."""
        label_N = self.labels(unit)
        people = {self.volumes[i].participant.id: i for i in unit.train_N}
        return [replace(self.volumes[i].participant, label=int(label_N[i])) for i in people.values()]
