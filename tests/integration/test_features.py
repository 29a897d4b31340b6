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
from doubles.tiny_sweep import SIZE, fill_bucket, save_checkpoint
from doubles.vjepa3d import make_original_checkpoint, rename_state

from octjob.data.augment import IDENTITY
from octjob.data.cohort import Volume, find_cohort
from octjob.data.manifest import MANIFEST_KEY
from octjob.data.quarantine import Quarantine
from octjob.data.volumes import VolumeReader
from octjob.features.claims import Claims
from octjob.features.encode import Encoding, encode_volumes
from octjob.features.lease import DURATION_S, Holder, Lease
from octjob.features.store import Features, FeatureStore
from octjob.models.checkpoint import read_checkpoint
from octjob.models.choice import Backend
from octjob.runtime.single import Single
from octjob.spec.experiment import Experiment
from octjob.storage.base import ObjectStore
from octjob.storage.file import FileStore
from octjob.tick import Tick

NUM_VOLUMES = 12
CPU = Single("cpu")


class Bench:
    """A bucket, a checkpoint, and how often the encoder was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bucket = fill_bucket(folder / "bucket", train=2, val=1).write()
        self.calls: list[float] = []

    def encoding(self, checkpoint: str = "a.pt", **config: Any) -> Encoding:
        experiment = Experiment.model_validate({"data": {"augment": {"flip": True}}, **config})
        path, choice = self.folder / checkpoint, experiment.model.encoder
        loaded = read_checkpoint(path, encoder=choice, uri=str(path), num_heads=2)
        return Encoding(loaded, experiment, CPU)

    def volumes(self) -> tuple[Volume, ...]:
        return find_cohort(self.bucket, "participants.tsv", MANIFEST_KEY, Experiment()).volumes

    def encode(
        self,
        encoding: Encoding,
        cache: ObjectStore,
        view: int = IDENTITY,
        owner: str = "run-1",
        **options: Any,
    ) -> Features:
        size = encoding.loaded.encoder.geometry.volume_size
        reader = VolumeReader(self.bucket, encoding.experiment.data.profile, size)
        volumes = options.get("volumes") or self.volumes()
        tick = options.get("tick") or (lambda done, total: None)
        return encode_volumes(encoding, cache, reader, volumes, view, Quarantine(), owner, tick)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)
    save_checkpoint(tmp_path / "a.pt")
    real = Encoding.encode

    def counted(self: Encoding, volumes: Sequence[np.ndarray]) -> list[np.ndarray]:
        made.calls += [float(x_DHW[0, 0, 0]) for x_DHW in volumes]
        return real(self, volumes)

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
    assert all(x.shape == (SIZE["embed_dim"],) and x.dtype == np.float32 for x in first.values())


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


def test_whatever_changes_a_feature_changes_its_address(bench: Bench) -> None:
    save_checkpoint(bench.folder / "b.pt", seed=7)
    flip = {"augment": {"flip": True}}
    digests = [
        bench.encoding().key(IDENTITY).digest,
        bench.encoding("b.pt").key(IDENTITY).digest,
        bench.encoding(data={**flip, "profile": "seed_finetune"}).key(IDENTITY).digest,
        bench.encoding(model={"pool_method": "max"}).key(IDENTITY).digest,
        bench.encoding(model={"pool_method": "attentive"}).key(IDENTITY).digest,
        bench.encoding(train={"precision": "bf16"}).key(IDENTITY).digest,
        bench.encoding(model={"encoder": "target"}).key(IDENTITY).digest,
        bench.encoding().key(1).digest,
        bench.encoding().key(2).digest,
        bench.encoding(data={"augment": {"rotation": True}}).key(1).digest,
    ]
    assert len(set(digests)) == len(digests)
    heads = read_checkpoint(bench.folder / "a.pt", encoder="auto", uri="a", num_heads=4)
    assert Encoding(heads, Experiment(), CPU).key(IDENTITY).digest not in digests


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
    plain = bench.encoding().key(IDENTITY)
    other = {"epochs": 3, "lr_head": 0.5, "class_weights": "auto"}
    assert bench.encoding(train=other, seed=7).key(IDENTITY) == plain
    rotated = bench.encoding(data={"augment": {"rotation": True, "views": 5}, "batch_size": 2})
    assert rotated.key(IDENTITY) == plain


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
    store = FeatureStore(file_store, bench.encoding().key(IDENTITY))
    uids = [volume.record.sop_instance_uid for volume in bench.volumes()]
    with Claims(file_store, store.claims_prefix, "x") as claims:
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
