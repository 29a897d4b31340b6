"""Runs that encode the same volumes: the real `encode_volumes` on a store, a clock and an encoder of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest

from doubles.interleaved import Interrupted, MemoryStore, Turns
from octjob.data.cohort import Volume
from octjob.data.manifest import VolumeRecord
from octjob.data.participants import Participant
from octjob.data.quarantine import CorruptVolumeError, Quarantine
from octjob.features import claims, encode, pace, store
from octjob.features.encode import encode_volumes
from octjob.features.encoding import Encoding, Pooled
from octjob.features.store import FeatureKey, Features, FeatureStore, Form
from octjob.models.pooling import VECTORS
from octjob.runtime.base import Runtime
from octjob.runtime.single import Single
from octjob.spec.experiment import Experiment
from octjob.storage import lease
from octjob.storage.base import ObjectStore

KEY = FeatureKey("encoder", "preprocess", "fp32", "torch")
FORM = Form("identity", VECTORS)
ENCODE_S = 1.0
EXPERIMENT = Experiment.model_validate({"data": {"num_workers": 0}})


def volume(number: int) -> Volume:
    record = VolumeRecord("1", "", "", "", "", "", "R", 1, 1, 1, f"{number}", f"{number}.dcm", "")
    return Volume(record, Participant("1", "UW", "", 0, "train", has_oct=True))


class Reader:
    """Volumes of one voxel, their number; those in `corrupt` cannot be read."""

    def __init__(self, corrupt: Collection[int] = ()) -> None:
        self.corrupt = corrupt

    def uri(self, volume: Volume) -> str:
        return volume.record.key

    def read(self, volume: Volume) -> np.ndarray:
        number = int(volume.record.sop_instance_uid)
        if number in self.corrupt:
            raise CorruptVolumeError(volume.record.key, "corrupt")
        return np.full((1, 1, 1), number, np.float32)


@dataclass(frozen=True)
class Encoder(Encoding):
    """Notes whom it encodes; `step` is called before."""

    step: Callable[[Sequence[int]], None] = lambda numbers: None

    @property
    def key(self) -> FeatureKey:
        return KEY

    def pooling_of(self, experiment: Experiment) -> str:
        return VECTORS

    def encode(self, volumes: Sequence[np.ndarray], poolings: Sequence[str]) -> list[Pooled]:
        numbers = [int(x_DHW[0, 0, 0]) for x_DHW in volumes]
        self.step(numbers)
        return [{pooling: feature(number) for pooling in poolings} for number in numbers]


def feature(number: int) -> np.ndarray:
    return np.array([number, number**2], np.float32)


def expected(numbers: Iterable[int]) -> dict[str, list[float]]:
    return {str(n): feature(n).tolist() for n in sorted(numbers)}


def plain(features: Features) -> dict[str, list[float]]:
    return {uid: features[uid].tolist() for uid in sorted(features, key=int)}


def encoded(
    cache: ObjectStore,
    numbers: Iterable[int],
    owner: str,
    step: Callable[[Sequence[int]], None] = lambda numbers: None,
    runtime: Runtime | None = None,
    corrupt: Collection[int] = (),
) -> Features:
    """What a run gets that needs these volumes."""
    encoder: Any = Encoder(None, EXPERIMENT, runtime or Single("cpu"), step=step)  # type: ignore[arg-type]
    reader: Any = Reader(corrupt)
    volumes = [volume(number) for number in numbers]
    (identity,) = encode_volumes(
        encoder, cache, reader, volumes, (), Quarantine(), owner, lambda done, total: None
    )
    return identity


class Inline:
    """A `ThreadPoolExecutor` without threads: what happens follows from the turns alone."""

    def __init__(self, *args: object, **options: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def map(self, function: Callable[..., Any], *each: Iterable[Any]) -> Iterator[Any]:
        return iter([function(*given) for given in zip(*each, strict=True)])

    def shutdown(self, *, cancel_futures: bool = False) -> None:
        pass


class Simulation:
    """Runs on one store. A second passes for each encoded volume and half a one for each look while waiting.

    encoded: (run, volume) in order. apart: each run is on a machine of its own, where others cannot see whether it
    lives.
    """

    def __init__(self, choose: Callable[[list[str]], str], *, apart: bool = False) -> None:
        self.turns = Turns(choose)
        self.memory = MemoryStore()
        self.apart = apart
        self.now = 0.0
        self.encoded: list[tuple[str, int]] = []

    def add(self, name: str, numbers: Collection[int], corrupt: Collection[int] = ()) -> None:
        """A run that needs these volumes."""
        cache = Interrupted(self.memory, self.turns)
        step = partial(self._step, name)
        self.turns.add(name, lambda: encoded(cache, numbers, name, step, corrupt=corrupt))

    def _step(self, name: str, numbers: Sequence[int]) -> None:
        self.turns.pause()
        self.now += ENCODE_S * len(numbers)
        self.encoded += [(name, number) for number in numbers]

    def _sleep(self, duration_s: float) -> None:
        self.now += duration_s
        self.turns.pause()

    def _machine(self) -> str:
        return self.turns.current.name if self.apart and self.turns.current else "one"

    @contextmanager
    def patched(self, num_parts: int) -> Iterator[None]:
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self._sleep)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(claims, "part_of", lambda uid: f"{int(uid) % num_parts:02x}")
            patch.setattr(claims, "Lease", partial(lease.Lease, monotonic=clock.monotonic))
            patch.setattr(lease, "this_machine", self._machine)
            patch.setattr(pace, "_MIN_STEPS", 2)
            for module in (claims, store):
                patch.setattr(module, "ThreadPoolExecutor", Inline)
            for module in (encode, store):
                patch.setattr(module, "time", clock)
            yield

    def play(self, num_parts: int) -> dict[str, dict[str, list[float]]]:
        """What each run got that was not killed."""
        with self.patched(num_parts):
            self.turns.play()
        return {name: plain(run.result) for name, run in self.turns.runs.items() if not run.is_killed}

    @property
    def times(self) -> Counter[int]:
        """How often each volume was encoded."""
        return Counter(number for _, number in self.encoded)

    def kill(self, name: str) -> set[int]:
        """Kill a run, which may hold parts; what it had encoded and nobody can read."""
        self.turns.kill(name)
        kept = FeatureStore(self.memory, KEY, FORM).read(str(number) for number in self.times)
        return {number for run, number in self.encoded if run == name} - {int(uid) for uid in kept}
