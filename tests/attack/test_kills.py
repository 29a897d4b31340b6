"""SIGKILL at a hundred moments: whatever was killed, started again it ends as if nothing had happened.

Nothing is left over then: no temporary file, no process, no lease that holds anybody up.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from doubles.b2_server import B2Server
from doubles.gcs import GcsServer
from doubles.octjobs import Ended
from doubles.tiny_sweep import submitted, uri_of

from octjob.records.layout import PREDICTIONS, RESULT, run_key
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.storage.open import forget_stores

from .conftest import Count
from .sweeps import SEED, Sweeps, leftovers, of_run, stored, submitted_run

KILLED = -9
# A lease of a killed holder must not hold anybody up; an undisturbed command takes a few seconds.
BOUND_S = 60.0
NUM_OF_LAUNCHER, NUM_OF_COLLECT, NUM_OF_CACHE, NUM_OF_STORE = 25, 20, 18, 10

pytestmark = pytest.mark.timeout(280)


def test_a_killed_launcher_takes_its_runs_with_it_and_the_next_continues(
    sweeps: Sweeps, undisturbed: Path, count: Count
) -> None:
    """A run saves and stops as after Ctrl-C; the next launcher waits for it rather than fail."""
    rng = np.random.default_rng(SEED)
    expected = sweeps.table(undisturbed)
    killed, number, slowest_s = 0, 0, 0.0
    while killed < NUM_OF_LAUNCHER:
        number += 1
        path = sweeps.at(f"launcher-{number}")
        ended = Ended(KILLED, 0, [], 0.0, "")
        while ended.exit == KILLED and killed < NUM_OF_LAUNCHER:
            ended = sweeps.run(
                path, "submit", "-f", path, "--target", "local", kill_after_s=rng.uniform(0.05, 1.5)
            )
            if ended.exit == KILLED:
                killed += 1
                slowest_s = max(slowest_s, ended.left_s)
                count("SIGKILL of the launcher", "its runs ended" if ended.left_s > 0.02 else "nothing ran")
        if ended.exit == KILLED:
            ended = sweeps.run(path, "submit", "-f", path, "--target", "local")
        assert ended.exit == 0, ended.said
        assert sweeps.table(path) == expected
        assert leftovers(path.parent) == []
        shutil.rmtree(path.parent)
    print(f"\nruns ended at most {slowest_s:.1f} s after their launcher")  # noqa: T201


def fits(files: dict[str, bytes]) -> bool:
    """Whether the files are one collection's, as leaderboard.json says."""
    digests = json.loads(files["leaderboard.json"])["sha256"]
    found = {ending: hashlib.sha256(files[f"leaderboard.{ending}"]).hexdigest() for ending in digests}
    return len(digests) == 3 and found == digests


def test_a_killed_collect_leaves_no_mix_that_passes_for_one_table(
    sweeps: Sweeps, undisturbed: Path, count: Count
) -> None:
    tables: dict[str, dict[str, bytes]] = {}
    for metric in ("macro_auroc", "accuracy"):
        whole = sweeps.run(undisturbed, "collect", undisturbed, "--metric", metric, below=undisturbed.parent)
        assert whole.exit == 0
        tables[metric] = stored(undisturbed)
        assert fits(tables[metric])
    rng = np.random.default_rng(SEED)
    for at in sorted(rng.choice(np.arange(1, whole.changes + 1), NUM_OF_COLLECT, replace=False).tolist()):
        ended = sweeps.run(
            undisturbed,
            *("collect", undisturbed, "--metric", "macro_auroc"),
            below=undisturbed.parent,
            kill_at=at,
        )
        assert ended.exit == KILLED
        found = {name: data for name, data in stored(undisturbed).items() if not name.startswith(".octjob-")}
        old, new = (found == tables[metric] for metric in ("accuracy", "macro_auroc"))
        assert fits(found) == (old or new)
        assert all(
            data in (tables["accuracy"][name], tables["macro_auroc"][name]) for name, data in found.items()
        )
        count("SIGKILL of collect", "old" if old else "new" if new else "a mix that leaderboard.json denies")
        again = sweeps.run(undisturbed, "collect", undisturbed, "--metric", "accuracy")
        assert again.exit == 0
        assert stored(undisturbed) == tables["accuracy"]
    assert leftovers(undisturbed.parent) == []


@pytest.mark.parametrize(("config", "cache"), [("probe", "cache"), ("finetune", "volumes")])
def test_a_cache_whose_filling_was_killed_gives_the_same_result(
    sweeps: Sweeps, undisturbed: Path, count: Count, config: str, cache: str
) -> None:
    """Killed at one change of the cache after the other: the 1st, the 2nd, ... of what is left to do."""
    path, run = submitted_run(sweeps, f"cache-{config}", config)
    here, killed = path.parent, 0
    rng = np.random.default_rng(SEED)
    began = time.monotonic()
    while killed < NUM_OF_CACHE:
        at = int(rng.integers(1, 25))
        ended = sweeps.run(path, "train", "--run", uri_of(run), below=here / cache, kill_at=at)
        if ended.exit != KILLED:
            assert ended.exit == 0, ended.said
            # All is cached: begin again.
            shutil.rmtree(here / cache)
            shutil.rmtree(here / "out/tiny/runs" / run.run_id)
            submitted(path)
            continue
        killed += 1
        count(f"SIGKILL while the cache of a {config} is filled", "started again")
    assert sweeps.run(path, "train", "--run", uri_of(run)).exit == 0
    assert time.monotonic() - began < NUM_OF_CACHE * BOUND_S / 4
    assert (here / "out/tiny" / run_key(run.run_id, PREDICTIONS)).read_bytes() == of_run(
        undisturbed, run, PREDICTIONS
    )
    assert leftovers(here) == []


@pytest.mark.parametrize("scheme", ["gs", "b2"])
def test_runs_whose_writes_to_a_bucket_were_killed_end_with_the_same_bytes(
    sweeps: Sweeps,
    undisturbed: Path,
    count: Count,
    monkeypatch: pytest.MonkeyPatch,
    gcs_server: GcsServer,
    b2_server: B2Server,
    scheme: str,
) -> None:
    env = gcs_server.env if scheme == "gs" else b2_server.env
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    forget_stores()
    below = f"{scheme}://octjob-test/kills-{scheme}"
    path = sweeps.at(f"bucket-{scheme}", output=f"{below}/out", cache=f"{below}/cache")
    store, plan = submitted(path)
    run = next(run for run in plan.runs if run.config_name == "probe")
    rng = np.random.default_rng(SEED)
    killed = 0
    while killed < NUM_OF_STORE:
        ended = sweeps.run(path, "train", "--run", uri_of(run), env=env, kill_after_s=rng.uniform(0.1, 1.0))
        if ended.exit == KILLED:
            killed += 1
            count(f"SIGKILL while writing to {scheme}://", "started again")
        else:
            assert ended.exit == 0, ended.said
            remove(store, run)
    assert sweeps.run(path, "train", "--run", uri_of(run), env=env).exit == 0
    for name in (PREDICTIONS, "history.jsonl"):
        assert store.get(run_key(run.run_id, name)) == of_run(undisturbed, run, name)
    assert leftovers(path.parent) == []


def remove(store: ObjectStore, run: Run) -> None:
    """Let the run begin anew."""
    for info in list(store.list(f"runs/{run.run_id}/")):
        if not info.key.endswith("/spec.json"):
            store.delete(info.key)
    assert not store.exists(run_key(run.run_id, RESULT))
