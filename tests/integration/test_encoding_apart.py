"""Runs that wait for an encoding's features: the same results, nothing encoded by them, and an end without it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles.said_alike import CONFIGS, on_one_thread, what_it_says
from doubles.tiny_sweep import fill_bucket, prepared, save_checkpoint, submitted, sweep_file, uri_of

from octjob.errors import DataError, Interrupted
from octjob.features.encoding import Encoding
from octjob.records.layout import (
    PROGRESS,
    RESULT,
    encode,
    read_progress,
    read_result,
    read_spec,
    run_key,
)
from octjob.records.schema import Failure, Progress, Result
from octjob.run import encoding as waiting
from octjob.run.job import run_job
from octjob.run.stop import Stop
from octjob.spec.expand import Plan
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.targets.kubernetes.again import begin_again

COMPUTE = {"target": "kubernetes", "probe": {"cpu": 2}}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with on_one_thread():
        yield


def planned(folder: Path, **compute: Any) -> tuple[ObjectStore, Plan]:
    """A small sweep whose probes run apart, submitted under `folder/apart`."""
    if not (folder / "bucket").exists():
        fill_bucket(folder / "bucket").write()
        save_checkpoint(folder / "a.pt")
    return submitted(sweep_file(folder, CONFIGS, output=f"{folder}/apart", compute={**COMPUTE, **compute}))


def carried_out(run: Run, features: str | None = None, stop: Stop | None = None) -> Result:
    return run_job(uri_of(run), lambda progress: None, features=features, stop=stop)


def test_results_are_those_of_runs_that_encode_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, runs = prepared(tmp_path, CONFIGS)
    expected = [what_it_says(alone, carried_out(run)) for run in runs]
    store, plan = planned(tmp_path)
    (encoding,) = plan.encodings
    assert encoding.encodes == tuple(run.run_id for run in plan.runs)
    made = carried_out(encoding)
    assert made.evaluation == {}

    def refused(*given: object) -> None:
        raise AssertionError("nothing is encoded by a run that waits for features")

    monkeypatch.setattr(Encoding, "encode", refused)
    found = [what_it_says(store, carried_out(run, encoding.run_id)) for run in plan.runs]
    assert found == expected
    assert carried_out(encoding).finished_at == made.finished_at, "an encoding that is done is left alone"


def test_volumes_that_cannot_be_read_are_left_out_alike(tmp_path: Path) -> None:
    bucket = fill_bucket(tmp_path / "bucket", train=6, val=3)
    bucket.write()
    damaged = next(path for path in sorted((tmp_path / "bucket").rglob("*.dcm")))
    damaged.write_bytes(b"no DICOM")
    data = {"source": f"{tmp_path}/bucket", "max_corrupt": 0.2}
    alone, runs = prepared(tmp_path, CONFIGS, data=data)
    expected = [what_it_says(alone, carried_out(run)) for run in runs]
    store, plan = submitted(
        sweep_file(tmp_path, CONFIGS, output=f"{tmp_path}/apart", compute=COMPUTE, data=data)
    )
    (encoding,) = plan.encodings
    assert len(carried_out(encoding).data["quarantine"]["volumes"]) == 1
    assert [what_it_says(store, carried_out(run, encoding.run_id)) for run in plan.runs] == expected


def test_a_run_that_begins_first_waits(tmp_path: Path) -> None:
    store, plan = planned(tmp_path)
    (encoding,), run = plan.encodings, plan.runs[0]
    results: list[Result] = []
    # Signals are caught in the main thread, which is where the encoding goes on.
    seen = []

    def listen(progress: Progress) -> None:
        if progress.stage == "waiting" and not seen:
            seen.append(progress)
            results.append(carried_out(encoding))

    run_job(uri_of(run), listen, features=encoding.run_id)
    assert seen
    assert results[0].run_id == encoding.run_id
    assert read_result(store, run.run_id) is not None


def fail(store: ObjectStore, encoding: Run, exit_code: int, stage: str = "failed") -> None:
    failure = Failure(message="a.pt: not a checkpoint", exit_code=exit_code) if stage == "failed" else None
    said = Progress.model_validate(
        {
            "run_id": encoding.run_id,
            "stage": stage,
            "attempt": 1,
            "host": "node",
            "pid": 1,
            "started_at": 0.0,
            "updated_at": 0.0,
            "failure": failure,
        }
    )
    store.put(run_key(encoding.run_id, PROGRESS), encode(said))


@pytest.mark.parametrize(
    ("exit_code", "stage", "patience_s", "said"),
    [
        (3, "failed", 600.0, r"which failed \(exit 3\): a.pt: not a checkpoint"),
        (1, "failed", 0.0, r"which failed \(exit 1\)"),
        (0, "encoding", 0.0, r"which has said nothing for 0 minutes"),
    ],
)
def test_an_encoding_that_gave_up_ends_the_wait(
    exit_code: int,
    stage: str,
    patience_s: float,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "STALLED_AFTER_S", patience_s)
    monkeypatch.setattr(waiting, "_SILENT_S", patience_s)
    store, plan = planned(tmp_path)
    (encoding,), run = plan.encodings, plan.runs[0]
    fail(store, encoding, exit_code, stage)
    with pytest.raises(DataError, match=said) as caught:
        carried_out(run, encoding.run_id)
    assert f"`octjob logs tiny/{encoding.run_id}`" in caught.value.hint
    assert "`octjob retry tiny`" in caught.value.hint
    progress = read_progress(store, run.run_id)
    assert progress is not None
    assert progress.failure is not None
    assert progress.failure.exit_code == DataError.exit_code, "no restart of the run would mend it"


@pytest.mark.parametrize(("exit_code", "stage"), [(1, "failed"), (0, "interrupted"), (3, "again")])
def test_one_that_may_go_on_is_waited_for(exit_code: int, stage: str, tmp_path: Path) -> None:
    store, plan = planned(tmp_path)
    (encoding,), run = plan.encodings, plan.runs[0]
    fail(store, encoding, exit_code, "failed" if stage == "again" else stage)
    if stage == "again":
        begin_again(store, [encoding.run_id])
    stop = Stop()
    begun = time.monotonic()
    timer = threading.Timer(2.0, stop.request, [15])
    timer.start()
    with pytest.raises(Interrupted):
        carried_out(run, encoding.run_id, stop)
    assert time.monotonic() - begun >= 2.0, "it waits until it is told to stop"


def test_features_that_are_gone_are_an_error_and_not_made_on_cores(tmp_path: Path) -> None:
    store, plan = planned(tmp_path)
    (encoding,), run = plan.encodings, plan.runs[0]
    carried_out(encoding)
    for path in (tmp_path / "apart/cache/features").rglob("*.sealed"):
        path.unlink()
    with pytest.raises(DataError, match="features of 32 of 32 volumes are not there") as caught:
        carried_out(run, encoding.run_id)
    assert f"delete {store.uri(run_key(encoding.run_id, RESULT))} and submit" in caught.value.hint
    save_checkpoint(tmp_path / "a.pt", seed=7)
    with pytest.raises(DataError, match="another encoder or preprocessing"):
        carried_out(run, encoding.run_id)


def test_a_changed_learning_rate_needs_no_other_encoding(tmp_path: Path) -> None:
    store, before = planned(tmp_path)

    def changed(**overrides: Any) -> Run:
        configs = {**CONFIGS, "mean": {**CONFIGS["mean"], **overrides}}
        path = sweep_file(tmp_path, configs, output=f"{tmp_path}/apart", compute=COMPUTE)
        plan = submitted_again(path)
        (one,) = plan.encodings
        return one

    (encoding,) = before.encodings
    assert changed(**{"train.lr_head": 0.5}).run_id == encoding.run_id
    assert read_spec(store, encoding.run_id) == encoding, "and the stored one stands"
    assert changed(**{"data.sites": ["UW"]}).run_id != encoding.run_id


def submitted_again(path: Path) -> Plan:
    from octjob.spec.expand import plan_sweep
    from octjob.storage.open import open_store
    from octjob.targets.submit import write_plan

    plan = plan_sweep(path)
    write_plan(plan, open_store(plan.output), update=True)
    return plan
