"""A whole sweep that runs in about a second: a small AI-READI bucket, tiny checkpoints, a sweep file.

The classes differ in the brightness of the upper rows, so that a probe can learn them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from doubles.aireadi_bucket import Bucket, speckle
from doubles.vjepa3d import save_original_checkpoint
from octjob.spec.expand import Plan, plan_sweep
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store
from octjob.targets.submit import write_plan

SITES = ("UW", "UCSD", "UAB")
SIZE: dict[str, Any] = {
    "volume_size": (8, 16, 16),
    "patch_size": (4, 8, 8),
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
}


def fill_bucket(root: Path, **per_class: int) -> Bucket:
    """Add `train=8, val=4, ...` participants of each class with one volume each; `write` is left to the caller."""
    bucket = Bucket(root)
    for split, count in (per_class or {"train": 5, "val": 3}).items():
        for label in range(4):
            for _ in range(count):
                number = len(bucket.people)
                identity = str(1000 + number)
                bucket.person(identity, label=label, split=split, site=SITES[number % 3])
                x_DHW = (speckle(seed=number) // 4).astype("u1")
                x_DHW[:, : 2 * label + 2] += 60
                bucket.volume(identity, x_DHW=x_DHW)
    return bucket


def save_checkpoint(path: Path, seed: int = 1337, **changes: Any) -> None:
    """A trained checkpoint in the original pretraining's format."""
    torch.set_num_threads(1)
    save_original_checkpoint(path, seed=seed, num_steps=2, **{**SIZE, **changes})


def sweep_file(folder: Path, configs: dict[str, dict[str, Any]], **changes: Any) -> Path:
    """Write `folder/sweep.yaml`: checkpoint `a.pt`, data `bucket`, results in `out`, all of them in `folder`.

    configs: name to overrides. One seed, for time; a change to None leaves a key out.
    """
    content: dict[str, Any] = {
        "name": "tiny",
        "output": f"{folder}/out",
        "checkpoints": {"a": {"uri": f"{folder}/a.pt", "num_heads": 2}},
        "configs": {name: {"overrides": overrides} for name, overrides in configs.items()},
        "data": {"source": f"{folder}/bucket"},
        "seeds": [42],
        **changes,
    }
    path = folder / "sweep.yaml"
    given = {key: value for key, value in content.items() if value is not None}
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    return path


def submitted(path: Path) -> tuple[ObjectStore, Plan]:
    """Plan a sweep file and store the plan, as `octjob submit` does before it starts anything."""
    plan = plan_sweep(path)
    store = open_store(plan.output)
    write_plan(plan, store, update=False)
    return store, plan


def uri_of(run: Run) -> str:
    """What `octjob train --run` wants."""
    return f"{run.output}/runs/{run.run_id}"


def prepared(
    folder: Path, configs: dict[str, dict[str, Any]], **changes: Any
) -> tuple[ObjectStore, tuple[Run, ...]]:
    """Bucket, checkpoint and a submitted sweep in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "bucket").exists():
        fill_bucket(folder / "bucket").write()
    if not (folder / "a.pt").exists():
        save_checkpoint(folder / "a.pt")
    store, plan = submitted(sweep_file(folder, configs, **changes))
    return store, plan.runs
