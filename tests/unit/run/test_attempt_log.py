"""What an attempt logged stays in the store after its pod is gone."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from doubles.sweep_results import entry
from doubles.tiny_sweep import prepared, uri_of

from octjob.errors import AccessError, DataError, Interrupted
from octjob.records.layout import attempt_log_key, list_attempt_logs, read_attempt_log
from octjob.records.schema import Progress, Stage
from octjob.run.attempt_log import AttemptLog, keep_attempt_log
from octjob.run.job import run_job
from octjob.storage import ObjectStore

RUN = entry("a").run_id
log = logging.getLogger("octjob.test")


@pytest.fixture(autouse=True)
def _log_infos(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def progress(stage: Stage) -> Progress:
    return Progress(run_id=RUN, stage=stage, attempt=1, host="h", pid=1, started_at=1.0, updated_at=2.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Counting:
    """Passes on to a store; counts and may refuse writes."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.num_puts = 0
        self.refuses = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, key: str, data: bytes, **conditions: Any) -> str:
        self.num_puts += 1
        if self.refuses:
            raise AccessError(f"{key}: no permission to write")
        return self._store.put(key, data, **conditions)


def test_what_is_logged_is_kept_with_how_it_ended(file_store: ObjectStore) -> None:
    with suppress(DataError), keep_attempt_log(file_store, RUN, 2, 0):
        log.info("epoch 1")
        raise DataError("b2://x: cannot be decoded", "Mend it.")
    log.info("after the end")
    lines = read_attempt_log(file_store, RUN, 2).splitlines()
    assert lines[0].endswith(" INFO epoch 1")
    assert lines[1:] == ["error: b2://x: cannot be decoded", "hint: Mend it."]


def test_an_interruption_and_a_traceback_are_kept(file_store: ObjectStore) -> None:
    with pytest.raises(Interrupted), keep_attempt_log(file_store, RUN, 1, 0):
        raise Interrupted("stopped by signal 15, state saved")
    assert read_attempt_log(file_store, RUN, 1) == "interrupted: stopped by signal 15, state saved\n"
    with pytest.raises(ZeroDivisionError), keep_attempt_log(file_store, RUN, 2, 0):
        raise ZeroDivisionError("division by zero")
    text = read_attempt_log(file_store, RUN, 2)
    assert text.startswith("Traceback")
    assert text.endswith("ZeroDivisionError: division by zero\n")


def test_written_at_a_change_of_stage_and_else_once_a_minute(file_store: ObjectStore) -> None:
    store, clock = Counting(file_store), Clock()
    kept = AttemptLog(store, RUN, 1, 0, clock=clock)
    kept.write("one")
    kept.listen(progress("data"))
    assert read_attempt_log(file_store, RUN, 1) == "one\n"
    for second in range(1, 181):
        clock.now = float(second)
        kept.write(f"second {second}")
        kept.listen(progress("data"))
    assert store.num_puts == 1 + 3
    kept.write("two")
    kept.listen(progress("training"))
    assert store.num_puts == 1 + 3 + 1
    assert read_attempt_log(file_store, RUN, 1).endswith("second 180\ntwo\n")
    kept.listen(progress("evaluating"))
    assert store.num_puts == 5  # nothing new


def test_only_the_end_is_kept_of_a_long_log(file_store: ObjectStore) -> None:
    kept = AttemptLog(file_store, RUN, 1, 0, max_bytes=1000)
    for number in range(1000):
        kept.write(f"line {number:04d}")
    kept.ended(None)
    first, *rest = read_attempt_log(file_store, RUN, 1).splitlines()
    assert first == "(the first 9000 bytes of this log were cut)"
    assert rest == [f"line {number:04d}" for number in range(900, 1000)]


def test_a_line_longer_than_all_is_cut(file_store: ObjectStore) -> None:
    kept = AttemptLog(file_store, RUN, 1, 0, max_bytes=100)
    kept.write("x" * 1000)
    kept.ended(None)
    assert read_attempt_log(file_store, RUN, 1) == "x" * 99 + "\n"


def test_a_store_that_refuses_is_one_warning(
    file_store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    store = Counting(file_store)
    store.refuses = True
    with keep_attempt_log(store, RUN, 1, 0) as kept:
        for stage in ("data", "training"):
            log.info("in %s", stage)
            kept.listen(progress(stage))  # type: ignore[arg-type]
        warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "cannot be kept" in warnings[0]
        assert "no permission" in warnings[0]
        store.refuses = False
    text = read_attempt_log(file_store, RUN, 1)
    assert "in data" in text
    assert "cannot be kept" in text


def test_a_credential_is_not_kept(file_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B2_APPLICATION_KEY", "canary-0123456789")
    with keep_attempt_log(file_store, RUN, 1, 0):
        log.info("the key is canary-0123456789")
    assert read_attempt_log(file_store, RUN, 1).endswith("the key is ***\n")


def test_logs_are_listed_by_attempt_and_host(file_store: ObjectStore) -> None:
    for attempt, host in ((10, 0), (2, 1), (2, 0)):
        file_store.put(attempt_log_key(RUN, attempt, host), b"x" * attempt)
    file_store.put(f"runs/{RUN}/logs/other.txt", b"")
    file_store.put(attempt_log_key(RUN + "0", 1, 0), b"")
    found = [(one.attempt, one.host, one.size) for one in list_attempt_logs(file_store, RUN)]
    assert found == [(2, 0, 2), (2, 1, 2), (10, 0, 10)]


def test_an_attempt_without_a_log_says_which_have_one(file_store: ObjectStore) -> None:
    with pytest.raises(AccessError) as caught:
        read_attempt_log(file_store, RUN, 1)
    assert "No attempt" in caught.value.hint
    file_store.put(attempt_log_key(RUN, 2, 0), b"")
    with pytest.raises(AccessError) as caught:
        read_attempt_log(file_store, RUN, 1)
    assert caught.value.hint == "Logs are there of attempt 2."


def test_a_run_keeps_its_log(tmp_path: Path) -> None:
    store, (run,) = prepared(tmp_path, {"x": {"train.epochs": 2}})
    run_job(uri_of(run), lambda _: None)
    assert [(one.attempt, one.host) for one in list_attempt_logs(store, run.run_id)] == [(1, 0)]
    text = read_attempt_log(store, run.run_id, 1)
    assert "attempt 1" in text
    assert "epoch 1: train loss" in text
