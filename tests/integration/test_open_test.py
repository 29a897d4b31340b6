"""The test split: scored by `octjob open-test` alone, with the weights the run was scored with, on the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from doubles.tiny_sweep import fill_bucket, prepared, save_checkpoint, uri_of

from octjob.data.quarantine import Quarantine
from octjob.evaluate import Predictions
from octjob.results.openings import opening_key
from octjob.results.predictions import decode_predictions, read_predictions
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store
from octjob.train.inputs import load_cohort, load_encoder, make_reader
from octjob.train.job import run_job
from octjob.train.restored import predict, read_weights, restore

SPLITS = {"train": 4, "val": 3, "test": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "adamw": {
        "train.epochs": 3,
        "train.standardize": True,
        "model.head.dropout": 0.2,
        "data.val_batch_size": 5,
    },
    "mlp": {"train.epochs": 2, "model.head.hidden": 8, "train.class_weights": "auto"},
    "attentive": {"train.epochs": 2, "model.pool_method": "attentive"},
    "stopped": {
        "train.epochs": 4,
        "train.lr_head": 0.05,
        "train.early_stopping": {"enabled": True, "patience": 1, "holdout": 0.3},
    },
    "lbfgs": {"train.optimizer": "LBFGS", "train.standardize": True, "train.l2": 1.0},
    "raw": {"train.optimizer": "LBFGS", "train.l2": 1.0},
    "finetune": {"train.epochs": 2, "model.freeze_encoder": False, "train.lr_encoder": 1e-3},
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    fill_bucket(folder / "bucket", **SPLITS).write()
    save_checkpoint(folder / "a.pt")
    return folder


def finished(inputs: Path, folder: Path, config: dict[str, Any], **changes: Any) -> tuple[ObjectStore, Run]:
    """A sweep of one run, carried out; bucket and checkpoint are those of the module."""
    folder.mkdir(exist_ok=True)
    for name in ("bucket", "a.pt"):
        if not (folder / name).exists():
            (folder / name).symlink_to(inputs / name)
    store, (run,) = prepared(folder, {"c": config}, **changes)
    run_job(uri_of(run), lambda progress: None)
    return store, run


@pytest.fixture
def one(inputs: Path, tmp_path: Path) -> tuple[ObjectStore, Run]:
    return finished(inputs, tmp_path, CONFIGS["lbfgs"])


def restored(store: ObjectStore, run: Run, folder: Path) -> Predictions:
    """The run's stored weights on every volume of its own cohort, by the code that scores the test split."""
    loaded = load_encoder(run, folder, lambda done, total: None)
    cohort, apply = restore(
        run,
        loaded,
        load_cohort(run).only("val"),
        make_reader(run, loaded),
        open_store(run.cache),
        torch.device("cpu"),
        Quarantine(),
        lambda done, total: None,
    )
    return predict(run, cohort.volumes, apply, read_weights(store, run).by_unit)


def people_of_test(store: ObjectStore, run: Run, number: int = 1) -> Predictions:
    return decode_predictions(store.get(opening_key(run.run_id, number, "predictions")))


@pytest.mark.parametrize("name", CONFIGS)
def test_stored_weights_repeat_the_stored_predictions_bit_for_bit(
    inputs: Path, tmp_path: Path, name: str
) -> None:
    store, run = finished(inputs, tmp_path, CONFIGS[name], seeds=[0, 1])
    again, stored = restored(store, run, tmp_path), read_predictions(store, run.run_id)
    order = np.lexsort([again.participant, again.seed])
    there = np.lexsort([stored.participant, stored.seed])
    assert again.participant[order].tolist() == stored.participant[there].tolist()
    assert np.array_equal(again.logits_NK[order], stored.logits_NK[there])
