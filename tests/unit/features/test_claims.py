"""Runs divide the volumes: whatever the order of their requests and whoever is killed, each gets all that it needs.

Every order is one of `Turns`, so a seed that fails fails again.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator

import pytest
from doubles.interleaved import MemoryStore
from doubles.simulated_encoding import Simulation, encoded, expected, plain

from octjob.errors import AccessError
from octjob.features.claims import Claims, part_of
from octjob.storage.base import ObjectInfo
from octjob.storage.lease import DURATION_S

SEEDS = range(400)
VOLUMES = range(14)
NAMES = ("a", "b", "c")


def evenly(rng: random.Random) -> Callable[[list[str]], str]:
    return rng.choice


def cohorts(rng: random.Random) -> dict[str, list[int]]:
    """What each run needs: some of it, in an order of its own."""
    return {name: rng.sample(VOLUMES, rng.randint(1, len(VOLUMES))) for name in NAMES}


def num_parts(rng: random.Random) -> int:
    return rng.choice([1, 4, 256])


@pytest.mark.slow
@pytest.mark.parametrize("apart", [False, True])
def test_each_volume_is_encoded_once_by_whoever_comes_first(apart: bool) -> None:
    shared = 0
    for seed in SEEDS:
        rng = random.Random(seed)
        simulation = Simulation(evenly(rng), apart=apart)
        needed = cohorts(rng)
        for name, numbers in needed.items():
            simulation.add(name, numbers)
        parts = num_parts(rng)
        found = simulation.play(parts)
        assert found == {name: expected(numbers) for name, numbers in needed.items()}, seed
        assert set(simulation.times) == set().union(*needed.values())
        assert set(simulation.times.values()) == {1}, seed
        shared += len({name for name, _ in simulation.encoded}) > 1
    assert shared > len(SEEDS) / 2


class Killer:
    """Chooses evenly, and kills some runs at their n-th turn. lost: what these had encoded and not written."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.at = {name: rng.randint(1, 50) for name in rng.sample(NAMES, rng.choice([1, 2]))}
        self.lost: set[int] = set()
        self.simulation: Simulation

    def __call__(self, names: list[str]) -> str:
        chosen = self.rng.choice(names)
        if chosen in self.at:
            self.at[chosen] -= 1
            if self.at[chosen] == 0:
                self.lost |= self.simulation.kill(chosen)
        return chosen


@pytest.mark.slow
@pytest.mark.parametrize("apart", [False, True])
def test_whoever_is_killed_at_whatever_request_the_others_get_everything(apart: bool) -> None:
    """What is encoded twice is what a killed one had not written. On another machine it is noticed after a while."""
    twice = 0
    for seed in SEEDS:
        rng = random.Random(seed)
        killer = Killer(rng)
        killer.simulation = simulation = Simulation(killer, apart=apart)
        needed = cohorts(rng)
        for name, numbers in needed.items():
            simulation.add(name, numbers)
        found = simulation.play(num_parts(rng))
        assert found == {name: expected(needed[name]) for name in found}, seed
        repeated = {number for number, times in simulation.times.items() if times > 1}
        assert repeated <= killer.lost, seed
        assert max(simulation.times.values(), default=0) <= 1 + len(killer.at)
        twice += bool(repeated)
        assert apart or simulation.now < DURATION_S, "nobody waits for the dead of this machine"
    assert twice > len(SEEDS) / 20


class Halt:
    """Chooses evenly, but once `still` has encoded something, it stands still until the others have ended."""

    def __init__(self, rng: random.Random, still: str) -> None:
        self.rng, self.still = rng, still
        self.simulation: Simulation

    def __call__(self, names: list[str]) -> str:
        stands = any(name == self.still for name, _ in self.simulation.encoded)
        return self.rng.choice([name for name in names if not stands or name != self.still] or names)


def test_a_run_that_stands_still_and_goes_on_harms_nobody() -> None:
    """Its claims run out, others repeat its work, and it conflicts with nothing when it is back."""
    twice = 0
    for seed in SEEDS[:60]:
        rng = random.Random(seed)
        halt = Halt(rng, rng.choice(NAMES))
        halt.simulation = simulation = Simulation(halt, apart=rng.random() < 0.5)
        needed = cohorts(rng)
        for name, numbers in needed.items():
            simulation.add(name, numbers)
        found = simulation.play(num_parts(rng))
        assert found == {name: expected(numbers) for name, numbers in needed.items()}, seed
        assert max(simulation.times.values()) <= 2
        twice += max(simulation.times.values()) == 2
    assert twice > 3


def test_what_one_run_cannot_read_the_others_do_not_wait_for() -> None:
    for seed in SEEDS:
        rng = random.Random(seed)
        simulation = Simulation(evenly(rng), apart=True)
        corrupt = set(rng.sample(VOLUMES, 3))
        simulation.add("a", VOLUMES, corrupt)
        simulation.add("b", VOLUMES)
        found = simulation.play(num_parts(rng))
        assert found["b"] == expected(VOLUMES)
        # What another run could read is a feature like any other.
        assert expected(set(VOLUMES) - corrupt).items() <= found["a"].items() <= found["b"].items()


def test_parts_do_not_depend_on_the_cohort() -> None:
    """They are the same in all versions that share a cache: two that disagree would encode everything twice."""
    assert [part_of(uid) for uid in ("1.2.3", "1.2.4", "")] == ["c4", "30", "e3"]


def test_a_run_claims_no_more_than_it_was_told_to() -> None:
    store, uids = MemoryStore(), [f"{number}" for number in range(400)]
    with Claims(store, "claims/", "one") as one, Claims(store, "claims/", "other") as other:
        ours = one.take(uids, 64)
        assert 64 <= len(ours) < 72
        theirs = other.take(uids, len(uids))
        assert sorted(ours + theirs) == sorted(uids)
        assert one.take(set(uids) - set(ours), 64) == []
        other.release()
        assert len(one.take(set(uids) - set(ours), 64)) >= 64


class Counting(MemoryStore):
    """Counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    def get(self, key: str) -> bytes:
        self.requests += 1
        return super().get(key)

    def head(self, key: str) -> ObjectInfo:
        self.requests += 1
        return super().head(key)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        self.requests += 1
        return super().put(key, data, if_absent=if_absent, if_version=if_version)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.requests += 1
        for key in sorted(self._objects):
            if key.startswith(prefix):
                yield super().head(key)


def test_looking_again_at_what_another_holds_is_one_request() -> None:
    store, uids = Counting(), [f"{number}" for number in range(400)]
    with Claims(store, "claims/", "one") as one, Claims(store, "claims/", "other") as other:
        assert len(one.take(uids, len(uids))) == len(uids)
        looks = 0
        while store.requests:
            store.requests = 0
            assert other.take(uids, 64) == []
            assert store.requests <= 1 + 64, "no look asks for all that there is"
            looks += 1
            if store.requests == 1:
                break
        assert 4 < looks < 30
        one.release()
        assert len(other.take(uids, 64)) >= 64


class Refusing(MemoryStore):
    """Refuses one key at once, and takes its time for the others."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        if key == f"claims/{part_of('7')}.json":
            raise AccessError(f"{self.uri(key)}: no right to write")
        time.sleep(0.02)
        return super().put(key, data, if_absent=if_absent, if_version=if_version)


def test_after_an_error_nothing_stays_claimed() -> None:
    """Not even what was won when it had been raised already."""
    store = Refusing()
    with pytest.raises(AccessError), Claims(store, "claims/", "one") as claims:
        claims.take([f"{number}" for number in range(64)], 64)
    bodies = [json.loads(store.get(info.key)) for info in store.list("claims/")]
    assert bodies
    assert all(body["released"] for body in bodies)


def test_runs_begin_at_different_parts() -> None:
    store, uids = MemoryStore(), [f"{number}" for number in range(2000)]
    first = []
    for owner in ("one", "other"):
        with Claims(store, "claims/", owner) as claims:
            first.append(set(claims.take(uids, 64)))
    assert len(first[0] & first[1]) < 20


def test_a_run_alone_reads_back_what_it_made() -> None:
    store = MemoryStore()
    assert plain(encoded(store, VOLUMES, "one")) == expected(VOLUMES)
    assert plain(encoded(store, VOLUMES, "other", step=pytest.fail)) == expected(VOLUMES)
