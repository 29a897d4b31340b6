"""The clouds of `sweeps/phase3.yaml`, doubled on loopback: its bucket in GCS, the data set in B2, all of it small."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from doubles.b2_server import B2Server
from doubles.gcs import GcsServer
from doubles.vjepa3d import save_original_checkpoint

from octjob.data.synthesize import SynthesisRecipe, synthesize
from octjob.share import shared_file
from octjob.storage.open import forget_stores, open_store
from tests.cluster.tryout import ENCODER

DATA = "b2://eye-dataset/ai-readi/dataset"
RECIPE = SynthesisRecipe(
    seed=7, participants={"train": 64, "val": 24, "test": 4}, devices_per_participant=1, eyes="one"
)
# What time forbids on two cores, and the size of the small encoders; nothing else of the shipped sweep changes.
SMALLER: dict[str, Any] = {
    "model.emb_dim": None,
    "data.augment.resize": None,
    "data.batch_size": 8,
    "data.val_batch_size": 8,
    "data.num_workers": 0,
}
EPOCHS = {"train.epochs": 4}
WITHOUT_EPOCHS = ("logistic",)


@dataclass(frozen=True)
class Clouds:
    """Running doubles and what leads there."""

    gcs: GcsServer
    b2: B2Server

    @property
    def env(self) -> dict[str, str]:
        """Plain variables of the pods: addresses, no credentials."""
        return {**self.gcs.env, "B2_ENVIRONMENT": self.b2.env["B2_ENVIRONMENT"], "WANDB_MODE": "offline"}

    def secrets(self, canary: str) -> dict[str, dict[str, str]]:
        """Secrets as the sweep wants them, name to keys; the canary is a value no one may ever see."""
        keys = {key: self.b2.env[key] for key in ("B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY")}
        return {"octjob-b2": keys, "octjob-wandb": {"WANDB_API_KEY": canary}}


@contextmanager
def phase3_clouds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clouds]:
    """Buckets, data set and checkpoints where `sweeps/phase3.yaml` says they are; this process sees them too."""
    sweep = yaml.safe_load(shared_file("sweeps/phase3.yaml").read_text())
    with GcsServer() as gcs, B2Server() as b2:
        for name, value in {**gcs.env, **b2.env}.items():
            monkeypatch.setenv(name, value)
        forget_stores()
        gcs.create_bucket(sweep["output"].split("/")[2])
        b2.create_bucket("eye-dataset")
        synthesize(open_store(DATA), RECIPE)
        for seed, uri in enumerate(sweep["checkpoints"].values()):
            path = folder / f"{seed}.pt"
            save_original_checkpoint(path, seed=seed, num_steps=2, **ENCODER)
            parent, _, name = uri.rpartition("/")
            open_store(parent).put(name, path.read_bytes())
        yield Clouds(gcs, b2)
    forget_stores()


def phase3_sweep(folder: Path, clouds: Clouds, **compute: Any) -> Path:
    """`sweeps/phase3.yaml` with all its pairs, made small, written to `folder`."""
    source = shared_file("sweeps/phase3.yaml")
    sweep = yaml.safe_load(source.read_text())
    for name, file in sweep["configs"].items():
        overrides = SMALLER if name in WITHOUT_EPOCHS else {**SMALLER, **EPOCHS}
        sweep["configs"][name] = {"file": str((source.parent / file).resolve()), "overrides": overrides}
    image = {"image": f"octjob@sha256:{'0' * 64}"}
    sweep["compute"] = {**sweep["compute"], **image, "env": clouds.env, **compute}
    path = folder / "phase3.yaml"
    path.write_text(yaml.safe_dump(sweep, sort_keys=False))
    return path


def secret_document(name: str, keys: dict[str, str]) -> dict[str, Any]:
    """A Secret, as `kubectl create secret generic` makes it."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in keys.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
