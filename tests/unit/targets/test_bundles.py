"""Which runs share a process, and what its end means for each of them."""

from __future__ import annotations

import os
import signal
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from doubles.cluster_runs import make_run
from hypothesis import given
from hypothesis import strategies as st

from octjob.records.layout import PROGRESS, RESULT, encode, run_key
from octjob.records.schema import Failure, Progress, Stage
from octjob.spec.encoding import encoding_of
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run
from octjob.spec.sweep import Checkpoint
from octjob.storage.file import FileStore
from octjob.targets.bundles import bundles, size_for
from octjob.targets.local import LocalTarget
from octjob.targets.traces import Trace, fates_of, num_attempts, trace_of

PID = 4242


def run_of(number: int = 0, checkpoint: str = "a", **config: Any) -> Run:
    return make_run(
        run_id=f"{checkpoint}.{number}",
        checkpoint=Checkpoint(uri=f"gs://bucket/{checkpoint}.pt"),
        config=Experiment.model_validate(config),
    )


FINETUNE: dict[str, Any] = {"model": {"freeze_encoder": False}}


@given(
    kinds=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["mean", "max", None])), max_size=30),
    size=st.integers(1, 40),
)
def test_every_run_is_in_one_bundle_of_its_kind(kinds: list[tuple[str, str | None]], size: int) -> None:
    runs = [
        run_of(number, checkpoint, **({"model": {"pool_method": pool}} if pool else FINETUNE))
        for number, (checkpoint, pool) in enumerate(kinds)
    ]
    found = bundles(runs, size)
    assert sorted(run.run_id for bundle in found for run in bundle) == sorted(run.run_id for run in runs)
    firsts = [runs.index(bundle[0]) for bundle in found]
    assert firsts == sorted(firsts)
    for bundle in found:
        assert len(bundle) <= size
        assert [runs.index(run) for run in bundle] == sorted(runs.index(run) for run in bundle)
        assert len({encoding_of(run) for run in bundle}) == 1
        assert len(bundle) == 1 or all(run.config.mode == "probe" for run in bundle)
    # No more processes than needed: of each kind of probe all bundles but the last are full.
    probes = [encoding_of(bundle[0]) for bundle in found if bundle[0].config.mode == "probe"]
    short = [encoding_of(b[0]) for b in found if b[0].config.mode == "probe" and len(b) < size]
    assert len(short) == len(set(short)) <= len(set(probes))


@given(
    kinds=st.lists(st.sampled_from(["a", "b", None]), min_size=1, max_size=40),
    num_processes=st.integers(1, 9),
)
def test_no_process_is_idle_and_none_is_started_without_need(
    kinds: list[str | None], num_processes: int
) -> None:
    runs = [run_of(n, kind or "c", **({} if kind else FINETUNE)) for n, kind in enumerate(kinds)]
    size = size_for(runs, num_processes)
    assert len(bundles(runs, size)) >= min(num_processes, len(runs))
    assert size == 100 or size >= len(runs) or len(bundles(runs, size + 1)) < num_processes


def test_the_probes_of_three_encoders_take_three_processes() -> None:
    runs = [run_of(number, checkpoint) for checkpoint in "abc" for number in range(12)]
    sizes = [len(bundles(runs, size_for(runs, num_processes))) for num_processes in (1, 2, 3, 4, 8)]
    assert sizes == [3, 3, 3, 6, 9]


@pytest.mark.parametrize(
    ("config", "together"),
    [
        ({"train": {"epochs": 3, "lr_head": 0.1, "optimizer": "SGD"}}, True),
        ({"train": {"optimizer": "LBFGS"}}, True),
        ({"data": {"laterality": "left", "unit": "volume"}, "model": {"emb_dim": 768}}, True),
        # One view is the volume itself, whatever is on.
        ({"data": {"augment": {"flip": True, "views": 1}}}, True),
        ({"data": {"augment": {"views": 5}}}, True),
        # One pass over the data makes all views and all poolings.
        ({"data": {"augment": {"flip": True}}}, True),
        ({"model": {"pool_method": "max"}}, True),
        ({"model": {"pool_method": "attentive"}}, True),
        ({"model": {"encoder": "context"}}, False),
        ({"data": {"profile": "seed_finetune"}}, False),
        ({"data": {"source": "/other"}}, False),
        ({"train": {"precision": "bf16"}}, False),
        (FINETUNE, False),
    ],
)
def test_what_decides_a_feature_decides_the_bundle(config: dict[str, Any], together: bool) -> None:
    assert (len(bundles([run_of(0), run_of(1, **config)], 9)) == 1) is together


def progress(store: FileStore, run_id: str, stage: Stage, **values: Any) -> None:
    given = {"attempt": 2, "host": "h", "pid": PID, "started_at": 1.0, "updated_at": 1.0, **values}
    store.put(run_key(run_id, PROGRESS), encode(Progress(run_id=run_id, stage=stage, **given)))


def test_a_trace_is_of_this_process_alone(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))

    def trace(run_id: str) -> Trace:
        return trace_of(f"{tmp_path}/runs/{run_id}", PID, 1)

    progress(store, "earlier", "failed", attempt=1)
    progress(store, "elsewhere", "failed", pid=7)
    progress(store, "failed", "failed", failure=Failure(message="m", exit_code=3))
    progress(store, "stopped", "interrupted")
    progress(store, "killed", "training")
    progress(store, "finished", "training")
    store.put(run_key("finished", RESULT), b"{}")
    store.put(run_key("damaged", PROGRESS), b"{")
    found = {info.key.split("/")[1]: trace(info.key.split("/")[1]) for info in store.list("runs/")}
    assert found == {
        "earlier": Trace("Pending"),
        "elsewhere": Trace("Pending"),
        "failed": Trace("Failed", 3),
        "stopped": Trace("Interrupted"),
        "killed": Trace("Running"),
        "finished": Trace("Succeeded"),
        "damaged": Trace("Unreadable"),
    }
    assert trace("none") == Trace("Pending")
    assert [num_attempts(f"{tmp_path}/runs/{name}") for name in ("none", "damaged", "killed")] == [0, 0, 2]


@pytest.mark.parametrize(
    ("states", "exit_code", "fates"),
    [
        (["Succeeded", "Succeeded"], 0, [0, 0]),
        (["Succeeded", "Failed", "Succeeded"], 5, [0, 3, 0]),
        # Killed: that is the fault of the one under way.
        (["Succeeded", "Running", "Pending"], -9, [0, -9, "Pending"]),
        (["Failed", "Succeeded", "Pending"], -9, [3, 0, "Pending"]),
        (["Succeeded", "Interrupted", "Pending"], 75, [0, 75, "Pending"]),
        (["Failed", "Running", "Pending"], 75, [3, 75, "Pending"]),
        # It came to none: nothing would keep it from being started for ever.
        (["Pending", "Pending"], 1, [1, 1]),
        (["Pending", "Pending"], 75, [75, 75]),
        (["Pending", "Pending"], 2, [2, 2]),
        # It came to all: what left no trace failed before its first heartbeat.
        (["Pending", "Succeeded"], 5, ["Unreadable", 0]),
        (["Running", "Succeeded"], 5, ["Unreadable", 0]),
        (["Unreadable", "Succeeded"], -9, ["Unreadable", 0]),
    ],
)
def test_what_a_process_ended_with_means_for_each(
    states: list[Any], exit_code: int, fates: list[Any]
) -> None:
    traces = [Trace(state, 3 if state == "Failed" else 0) for state in states]
    assert fates_of(traces, exit_code) == fates


class Scripted(LocalTarget):
    """Processes that have ended when they start: each does to the store what the script says next."""

    def __init__(self, folder: Path, script: list[tuple[int, dict[str, str]]], max_restarts: int) -> None:
        super().__init__(folder / "logs", 1, max_restarts, {}, lambda items: None)
        self.store = FileStore(str(folder))
        self.script = deque(script)
        self.started: list[list[str]] = []

    def _spawn(self, command: list[str], log: Any) -> Any:
        uris = [after for word, after in pairwise(command) if word == "--run"]
        names = [uri.rpartition("/")[2] for uri in uris]
        self.started.append(names)
        code, stages = self.script.popleft()
        pid = PID + len(self.started)
        for name, stage in stages.items():
            assert name in names
            if stage == "finished":
                self.store.put(run_key(name, RESULT), b"{}")
            values = (
                {"failure": Failure(message="m", exit_code=int(stage.split()[1]))} if " " in stage else {}
            )
            kind: Any = stage.split()[0]
            progress(self.store, name, kind, attempt=len(self.started), pid=pid, **values)

        class Ended:
            returncode = code

            def poll(self) -> int:
                return self.returncode

        ended = Ended()
        ended.pid = pid  # type: ignore[attr-defined]
        return ended


@pytest.mark.parametrize(
    ("script", "started", "ended"),
    [
        pytest.param(
            [(5, {"a": "finished", "b": "failed 3", "c": "finished"})],
            ["abc"],
            "Succeeded Failed Succeeded",
            id="3 fails at once",
        ),
        pytest.param(
            [(-9, {"a": "finished", "b": "training"}), (0, {"b": "finished", "c": "finished"})],
            ["abc", "bc"],
            "Succeeded Succeeded Succeeded",
            id="a death starts the unfinished again",
        ),
        pytest.param(
            [
                (-9, {"a": "training"}),
                (-9, {"a": "training"}),
                (0, {"b": "finished", "c": "finished"}),
            ],
            ["abc", "abc", "bc"],
            "Failed Succeeded Succeeded",
            id="max_restarts holds for each",
        ),
        pytest.param(
            [(75, {"a": "interrupted"})] * 3 + [(0, {"a": "finished", "b": "finished", "c": "finished"})],
            ["abc"] * 4,
            "Succeeded Succeeded Succeeded",
            id="75 is not counted",
        ),
        pytest.param(
            [(5, {"b": "finished", "c": "finished"}), (2, {})],
            ["abc", "a"],
            "Failed Succeeded Succeeded",
            id="one without a heartbeat is asked by itself",
        ),
        pytest.param(
            [(-11, {}), (-11, {})], ["abc", "abc"], "Failed Failed Failed", id="nothing ever begins"
        ),
        pytest.param([(2, {})], ["abc"], "Failed Failed Failed", id="wrong usage"),
    ],
)
def test_each_run_of_a_bundle_has_the_restarts_of_a_process_of_its_own(
    tmp_path: Path, script: list[tuple[int, dict[str, str]]], started: list[str], ended: str
) -> None:
    target = Scripted(tmp_path, script, max_restarts=1)
    runs = [(make_run(run_id=name), f"{tmp_path}/runs/{name}") for name in "abc"]
    outcome = target.carry_out([runs])
    assert ["".join(names) for names in target.started] == started
    assert [item.state for item in outcome] == ended.split()
    assert [item.log and item.log.name for item in outcome] == ["a.log", "b.log", "c.log"]


def test_after_ctrl_c_only_what_has_a_result_is_done(tmp_path: Path) -> None:
    class Stopped(Scripted):
        def _spawn(self, command: list[str], log: Any) -> Any:
            os.kill(os.getpid(), signal.SIGINT)
            return super()._spawn(command, log)

    target = Stopped(tmp_path, [(75, {"a": "finished", "b": "interrupted"})], max_restarts=1)
    runs = [(make_run(run_id=name), f"{tmp_path}/runs/{name}") for name in "abcd"]
    outcome = target.carry_out([runs[:3], runs[3:]])
    assert [item.state for item in outcome] == ["Succeeded", "Interrupted", "Pending", "Pending"]
    assert ["".join(names) for names in target.started] == ["abc"]
