"""Outcomes whose records say what a methods section needs: spec, data, checkpoint, training, environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from doubles.sweep_results import spec_of
from octjob.leaderboard.outcome import Outcome, StoredSpec

CONFIGS: dict[str, dict[str, Any]] = {
    "logistic": {"train": {"optimizer": "LBFGS", "standardize": True, "class_weights": "auto"}},
    "class_weights": {"train": {"class_weights": "auto", "early_stopping": {"enabled": True}}},
    "finetune": {"model": {"freeze_encoder": False, "head": {"hidden": 256}}, "train": {"epochs": 8}},
}
DATA: dict[str, Any] = {
    "coverage": {
        "num_expected": 300,
        "num_found": 298,
        "cells": [
            {"site": site, "split": split, "expected": 30, "found": 30}
            for site in ("UW", "UAB", "UCSD")
            for split in ("train", "val", "test")
        ],
    },
    "participants": {"train": [60, 40, 50, 20], "val": [17, 17, 20, 11]},
    "volumes": {"train": [240, 160, 200, 80], "val": [68, 68, 80, 44]},
    "quarantine": {"num_quarantined": 1, "volumes": []},
}
GEOMETRY = {
    "volume_size": [64, 384, 384],
    "patch_size": [4, 16, 16],
    "embed_dim": 768,
    "depth": 12,
    "num_heads": 12,
}
ENVIRONMENT = {
    "octjob": "0.1.0", "revision": "0123abc", "image": "registry.example/octjob@sha256:" + "ab" * 32,
    "python": "3.11.7", "torch": "2.9.0", "numpy": "2.4.6", "scipy": "1.17.1", "device": "xla", "num_devices": 16,
}  # fmt: skip


def told(made: Outcome, output: str = "gs://bucket/octjob/demo") -> Outcome:
    """The same run with records that say everything."""
    assert made.scored is not None
    run, result = made.entry, made.scored.result
    unit = {"class_weights": [0.6, 1.1, 0.8, 3.2], "epochs_run": 20, "l2": 0.5}
    changes = {
        "data": {**DATA, **result.data},
        "checkpoint_report": {
            "uri": f"gs://bucket/{run.checkpoint}.pt",
            "sha256": "c" * 64,
            "encoder_taken": "context",
            "geometry": GEOMETRY,
            "num_parameters": 90_000_000,
            "epoch": 25,
            "fingerprint": {"verdict": "trained"},
            **result.checkpoint_report,
        },
        "training": {"selection": "last epoch", "units": [unit]},
        "environment": ENVIRONMENT,
    }
    spec = StoredSpec("5" * 64, spec_of(run, output, CONFIGS.get(run.config)))
    return replace(made, scored=replace(made.scored, result=result.model_copy(update=changes)), spec=spec)
