"""A small sweep to play with, made in seconds: data, two checkpoints and a sweep file that names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from octjob.data.synthesize import SynthesisRecipe, synthesize
from octjob.storage.open import open_store

SWEEP = "tryout.yaml"
RECIPE = SynthesisRecipe(
    seed=11, participants={"train": 64, "val": 32, "test": 4}, devices_per_participant=1, eyes="one"
)
ENCODER: dict[str, Any] = {
    "volume_size": (8, 32, 32),
    "patch_size": (4, 8, 8),
    "embed_dim": 64,
    "depth": 2,
    "num_heads": 1,
}
CONFIG = {"train.optimizer": "LBFGS", "train.l2": 1.0, "train.standardize": True}


def write_tryout(folder: Path, image: str = f"octjob@sha256:{'0' * 64}") -> Path:
    """Fill the empty or missing `folder`; returns the sweep file. What is there already is left as it is.

    image: nothing pulls it here; it is named because every cluster wants one.
    """
    import torch

    from tests.doubles.vjepa3d import save_original_checkpoint

    torch.set_num_threads(1)
    path = folder / SWEEP
    if path.exists():
        return path
    synthesize(open_store(str(folder / "bucket")), RECIPE)
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(("first", "second")):
        save_original_checkpoint(checkpoints / f"{name}.pt", seed=seed, num_steps=2, **ENCODER)
    path.write_text(yaml.safe_dump(_sweep(folder.absolute(), image), sort_keys=False))
    return path


def _sweep(folder: Path, image: str) -> dict[str, Any]:
    return {
        "name": "tryout",
        "output": f"{folder}/results",
        "checkpoints": {name: f"{folder}/checkpoints/{name}.pt" for name in ("first", "second")},
        "configs": {
            "logistic": {"overrides": CONFIG},
            "balanced": {"overrides": {**CONFIG, "train.class_weights": "auto"}},
        },
        "data": {"source": f"{folder}/bucket"},
        "compute": {
            "target": "kubernetes",
            "accelerator": "v4-32",
            "image": image,
            "namespace": "demo",
            "queue": "tpu",
            "service_account": "octjob-run",
            "max_restarts": 1,
        },
    }
