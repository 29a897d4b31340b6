"""The demo's three checkpoints, pretrained on the bucket's own training volumes, labels unused.

One process and one thread each: two such processes use two cores better than two threads of one, and the weights
do not depend on how many cores there are.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from octjob.data.dicom import read_volume
from octjob.data.manifest import MANIFEST_KEY, read_manifest
from octjob.data.participants import read_participants
from octjob.data.preprocess import preprocess
from octjob.data.synthesize.bucket import PARTICIPANTS_KEY
from octjob.demo.pretrain import pretrain
from octjob.demo.recipe import CheckpointRecipe, DemoRecipe
from octjob.spec.experiment import Classes
from octjob.storage.base import ObjectStore
from octjob.tick import Tick

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Seen:
    """A volume to pretrain on, whose it is and what scanned it."""

    participant: str
    device: str
    x_DHW: Float32


_POLL_S = 0.5
_steps: SynchronizedArray[int]


def pretrain_all(store: ObjectStore, recipe: DemoRecipe, directory: Path, tick: Tick) -> None:
    """Write `<directory>/<name>.pt` for every checkpoint of the recipe; those that are there are kept."""
    todo = {name: c for name, c in recipe.checkpoints.items() if not (directory / f"{name}.pt").exists()}
    if not todo:
        return
    directory.mkdir(parents=True, exist_ok=True)
    volumes = _training_volumes(store, recipe)
    total = sum(checkpoint.steps_taken for checkpoint in todo.values())
    context = multiprocessing.get_context("spawn")
    steps = context.Array("q", len(todo))
    workers = min(len(todo), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(steps,)) as pool:
        pending: set[Future[None]] = set()
        for index, (name, checkpoint) in enumerate(todo.items()):
            chosen = [one for one in volumes if one.device in checkpoint.devices]
            path = directory / f"{name}.pt"
            pending.add(pool.submit(_pretrain_one, index, chosen, recipe, checkpoint, path))
        while pending:
            finished, pending = wait(pending, timeout=_POLL_S)
            for future in finished:
                future.result()
            tick(sum(steps[:]), total)


def _start_worker(steps: SynchronizedArray[int]) -> None:
    global _steps
    _steps = steps
    torch.set_num_threads(1)


def _pretrain_one(
    index: int, seen: Sequence[Seen], recipe: DemoRecipe, checkpoint: CheckpointRecipe, path: Path
) -> None:
    def count(step: int, num_steps: int, loss: float) -> None:
        _steps[index] = step

    unfinished = path.with_suffix(".part")
    volumes_NDHW = np.stack([one.x_DHW for one in seen])
    participants = sorted({one.participant for one in seen})
    pretrain(volumes_NDHW, recipe, checkpoint, unfinished, count, participants)
    os.replace(unfinished, path)


def _training_volumes(store: ObjectStore, recipe: DemoRecipe) -> list[Seen]:
    """Those of the train split, preprocessed as in pretraining."""
    people = read_participants(store, PARTICIPANTS_KEY, Classes())
    train = {person.id for person in people if person.split == "train"}
    return [
        Seen(record.participant, record.device, _read(store, record.key, recipe))
        for record in read_manifest(store, MANIFEST_KEY)
        if record.participant in train
    ]


def _read(store: ObjectStore, key: str, recipe: DemoRecipe) -> Float32:
    raw = read_volume(store.get(key), store.uri(key))
    return preprocess(raw.x_DHW, "pretraining", recipe.encoder.volume_size)
