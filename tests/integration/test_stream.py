"""Volumes read ahead, and batches of them over the epochs of a fine-tuning."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from octjob.data import downloads, stream
from octjob.data.augment import augment, augment_seed
from octjob.data.cohort import Volume
from octjob.data.kept import KeptVolumes
from octjob.data.manifest import MANIFEST_KEY, read_manifest
from octjob.data.participants import Participant
from octjob.data.preprocess import preprocess
from octjob.data.quarantine import Quarantine
from octjob.data.stream import Breadth, VolumeStream, load_volumes
from octjob.data.volumes import VolumeReader
from octjob.spec.experiment import Experiment
from octjob.storage.base import ObjectStore, Write
from octjob.train.ahead import FIRST_BATCHES
from octjob.train.loop import cut
from octjob.train.source import VolumeSource
from tests.doubles.aireadi_bucket import Bucket, speckle

SIZE = (4, 6, 5)
NUM = 6
AUGMENT = {"flip": True, "intensity_jitter": True}


class Watched:
    """A store that counts the files that are fetched, and may hold them up."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.keys: list[str] = []
        self.go = threading.Event()
        self.go.set()

    def copy_range(self, key: str, start: int, length: int, write: Write) -> None:
        if start == 0:
            self.keys.append(key)
        self.go.wait()
        self._store.copy_range(key, start, length, write)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    bucket = Bucket(tmp_path / "bucket")
    for i in range(NUM):
        bucket.person(str(1000 + i))
        bucket.volume(str(1000 + i), x_DHW=speckle(seed=i))
    return Watched(bucket.write())


def volumes_of(store: ObjectStore) -> list[Volume]:
    return [
        Volume(record, Participant(record.participant, "UW", "healthy", 0, "train", True))
        for record in read_manifest(store, MANIFEST_KEY)
    ]


def expected(i: int) -> np.ndarray:
    return preprocess(speckle(seed=i), "pretraining", SIZE)


def test_many_small_ranges_and_little_room_change_nothing(
    store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "RANGE_BYTES", 300)
    monkeypatch.setattr(stream, "MOST_BYTES", 1500)
    reader = VolumeReader(store, "pretraining", SIZE)
    loaded = load_volumes(reader, volumes_of(store), Breadth(5, 2), Quarantine())
    for number, (_, x_DHW) in enumerate(loaded):
        np.testing.assert_array_equal(x_DHW, expected(number))
    assert number == NUM - 1


def test_a_consumer_that_goes_away_waits_for_nothing(store: Watched) -> None:
    reader = VolumeReader(store, "pretraining", SIZE)
    stream_ = VolumeStream(reader, Breadth(2, 1))
    store.go.clear()  # the network is lost
    arriving = [stream_.ask(volume) for volume in volumes_of(store)]
    stream_.close()
    store.go.set()
    for x_DHW in arriving:
        assert x_DHW.exception(30) is not None


def test_volumes_are_kept_while_there_is_room() -> None:
    x_DHW = np.ones((2, 3, 4), np.float32)
    kept = KeptVolumes(2 * x_DHW.nbytes)
    for number in (0, 1, 1, 2):
        np.testing.assert_array_equal(kept.keep(f"1.{number}", x_DHW + number), x_DHW + number)
    assert [kept.get(f"1.{number}") is not None for number in range(4)] == [True, True, False, False]
    np.testing.assert_array_equal(kept.get("1.1"), x_DHW + 1)


@pytest.fixture(params=[0, 10**9])
def source(store: Watched, request: pytest.FixtureRequest) -> Iterator[VolumeSource]:
    """One with no room to keep volumes, and one with enough."""
    experiment = Experiment.model_validate({"data": {"augment": AUGMENT, "num_workers": 2}})
    reader, kept = VolumeReader(store, "pretraining", SIZE), KeptVolumes(request.param)
    source = VolumeSource(reader, volumes_of(store), experiment, kept)
    yield source
    source.close()


def _uid(source: VolumeSource) -> str:
    return source.volumes[0].record.sop_instance_uid


def plain_batch(source: VolumeSource, batch: np.ndarray, epoch: int | None, seed: int) -> torch.Tensor:
    """The slow computation."""
    config, made = source.experiment.data.augment, []
    for i in batch:
        uid = source.volumes[i].record.sop_instance_uid
        x_DHW = expected(int(i))
        made.append(x_DHW if epoch is None else augment(x_DHW, config, augment_seed(seed, epoch, uid)))
    return torch.from_numpy(np.stack(made))[:, None]


def test_batches_are_a_function_of_seed_epoch_and_positions(source: VolumeSource, store: Watched) -> None:
    rng = np.random.default_rng(0)
    for epoch in range(3):
        batches = cut(rng.permutation(NUM), 4)
        batches[-1] = np.concatenate([batches[-1], batches[-1][:1]])  # padded
        found = list(source.train_batches(batches, epoch, 7))
        scored = source.eval_batches(cut(np.arange(NUM), 4))  # both at a time, as the loop has them
        other = source.train_batches(batches, epoch, 8)
        for x_BCDHW, batch in zip(found, batches, strict=True):
            assert torch.equal(x_BCDHW, plain_batch(source, batch, epoch, 7))
        for x_BCDHW, batch in zip(scored, cut(np.arange(NUM), 4), strict=True):
            assert torch.equal(x_BCDHW, plain_batch(source, batch, None, 0))
        for x_BCDHW, batch in zip(other, batches, strict=True):
            assert torch.equal(x_BCDHW, plain_batch(source, batch, epoch, 8))
    # What is kept is fetched once; asked for twice before it is there, twice.
    fetched = len(store.keys)
    assert fetched <= 3 * NUM if source.kept.get(_uid(source)) is not None else fetched > 5 * NUM


def test_reading_begins_before_the_first_batch_is_taken(source: VolumeSource, store: Watched) -> None:
    inputs = source.train_batches(cut(np.arange(NUM), 1), 0, 0)
    while len(store.keys) < FIRST_BATCHES:
        pass
    assert len(list(inputs)) == NUM
    source.close()
    assert len(list(source.train_batches(cut(np.arange(NUM), 2), 0, 0))) == NUM // 2
