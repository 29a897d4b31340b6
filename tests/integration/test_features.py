"""The feature store: encoded once, shared by content, taken over from the dead, loud when damaged."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from doubles.aireadi_bucket import Bucket
from doubles.tiny_sweep import SIZE, fill_bucket, prepared, save_checkpoint, uri_of
from doubles.vjepa3d import make_original_checkpoint, rename_state

from octjob.data.cohort import Volume, find_cohort
from octjob.data.manifest import MANIFEST_KEY
from octjob.data.memory_file import MemoryFile
from octjob.data.quarantine import Quarantine
from octjob.data.volumes import VolumeReader
from octjob.errors import DataError
from octjob.features.claims import Claims
from octjob.features.encode import encode_volumes
from octjob.features.encoding import Encoding, Pooled
from octjob.features.memory import FeatureMemory
from octjob.features.store import Features, FeatureStore, Form
from octjob.features.views import views_of
from octjob.models.checkpoint import read_checkpoint
from octjob.models.choice import Backend
from octjob.run.job import run_job
from octjob.runtime.single import Single
from octjob.spec.experiment import Experiment
from octjob.storage.base import ObjectStore
from octjob.storage.file import FileStore
from octjob.storage.lease import DURATION_S, Holder, Lease
from octjob.tick import Tick

NUM_VOLUMES = 12
CPU = Single("cpu")


class Bench:
    """A bucket, a checkpoint, and how often the encoder was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bucket = fill_bucket(folder / "bucket", train=2, val=1).write()
        self.calls: list[float] = []
        self.reads: list[str] = []

    def encoding(self, checkpoint: str = "a.pt", **config: Any) -> Encoding:
        experiment = Experiment.model_validate(config)
        path, choice = self.folder / checkpoint, experiment.model.encoder
        loaded = read_checkpoint(path, encoder=choice, uri=str(path), num_heads=2)
        return Encoding(loaded, experiment, CPU)

    def volumes(self) -> tuple[Volume, ...]:
        return find_cohort(self.bucket, "participants.tsv", MANIFEST_KEY, Experiment()).volumes

    def encode(
        self,
        encoding: Encoding,
        cache: ObjectStore,
        owner: str = "run-1",
        **options: Any,
    ) -> Features:
        """Of the volumes as they are."""
        return self.views(encoding, cache, owner, augmented=(), **options)[0]

    def views(
        self, encoding: Encoding, cache: ObjectStore, owner: str = "run-1", **options: Any
    ) -> list[Features]:
        """Of all views; every volume is augmented."""
        size = encoding.loaded.encoder.geometry.volume_size
        bench = self

        class Reader(VolumeReader):
            def _made(self, volume: Volume, file: MemoryFile) -> Any:
                bench.reads.append(volume.record.sop_instance_uid)
                return super()._made(volume, file)

        reader = Reader(self.bucket, encoding.experiment.data.profile, size)
        volumes = options.pop("volumes", self.volumes())
        augmented = options.pop("augmented", {v.record.sop_instance_uid for v in volumes})
        tick = options.pop("tick", lambda done, total: None)
        return encode_volumes(
            encoding, cache, reader, volumes, augmented, Quarantine(), owner, tick, **options
        )


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)
    save_checkpoint(tmp_path / "a.pt")
    real = Encoding.encode

    def counted(self: Encoding, volumes: Sequence[np.ndarray], poolings: Sequence[str]) -> list[Pooled]:
        made.calls += [float(x_DHW[0, 0, 0]) for x_DHW in volumes]
        return real(self, volumes, poolings)

    monkeypatch.setattr(Encoding, "encode", counted)
    return made


def assert_equal(found: Features, expected: Features) -> None:
    assert found.keys() == expected.keys()
    for uid, x in expected.items():
        np.testing.assert_array_equal(found[uid], x)


def test_a_second_run_reads_what_the_first_encoded(bench: Bench, any_store: ObjectStore) -> None:
    first = bench.encode(bench.encoding(), any_store)
    assert len(bench.calls) == len(first) == NUM_VOLUMES
    second = bench.encode(bench.encoding(), any_store, owner="run-2")
    assert len(bench.calls) == NUM_VOLUMES
    assert_equal(second, first)
    assert all(x.shape == (2, SIZE["embed_dim"]) and x.dtype == np.float32 for x in first.values())


def test_further_volumes_are_added_to_those_there(bench: Bench, file_store: ObjectStore) -> None:
    part = bench.encode(bench.encoding(), file_store, volumes=bench.volumes()[:5])
    whole = bench.encode(bench.encoding(), file_store)
    assert len(bench.calls) == NUM_VOLUMES
    assert_equal({uid: whole[uid] for uid in part}, part)


def test_the_same_weights_under_another_name_and_prefix_are_the_same_features(
    bench: Bench, file_store: ObjectStore
) -> None:
    _, payload = make_original_checkpoint(num_steps=2, **SIZE)
    torch.save(rename_state(payload, lambda key: f"module.{key}"), bench.folder / "renamed.pt")
    first = bench.encode(bench.encoding(), file_store)
    again = bench.encode(bench.encoding("renamed.pt"), file_store)
    assert len(bench.calls) == NUM_VOLUMES
    assert_equal(again, first)


def folders(encoding: Encoding) -> list[str]:
    """Where a run looks for its features, view by view."""
    pooling, store = encoding.pooling_of(encoding.experiment), FileStore("file:///nowhere")
    views = views_of(encoding.experiment.data.augment)
    return [FeatureStore(store, encoding.key, Form(view.name, pooling)).uri for view in views]


def test_whatever_changes_a_feature_changes_its_address(bench: Bench) -> None:
    save_checkpoint(bench.folder / "b.pt", seed=7)
    heads = read_checkpoint(bench.folder / "a.pt", encoder="auto", uri="a", num_heads=4)
    addresses = [
        folders(bench.encoding()),
        folders(bench.encoding("b.pt")),
        folders(bench.encoding(data={"profile": "seed_finetune"})),
        folders(bench.encoding(model={"pool_method": "attentive"})),
        folders(bench.encoding(train={"precision": "bf16"})),
        folders(bench.encoding(model={"encoder": "target"})),
        folders(bench.encoding(data={"augment": {"flip": True, "views": 3}}))[1:],
        folders(bench.encoding(data={"augment": {"rotation": True}}))[1:],
        folders(bench.encoding(data={"augment": {"rotation": True, "flip": True}}))[1:],
        folders(Encoding(heads, Experiment(), CPU)),
    ]
    every = [address for some in addresses for address in some]
    assert len(set(every)) == len(every) == 11


class Elsewhere(Single):
    """The CPU under the name of another compiler."""

    def __init__(self, backend: Backend) -> None:
        super().__init__("cpu")
        self.backend = backend


def test_runs_on_another_compiler_do_not_share_features(bench: Bench, file_store: ObjectStore) -> None:
    """XLA, for a TPU or not, rounds otherwise than torch's own kernels."""
    plain = bench.encoding()
    backends: tuple[Backend, ...] = ("torch", "xla", "tpu")
    for backend in backends:
        encoding = Encoding(plain.loaded, plain.experiment, Elsewhere(backend))
        bench.encode(encoding, file_store, owner=backend)
    assert len(bench.calls) == 3 * NUM_VOLUMES


def test_what_does_not_change_a_feature_does_not_change_its_address(bench: Bench) -> None:
    (plain,) = folders(bench.encoding())
    other = {"epochs": 3, "lr_head": 0.5, "class_weights": "auto"}
    assert folders(bench.encoding(train=other, seed=7)) == [plain]
    assert folders(bench.encoding(model={"pool_method": "max"})) == [plain]
    rotated = bench.encoding(data={"augment": {"rotation": True, "views": 5}, "batch_size": 2})
    assert folders(rotated)[0] == plain
    assert len(set(folders(rotated))) == 5
    # The first augmented view is the same, however many others there are.
    assert folders(bench.encoding(data={"augment": {"rotation": True}})) == folders(rotated)[:2]


def test_a_feature_does_not_depend_on_the_other_volumes(bench: Bench, tmp_path: Path) -> None:
    together = bench.encode(bench.encoding(), FileStore(f"file://{tmp_path}/one"))
    (last,) = bench.volumes()[-1:]
    alone = bench.encode(bench.encoding(), FileStore(f"file://{tmp_path}/two"), volumes=[last])
    assert_equal(alone, {last.record.sop_instance_uid: together[last.record.sop_instance_uid]})


def test_two_runs_at_once_encode_each_volume_once_and_both_do_a_share(
    bench: Bench, file_store: ObjectStore
) -> None:
    """The second begins while the first is at its first round, which is over only once the second is at its own."""
    both = threading.Barrier(2, timeout=60)
    met: set[str] = set()

    def tick_of(owner: str) -> Tick:
        def tick(done: int, total: int) -> None:
            if done and owner not in met:
                met.add(owner)
                both.wait()

        return tick

    encoding = bench.encoding()

    def encode(owner: str) -> Features:
        return bench.encode(encoding, file_store, owner=owner, tick=tick_of(owner))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(encode, ["run-1", "run-2"])
    assert_equal(first, second)
    assert len(bench.calls) == len(set(bench.calls)) == NUM_VOLUMES


class Stopped(Exception):
    """Stands for a signal."""


def test_a_stop_while_encoding_keeps_what_is_done_and_frees_the_rest(
    bench: Bench, file_store: ObjectStore
) -> None:
    def tick(done: int, total: int) -> None:
        if done == 5:
            raise Stopped

    with pytest.raises(Stopped):
        bench.encode(bench.encoding(), file_store, tick=tick)
    assert len(bench.calls) == 5
    uids = [volume.record.sop_instance_uid for volume in bench.volumes()]
    with Claims(file_store, bench.encoding().key.claims_prefix, "x") as claims:
        assert sorted(claims.take(uids, NUM_VOLUMES)) == sorted(uids)
    bench.encode(bench.encoding(), file_store, owner="x")
    assert len(bench.calls) == NUM_VOLUMES


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_is_held_renewed_released_and_runs_out(any_store: ObjectStore) -> None:
    clock = Clock()
    first, second = (Lease(any_store, "lease.json", Holder(name), monotonic=clock) for name in ("one", "two"))
    assert first.acquire()
    assert not second.acquire()
    clock.now += 0.5 * DURATION_S
    first.renew()
    clock.now += 0.75 * DURATION_S
    assert not second.acquire()
    first.release()
    assert second.acquire()
    assert not first.acquire()
    clock.now += 1.01 * DURATION_S
    assert first.acquire()
    # The one that was overtaken must not free what is no longer its own.
    second.renew()
    second.release()
    assert json.loads(any_store.get("lease.json"))["owner"] == "one"
    assert not second.acquire()


def test_a_run_started_again_does_not_wait_for_its_dead_attempt(file_store: ObjectStore) -> None:
    first, other, again = (Lease(file_store, "lease.json", Holder(f"run-{i}")) for i in (1, 2, 1))
    assert first.acquire()
    assert not other.acquire()
    assert again.acquire()


def leave_a_dead_workers_lease(store: ObjectStore) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(not Lease(store, "lease.json", Holder("dead")).acquire())
    assert os.waitpid(pid, 0) == (pid, 0)


def test_exactly_one_of_many_takes_over_a_dead_workers_lease_at_once(file_store: ObjectStore) -> None:
    leave_a_dead_workers_lease(file_store)
    workers = [Lease(file_store, "lease.json", Holder(f"run-{i}")) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda lease: lease.acquire(), workers))
    assert sum(taken) == 1


@pytest.mark.parametrize(
    "damage", [lambda d: d[: len(d) // 2], lambda d: b"not a shard", lambda d: d[:-1] + bytes([d[-1] ^ 1])]
)
def test_a_damaged_shard_is_made_again_and_said_to_be_damaged_once(
    bench: Bench, file_store: ObjectStore, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    first = bench.encode(bench.encoding(), file_store)
    shards = [info.key for info in file_store.list() if info.key.endswith(".sealed")]
    for shard in shards:
        file_store.put(shard, damage(file_store.get(shard)))
    assert_equal(bench.encode(bench.encoding(), file_store, owner="another"), first)
    assert len(bench.calls) == 2 * NUM_VOLUMES
    assert caplog.text.count("is damaged") == len(shards)
    # Whatever shards they were divided into.
    assert_equal(bench.encode(bench.encoding(), file_store), first)
    assert len(bench.calls) == 2 * NUM_VOLUMES
    assert caplog.text.count("is damaged") == len(shards)


@pytest.mark.parametrize("body", [b"junk", b"[]", b'{"owner": 1}', b""])
def test_a_junk_lease_is_taken_over(file_store: ObjectStore, body: bytes) -> None:
    file_store.put("lease.json", body)
    assert Lease(file_store, "lease.json", Holder("one")).acquire()


def test_a_dead_lease_of_another_machine_holds_up_for_one_duration(file_store: ObjectStore) -> None:
    leave_a_dead_workers_lease(file_store)
    record = json.loads(file_store.get("lease.json"))
    file_store.put("lease.json", json.dumps(record | {"machine": "another"}).encode())
    monotonic = Clock()
    lease = Lease(file_store, "lease.json", Holder("one"), monotonic=monotonic)
    assert not lease.acquire()
    monotonic.now += 0.99 * DURATION_S
    assert not lease.acquire()
    monotonic.now += 0.02 * DURATION_S
    assert lease.acquire()


FLIP = {"augment": {"flip": True, "views": 3}}
JITTER = {"augment": {"intensity_jitter": True}}
CONFIGS: dict[str, dict[str, Any]] = {
    "mean": {},
    "max": {"model": {"pool_method": "max"}},
    "attentive": {"model": {"pool_method": "attentive"}, "data": FLIP},
    "flip": {"data": FLIP},
    "jitter": {"data": JITTER},
}
# The volume itself, two flips and one jitter.
NUM_VIEWS = 4


@pytest.fixture
def apart(bench: Bench, tmp_path: Path) -> dict[str, list[Features]]:
    """What each config gets in a cache of its own, that is by an encoding of its own."""
    found = {
        name: bench.views(bench.encoding(**config), FileStore(f"file://{tmp_path}/{name}"))
        for name, config in CONFIGS.items()
    }
    bench.calls.clear()
    bench.reads.clear()
    return found


def assert_all_equal(found: list[Features], expected: list[Features]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert_equal(ours, theirs)


@pytest.mark.parametrize("first", CONFIGS)
def test_one_pass_makes_what_the_whole_sweep_wants(
    bench: Bench, file_store: ObjectStore, apart: dict[str, list[Features]], first: str
) -> None:
    """Whichever run comes first reads each volume once; the others find every bit of what they would have made."""
    encodings = {name: bench.encoding(**config) for name, config in CONFIGS.items()}

    def found_by(name: str) -> list[Features]:
        others = [other.experiment for key, other in encodings.items() if key != name]
        return bench.views(encodings[name], file_store, owner=name, others=lambda: others)

    for name in sorted(CONFIGS, key=lambda name: name != first):
        assert_all_equal(found_by(name), apart[name])
        assert len(bench.calls) == NUM_VIEWS * NUM_VOLUMES
        assert len(bench.reads) == NUM_VOLUMES


def test_a_run_that_came_later_adds_only_what_is_lacking(
    bench: Bench, file_store: ObjectStore, apart: dict[str, list[Features]]
) -> None:
    """What nobody wanted was not made, and what is there is not made again."""
    assert_all_equal(bench.views(bench.encoding(), file_store), apart["mean"])
    assert len(bench.calls) == NUM_VOLUMES
    before = {info.key: info.version for info in file_store.list("features/") if "/claims/" not in info.key}
    assert not any("grid" in key for key in before)
    assert_all_equal(bench.views(bench.encoding(**CONFIGS["flip"]), file_store), apart["flip"])
    assert len(bench.calls) == 3 * NUM_VOLUMES
    # All three views are there, but not their token grids.
    assert_all_equal(bench.views(bench.encoding(**CONFIGS["attentive"]), file_store), apart["attentive"])
    assert len(bench.calls) == 6 * NUM_VOLUMES
    after = {info.key: info.version for info in file_store.list("features/") if "/claims/" not in info.key}
    assert before.items() <= after.items()
    written = [key.split("/")[2:4] for key in after]
    assert {view for view, pooling in written if pooling == "mean-max"} == {"identity", "flip-1", "flip-2"}
    assert_all_equal(bench.views(bench.encoding(**CONFIGS["max"]), file_store), apart["max"])
    assert len(bench.calls) == 6 * NUM_VOLUMES


def test_the_next_run_of_the_process_reads_nothing(bench: Bench, file_store: ObjectStore) -> None:
    memory = FeatureMemory()
    first = bench.views(bench.encoding(**CONFIGS["flip"]), file_store, memory=memory)
    for info in list(file_store.list("features/")):
        file_store.delete(info.key)
    assert_all_equal(bench.views(bench.encoding(**CONFIGS["flip"]), file_store, memory=memory), first)
    # One that needs less, and one that needs more: only the difference is made.
    assert_all_equal(bench.views(bench.encoding(), file_store, memory=memory), first[:1])
    assert len(bench.calls) == 3 * NUM_VOLUMES
    bench.views(bench.encoding(**CONFIGS["jitter"]), file_store, memory=memory)
    assert len(bench.calls) == 4 * NUM_VOLUMES


def test_volumes_that_are_all_unreadable_are_an_error_of_the_data(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path / "bucket")
    for number in range(16):
        bucket.person(str(1000 + number), label=number % 4, split="train" if number < 8 else "val")
        bucket.volume(str(1000 + number), x_DHW=np.full((8, 12, 10), 7, "u1"))
    bucket.write()
    _, runs = prepared(tmp_path, {"logistic": {"train.optimizer": "LBFGS"}})
    with pytest.raises(DataError, match=r"16 of 16 volumes cannot be read, more than data\.max_corrupt"):
        run_job(uri_of(runs[0]), lambda progress: None)
