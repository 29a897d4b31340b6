"""What runs of a tiny sweep say, for tests that carry the same runs out in two ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from octjob.records.layout import PREDICTIONS, run_key
from octjob.records.schema import Result
from octjob.storage.base import ObjectStore

# Probes that differ in what they need of the encoder.
CONFIGS: dict[str, dict[str, Any]] = {
    "mean": {"train.epochs": 2},
    "attentive": {"train.epochs": 2, "model.pool_method": "attentive", "data.augment.flip": True},
    "logistic": {"train.optimizer": "LBFGS", "model.pool_method": "max", "data.laterality": "right"},
}


@contextmanager
def on_one_thread() -> Iterator[None]:
    """As a run's own process would compute; torch is as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(False)


def what_it_says(store: ObjectStore, result: Result) -> tuple[bytes, dict[str, Any]]:
    """Predictions, and the result but for times."""
    said = result.model_dump(exclude={"started_at", "finished_at", "duration_s"})
    return store.get(run_key(result.run_id, PREDICTIONS)), said
