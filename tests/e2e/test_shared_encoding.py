"""Two `octjob train` that need the same features at the same time divide the encoding; one may be killed in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from doubles.octjobs import Octjobs
from doubles.tiny_sweep import prepared, uri_of

from octjob.records.layout import PREDICTIONS, run_key
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.storage.file import FileStore
from octjob.storage.sealed import unseal

# Long beside what a busy machine takes to let the other one go on.
ENCODE_S = 0.05
pytestmark = pytest.mark.slow

# 20 volumes of train and 12 of val; the former a second time, brighter or darker.
NUM_VOLUMES, NUM_AUGMENTED = 32, 20
ONE: dict[str, Any] = {"train.epochs": 3, "data.augment.intensity_jitter": True}
OTHER: dict[str, Any] = {"train.epochs": 2, "data.augment.intensity_jitter": True}


@pytest.fixture(scope="module")
def octjobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Octjobs]:
    with Octjobs(tmp_path_factory.mktemp("log")) as made:
        yield made


@dataclass(frozen=True)
class Alone:
    """Two runs that had a cache each: what they predict, and the features."""

    folder: Path
    store: ObjectStore
    runs: tuple[Run, ...]

    def again(self, folder: Path) -> tuple[ObjectStore, tuple[Run, ...]]:
        """The same runs, with an output and one cache of their own."""
        return prepared(self.folder, {"one": ONE, "other": OTHER}, output=f"{folder}/out")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, octjobs: Octjobs) -> Alone:
    folder = tmp_path_factory.mktemp("alone")
    store, runs = prepared(folder, {"one": ONE, "other": OTHER})
    for run in runs:
        ended = octjobs("train", "--run", uri_of(run))
        assert ended.exit == 0, ended.said
    return Alone(folder, store, runs)


def features(run: Run) -> dict[str, np.ndarray]:
    """All features in the run's cache, by folder and UID. Fails where one is there twice with different bits."""
    cache = FileStore(run.cache)
    found: dict[str, np.ndarray] = {}
    for info in cache.list("features/"):
        if not info.key.endswith(".sealed"):
            continue
        body = unseal(cache.get(info.key))
        assert body is not None
        for uid, x in safetensors.numpy.load(body).items():
            name = f"{info.key.rpartition('/')[0]}/{uid}"
            np.testing.assert_array_equal(found.setdefault(name, x), x)
    return found


@dataclass(frozen=True)
class Log:
    """What two processes encoded, and how much of it each wrote, in order."""

    lines: list[list[str]]

    def encoded(self, who: str) -> list[str]:
        return [what for name, did, what in self.lines if (name, did) == (who, "encoded")]

    def num_written(self, who: str) -> int:
        return sum(int(what) for name, did, what in self.lines if (name, did) == (who, "wrote"))


def at_once(
    octjobs: Octjobs, folder: Path, runs: tuple[Run, ...], kill_at: int | None = None
) -> tuple[int, Log]:
    """Both runs at the same time: how the first ended, and what they did."""
    log = folder / "encodes.log"
    ended = octjobs(
        *("train", "--run", uri_of(runs[0])),
        beside=["train", "--run", uri_of(runs[1])],
        encodes={"log": str(log), "encode_s": ENCODE_S, "kill_at": kill_at},
    )
    assert ended.beside == 0, ended.said
    assert "Traceback" not in ended.said
    lines = [line.split() for line in log.read_text().splitlines()]
    return ended.exit, Log([line for line in lines if line[1] != "begins"])


def assert_as_alone(alone: Alone, store: ObjectStore, runs: tuple[Run, ...]) -> None:
    """Every feature, and what the runs predict, bit for bit."""
    found, expected = features(runs[0]), features(alone.runs[0])
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_array_equal(found[name], x)
    for run in runs:
        key = run_key(run.run_id, PREDICTIONS)
        assert store.get(key) == alone.store.get(key)


def test_two_runs_encode_each_volume_once_and_both_do_a_share(
    alone: Alone, octjobs: Octjobs, tmp_path: Path
) -> None:
    store, runs = alone.again(tmp_path)
    code, log = at_once(octjobs, tmp_path, runs)
    assert code == 0
    shares = [log.encoded(who) for who in ("command", "beside")]
    times = Counter(shares[0] + shares[1])
    assert set(times.values()) == {1}
    assert len(times) == NUM_VOLUMES + NUM_AUGMENTED
    # A round at least, however the machine divides its time.
    assert min(len(share) for share in shares) >= 4
    assert_as_alone(alone, store, runs)


@pytest.mark.parametrize("kill_at", [1, 3, 6, 10, 13])
def test_one_is_killed_while_both_encode(
    alone: Alone, octjobs: Octjobs, tmp_path: Path, kill_at: int
) -> None:
    """The other repeats what was not written, nothing else, and does not wait for the claims of the dead."""
    store, runs = alone.again(tmp_path)
    code, log = at_once(octjobs, tmp_path, runs, kill_at)
    assert code == -9
    dead, alive = log.encoded("command"), log.encoded("beside")
    assert len(dead) == kill_at
    lost = dead[log.num_written("command") :]
    assert set(dead) & set(alive) == set(lost)
    assert len(alive) == len(set(alive)) == NUM_VOLUMES + NUM_AUGMENTED - kill_at + len(lost)
    # Started again, it finds everything.
    ended = octjobs(*("train", "--run", uri_of(runs[0])))
    assert ended.exit == 0, ended.said
    assert_as_alone(alone, store, runs)


def test_runs_whose_cohorts_overlap_share_what_both_need(
    alone: Alone, octjobs: Octjobs, tmp_path: Path
) -> None:
    """One takes two sites, the other another two: the one in common is encoded once, by either."""
    sites = {"one": ["UW", "UCSD"], "other": ["UCSD", "UAB"]}
    configs = {
        name: {"train.epochs": 2, "data.sites": chosen, "data.min_coverage": 0.5}
        for name, chosen in sites.items()
    }
    store, runs = prepared(alone.folder, configs, output=f"{tmp_path}/out")
    code, log = at_once(octjobs, tmp_path, runs)
    assert code == 0
    shares = [log.encoded(who) for who in ("command", "beside")]
    times = Counter(shares[0] + shares[1])
    assert set(times.values()) == {1}
    # Without augmentation: every volume of all three sites.
    assert len(times) == NUM_VOLUMES
    assert min(len(share) for share in shares) > 0
    expected = features(alone.runs[0])
    for name, x in features(runs[0]).items():
        np.testing.assert_array_equal(x, expected[name])
    for run in runs:
        assert store.exists(run_key(run.run_id, PREDICTIONS))
