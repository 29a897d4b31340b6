"""The demo's three checkpoints, pretrained on the bucket's own training volumes, labels unused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from octjob.data.dicom import read_volume
from octjob.data.manifest import MANIFEST_KEY, read_manifest
from octjob.data.participants import read_participants
from octjob.data.preprocess import preprocess
from octjob.data.synthesize.bucket import PARTICIPANTS_KEY
from octjob.demo.pretrain import pretrain
from octjob.demo.recipe import DemoRecipe
from octjob.spec.experiment import Classes
from octjob.storage.base import ObjectStore

Tick = Callable[[int, int], None]
Float32 = npt.NDArray[np.float32]


def pretrain_all(store: ObjectStore, recipe: DemoRecipe, directory: Path, tick: Tick) -> None:
    """Write `<directory>/<name>.pt` for every checkpoint of the recipe; those that are there are kept."""
    todo = {name: c for name, c in recipe.checkpoints.items() if not (directory / f"{name}.pt").exists()}
    if not todo:
        return
    directory.mkdir(parents=True, exist_ok=True)
    volumes = _training_volumes(store, recipe)
    total, done = sum(checkpoint.steps_taken for checkpoint in todo.values()), 0
    for name, checkpoint in todo.items():
        seen = np.stack([x_DHW for device, x_DHW in volumes if device in checkpoint.devices])
        unfinished = directory / f"{name}.pt.part"
        pretrain(seen, recipe, checkpoint, unfinished, _shifted(tick, done, total))
        os.replace(unfinished, directory / f"{name}.pt")
        done += checkpoint.steps_taken


def _shifted(tick: Tick, done: int, total: int) -> Callable[[int, int, float], None]:
    return lambda step, steps, loss: tick(done + step, total)


def _training_volumes(store: ObjectStore, recipe: DemoRecipe) -> list[tuple[str, Float32]]:
    """(device, x_DHW) of the train split, preprocessed as in pretraining."""
    people = read_participants(store, PARTICIPANTS_KEY, Classes())
    train = {person.id for person in people if person.split == "train"}
    return [
        (record.device, _read(store, record.key, recipe))
        for record in read_manifest(store, MANIFEST_KEY)
        if record.participant in train
    ]


def _read(store: ObjectStore, key: str, recipe: DemoRecipe) -> Float32:
    raw = read_volume(store.get(key), store.uri(key))
    return preprocess(raw.x_DHW, "pretraining", recipe.encoder.volume_size)
