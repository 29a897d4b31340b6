"""How long a fine-tuning step waits for data, in the first epoch and in later ones.

    python -m benchmarks.finetune_waiting [--volumes 48] [--epochs 4] [--step 0.05]

A step of batch size 2 is a pause, as the host sees an accelerator's; and once more one that computes as long on a
core of the host, as without an accelerator. The volumes are synthetic DICOM files of 32 x 256 x 256 voxels in a
folder, prepared to 16 x 192 x 192 and augmented anew each epoch. Every epoch scores twelve others. Beside it a torch
DataLoader with as many persistent workers that decodes and augments in them, and keeps each worker's volumes in
memory after their first epoch, where that worker sees them again.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
import torch
from doubles.aireadi_bucket import Bucket, speckle
from torch.utils.data import DataLoader, Dataset

from benchmarks.figures import Figure, arguments, tell
from octjob.data.augment import augment, augment_seed
from octjob.data.cohort import Volume
from octjob.data.cores import num_cores
from octjob.data.kept import KeptVolumes
from octjob.data.manifest import read_manifest
from octjob.data.participants import Participant
from octjob.data.prepared import Preparation, prepare_volume
from octjob.data.sampling import epoch_order
from octjob.data.volumes import VolumeReader
from octjob.spec.experiment import Experiment
from octjob.storage.base import ObjectStore
from octjob.train.loop import cut
from octjob.train.source import VolumeSource

SHAPE, SIZE = (32, 256, 256), (16, 192, 192)
NUM_SCORED, BATCH = 12, 2
EXPERIMENT = Experiment.model_validate({"data": {"augment": {"flip": True, "intensity_jitter": True}}})


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--volumes", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--step", type=float, default=0.05, metavar="S")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        store, volumes = written(Path(name), args.volumes + NUM_SCORED)
        figures = _figures("steps on a chip", store, volumes, args.epochs, Pause(args.step))
        figures += _figures("steps on the host", store, volumes, args.epochs, Computation(args.step))
    notes = [
        f"{num_cores()} workers each, on {num_cores()} cores. A step takes {args.step * 1000:g} ms: a pause as on a "
        "chip, or that much processor time of one of these cores."
    ]
    tell(args, "Share of the training's time that steps wait for data", figures, notes)


class Pause:
    """What a step on a chip is to the host."""

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s

    def take(self, share: float = 1.0) -> None:
        time.sleep(share * self.step_s)


class Computation(Pause):
    """The same of a core's time, in products of matrices."""

    def take(self, share: float = 1.0) -> None:
        a_NN, end_s = torch.ones(192, 192), time.thread_time() + share * self.step_s
        while time.thread_time() < end_s:
            a_NN @ a_NN


def _figures(
    what: str, store: ObjectStore, volumes: Sequence[Volume], epochs: int, step: Pause
) -> list[Figure]:
    ours = octjob(store, volumes, epochs, step)
    peer = dataloader(store, volumes, epochs, step)
    later = "never waits after the first epoch" if type(step) is Pause else ""
    return [
        _figure(f"{what}, first epoch", ours[0], peer[0], ""),
        _figure(f"{what}, later epochs, mean", float(np.mean(ours[1:])), float(np.mean(peer[1:])), later),
        _figure(f"{what}, later epochs, worst", max(ours[1:]), max(peer[1:]), later),
    ]


def _figure(what: str, ours: float, peer: float, wanted: str) -> Figure:
    return Figure(
        what, "% of the time", 100 * ours, 100 * peer, "torch DataLoader", 0.0, "no wait", wanted=wanted
    )


def written(root: Path, number: int) -> tuple[ObjectStore, list[Volume]]:
    """A folder of volumes."""
    bucket = Bucket(root)
    sizes = dict(zip(("number_of_frames", "height", "width"), map(str, SHAPE), strict=True))
    for index in range(number):
        bucket.person(str(1000 + index))
        bucket.volume(str(1000 + index), x_DHW=speckle(SHAPE, seed=index), **sizes)
    store = bucket.write()
    records = read_manifest(store)
    return store, [Volume(r, Participant(r.participant, "UW", "healthy", 0, "train", True)) for r in records]


def octjob(store: ObjectStore, volumes: Sequence[Volume], epochs: int, step: Pause) -> list[float]:
    """The shares, the source used as the loop uses it: what comes next is asked for before an epoch's steps."""
    num_train = len(volumes) - NUM_SCORED
    scored = cut(np.arange(num_train, len(volumes)), BATCH)
    reader, kept = VolumeReader(store, "pretraining", SIZE), KeptVolumes.in_free_memory()
    with closing(VolumeSource(reader, volumes, EXPERIMENT, kept)) as source:
        inputs = source.train_batches(cut(epoch_order(num_train, 0, 0), BATCH), 0, 0)
        shares = []
        for epoch in range(epochs):
            evaluated = source.eval_batches(scored)
            following = source.train_batches(cut(epoch_order(num_train, 0, epoch + 1), BATCH), epoch + 1, 0)
            shares.append(waited(inputs, step.take))
            waited(evaluated, partial(step.take, 1 / 3))
            inputs = following
    return shares


class Volumes(Dataset[torch.Tensor]):
    """What a DataLoader needs, with the preparation's result kept where it was made."""

    def __init__(self, store: ObjectStore, volumes: Sequence[Volume]) -> None:
        self.store, self.volumes = store, volumes
        self.kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, item: tuple[int, int | None]) -> torch.Tensor:
        index, epoch = item
        record = self.volumes[index].record
        if index not in self.kept:
            data = self.store.get(record.key)
            preparation = Preparation("pretraining", SIZE)
            self.kept[index] = prepare_volume(data, record.key, record.shape, preparation).x_DHW
        x_DHW = self.kept[index]
        if epoch is not None:
            seed = augment_seed(0, epoch, record.sop_instance_uid)
            x_DHW = augment(x_DHW, EXPERIMENT.data.augment, seed)
        return torch.from_numpy(x_DHW)[None]


def dataloader(store: ObjectStore, volumes: Sequence[Volume], epochs: int, step: Pause) -> list[float]:
    """The same with torch's own: persistent workers, twice as many batches ahead as there are workers."""
    num_train = len(volumes) - NUM_SCORED
    order: list[list[tuple[int, int | None]]] = []
    loader = DataLoader(
        Volumes(store, volumes), batch_sampler=order, num_workers=num_cores(), persistent_workers=True
    )
    scored: list[list[tuple[int, int | None]]] = [
        [(int(i), None) for i in batch] for batch in cut(np.arange(num_train, len(volumes)), BATCH)
    ]
    shares = []
    for epoch in range(epochs):
        order[:] = [[(int(i), epoch) for i in b] for b in cut(epoch_order(num_train, 0, epoch), BATCH)]
        shares.append(waited(iter(loader), step.take))
        order[:] = scored
        waited(iter(loader), partial(step.take, 1 / 3))
    return shares


def waited(
    inputs: Iterator[torch.Tensor], step: Callable[[], None], clock: Callable[[], float] = time.monotonic
) -> float:
    """The share of the time until the last step ended that went by before an input was there."""
    began, waited_s = clock(), 0.0
    while True:
        asked = clock()
        if next(inputs, None) is None:
            return waited_s / (asked - began)
        waited_s += clock() - asked
        step()


if __name__ == "__main__":
    main()
