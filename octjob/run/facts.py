"""The plain facts of a run that its result records: what data, which settings, really used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from octjob.data.cohort import Cohort
from octjob.data.quarantine import Quarantine
from octjob.spec.experiment import Train


def data_facts(cohort: Cohort, quarantine: Quarantine, num_classes: int) -> dict[str, Any]:
    """Coverage, the way from what is listed to what is used, class counts after filtering (participants and volumes
    by split), quarantined volumes."""
    splits = sorted({person.split for person in cohort.participants})
    return {
        "coverage": cohort.coverage.to_dict(),
        "flow": cohort.flow.to_dict(cohort.sizes()),
        "participants": {split: list(cohort.class_counts(split, num_classes)) for split in splits},
        "volumes": {split: list(cohort.class_counts(split, num_classes, "volume")) for split in splits},
        "quarantine": quarantine.to_dict(),
    }


def training_facts(train: Train, units: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The optimisation as it was, and each unit's values."""
    return {
        "optimizer": train.optimizer,
        "loss": train.loss,
        "sampler": train.sampler,
        "precision": train.precision,
        "selection": "last epoch"
        if not train.early_stopping.enabled or train.optimizer == "LBFGS"
        else f"best {train.early_stopping.metric} on held-out training participants",
        "units": list(units),
    }
