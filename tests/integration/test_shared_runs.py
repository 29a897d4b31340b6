"""What the runs of one process share is what each would read for itself, and is read again where it has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles.said_alike import CONFIGS, on_one_thread, what_it_says
from doubles.tiny_sweep import fill_bucket, prepared, save_checkpoint, uri_of

from octjob.features.encoding import Encoding
from octjob.records.layout import SWEEP, run_key
from octjob.records.schema import Result
from octjob.run import inputs
from octjob.run.job import run_job
from octjob.run.shared import Shared
from octjob.run.siblings import siblings
from octjob.spec.run import Run


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with on_one_thread():
        yield


class Counted:
    """How often checkpoint and cohort were read and how many volumes were encoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = {"encoder_of": 0, "cohort_of": 0, "encode": 0}
        for name in ("encoder_of", "cohort_of"):
            monkeypatch.setattr(inputs, name, self._counting(name, getattr(inputs, name)))
        monkeypatch.setattr(Encoding, "encode", self._counting("encode", Encoding.encode))

    def _counting(self, name: str, function: Any) -> Any:
        def counted(*given: Any, **named: Any) -> Any:
            self.times[name] += 1
            return function(*given, **named)

        return counted


def carried_out(run: Run, shared: Shared | None = None) -> Result:
    return run_job(uri_of(run), lambda progress: None, shared=shared)


def test_runs_that_share_are_what_they_are_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, runs = prepared(tmp_path, CONFIGS)
    apart = [what_it_says(store, carried_out(run)) for run in runs]
    again, runs = prepared(tmp_path, CONFIGS, output=f"{tmp_path}/again")
    counted, shared = Counted(monkeypatch), Shared()
    found = [what_it_says(again, carried_out(run, shared)) for run in runs]
    assert found == apart
    # 20 volumes of train with a second view, 12 of val; the first run made the second's and the third's.
    assert counted.times == {"encoder_of": 1, "cohort_of": 2, "encode": 52}


def test_what_was_replaced_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, runs = prepared(
        tmp_path, {name: {**CONFIGS["mean"], "train.lr_head": lr} for name, lr in (("a", 0.1), ("b", 0.2))}
    )
    counted, shared = Counted(monkeypatch), Shared()
    first = carried_out(runs[0], shared)
    save_checkpoint(tmp_path / "a.pt", seed=7)
    fill_bucket(tmp_path / "bucket", train=4, val=3).write()
    second = carried_out(runs[1], shared)
    assert counted.times == {"encoder_of": 2, "cohort_of": 2, "encode": 32 + 28}
    assert first.checkpoint_report["sha256"] != second.checkpoint_report["sha256"]


def test_a_pass_serves_the_runs_of_the_sweep_on_this_encoder(tmp_path: Path) -> None:
    store, runs = prepared(
        tmp_path,
        {
            **CONFIGS,
            "finetune": {"model.freeze_encoder": False},
            "bf16": {"train.precision": "bf16"},
            "target": {"model.encoder": "target"},
        },
    )
    by_name = {run.config_name: run for run in runs}
    found = siblings(store, by_name["mean"])
    assert [each.model.pool_method for each in found] == ["attentive", "max"]
    # One whose spec is not there yet, and one that another version wrote.
    store.delete(run_key(by_name["attentive"].run_id, "spec.json"))
    store.put(run_key(by_name["logistic"].run_id, "spec.json"), b'{"schema_version": 99}')
    assert siblings(store, by_name["mean"]) == ()
    store.put(SWEEP, b"{")
    assert siblings(store, by_name["mean"]) == ()
    store.delete(SWEEP)
    assert siblings(store, by_name["mean"]) == ()
