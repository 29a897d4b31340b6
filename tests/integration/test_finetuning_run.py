"""Whole fine-tunings: state is written while the next steps run, and a batch that does not fit is taken in parts."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from doubles.tiny_sweep import prepared, uri_of
from torch import Tensor

from octjob.errors import AccessError
from octjob.models.needs import main_work
from octjob.records.layout import RESULT, read_attempt_log, run_key
from octjob.records.schema import Progress
from octjob.run.job import run_job
from octjob.runtime.single import Single
from octjob.storage.file import FileStore
from octjob.train.step import Step

TUNE: dict[str, Any] = {
    "data": {"batch_size": 8},
    "model": {"freeze_encoder": False},
    "train": {"epochs": 3, "warmup_epochs": 0, "remat": False},
}


@pytest.fixture(autouse=True)
def informed(caplog: pytest.LogCaptureFixture) -> None:
    """As the command line logs."""
    caplog.set_level(logging.INFO)


def test_a_slow_store_does_not_hold_up_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first state is being written until all epochs are over."""
    store, (run,) = prepared(tmp_path, {"x": TUNE})
    real, over = FileStore.put, Event()

    def put(self: FileStore, key: str, data: bytes, **options: Any) -> str:
        if key.endswith("resume-1.pt"):
            assert over.wait(60)
        return real(self, key, data, **options)

    def listen(progress: Progress) -> None:
        if progress.epoch == 3:
            over.set()

    monkeypatch.setattr(FileStore, "put", put)
    result = run_job(uri_of(run), listen)
    assert over.is_set()
    text = read_attempt_log(store, run.run_id, 1)
    assert "computing on octjob " in text
    assert "saved state: " in text
    assert text.index("epoch 2: train loss") < text.index("saved state: ")
    assert result.environment["microbatches"] == 1


def test_a_store_that_refuses_the_state_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, (run,) = prepared(tmp_path, {"x": TUNE})
    real = FileStore.put

    def put(self: FileStore, key: str, data: bytes, **options: Any) -> str:
        if key.endswith("resume-1.pt"):
            raise AccessError("refused")
        return real(self, key, data, **options)

    monkeypatch.setattr(FileStore, "put", put)
    with pytest.raises(AccessError, match="refused"):
        run_job(uri_of(run), lambda progress: None)
    assert not store.exists(run_key(run.run_id, RESULT))


def test_a_batch_that_does_not_fit_is_taken_in_parts_and_the_result_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    add = Step.add

    def counted(self: Step, x_B: Tensor, *others: Tensor) -> None:
        rows.append(len(x_B))
        add(self, x_B, *others)

    monkeypatch.setattr(Step, "add", counted)
    whole_store, (run,) = prepared(tmp_path / "whole", {"x": TUNE})
    whole = run_job(uri_of(run), lambda progress: None)
    geometry = whole.checkpoint_report["geometry"]
    store, (run,) = prepared(tmp_path / "parts", {"x": TUNE})
    monkeypatch.setattr(Single, "memory", _too_little(run.config, geometry))
    assert max(rows) == 8
    rows.clear()
    in_parts = run_job(uri_of(run), lambda progress: None)
    assert max(rows) == 8 // in_parts.environment["microbatches"]
    assert (whole.environment["microbatches"], in_parts.environment["microbatches"] > 1) == (1, True)
    assert "parts, chosen so that it fits" in read_attempt_log(store, run.run_id, 1)
    assert "parts, chosen" not in read_attempt_log(whole_store, whole.run_id, 1)
    loss = [one.evaluation["metrics"]["log_loss"] for one in (whole, in_parts)]
    assert loss[0] == pytest.approx(loss[1], abs=2e-5)


def _too_little(experiment: Any, geometry: dict[str, Any]) -> int:
    """What a part of the batch needs, and less than the whole."""
    from octjob.models.shape import EncoderGeometry

    sizes = ("volume_size", "patch_size")
    shape = EncoderGeometry(**{k: tuple(v) if k in sizes else v for k, v in geometry.items()})
    return main_work(experiment, shape, "torch", 1, None).peak - 1
