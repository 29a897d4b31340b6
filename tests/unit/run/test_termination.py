"""A container's last words: valid JSON that fits, whatever became of the run, and no secret in it."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from doubles.sweep_results import constant, entry, finish, labels, skilled
from hypothesis import given
from hypothesis import strategies as st

from octjob.cli import run as octjob
from octjob.errors import DataError, Interrupted
from octjob.evaluate import Predictions
from octjob.records.layout import PROGRESS as PROGRESS_NAME
from octjob.records.layout import read_result, run_key, write_spec
from octjob.records.schema import Progress, Result
from octjob.redact import MASK, Redactor
from octjob.run.heartbeat import Heartbeat
from octjob.run.hosts import Host
from octjob.run.termination import MAX_BYTES, Tally, encode_message, last_words
from octjob.storage import ObjectStore
from octjob.storage.file import FileStore

RUN = entry("a")
PROGRESS = Progress(
    run_id=RUN.run_id,
    stage="training",
    attempt=2,
    host="h",
    pid=1,
    started_at=1.0,
    updated_at=2.0,
    epoch=7,
    num_epochs=50,
    best_metric=0.61,
    metric_name="balanced_accuracy",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """As the kubelet makes it: an empty file that must not be replaced."""
    made = tmp_path / "termination-log"
    made.touch()
    return made


@pytest.fixture
def environ(path: Path) -> dict[str, str]:
    return {"OCTJOB_TERMINATION_MESSAGE": str(path), "WANDB_API_KEY": "canary-0123456789"}


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def finished(store: ObjectStore, predictions: Predictions) -> Result:
    finish(store, RUN, predictions)
    result = read_result(store, RUN.run_id)
    assert result is not None
    return result


def test_success_says_the_result(path: Path, environ: dict[str, str], file_store: ObjectStore) -> None:
    with last_words("gs://b/s/runs/a", environ) as words:
        words.host = Host(0, 4, 1)
        words.listen(PROGRESS)
        words.result = result = finished(file_store, skilled(labels(), 3, 0))
    said = read(path)
    metrics = result.evaluation["metrics"]
    assert (said["run"], said["state"], said["exit_code"]) == ("gs://b/s/runs/a", "succeeded", 0)
    assert (said["host"], said["restart"], said["epoch"]) == (0, 1, 7)
    assert said["metrics"]["balanced_accuracy"] == metrics["balanced_accuracy"]
    assert said["metrics"]["macro_auroc"] == metrics["macro_auroc"]
    assert said["collapsed"] is False


def test_collapse_is_said(path: Path, environ: dict[str, str], file_store: ObjectStore) -> None:
    with last_words("gs://b/s/runs/a", environ) as words:
        words.result = finished(file_store, constant(labels()))
    assert read(path)["collapsed"] is True


def test_failure_says_message_and_hint(path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(DataError), last_words("gs://b/s/runs/a", environ):
        raise DataError("b2://x/y.dcm: cannot be decoded", "Mend it.")
    assert read(path) == {
        "run": "gs://b/s/runs/a",
        "state": "failed",
        "exit_code": 3,
        "message": "b2://x/y.dcm: cannot be decoded",
        "hint": "Mend it.",
        "host": 0,
    }


def test_of_several_runs_the_first_that_failed_speaks_and_all_are_counted(
    path: Path, environ: dict[str, str]
) -> None:
    tally = Tally(5)

    def ended(name: str, error: Exception | None = None) -> tuple[str, str, dict[str, int]]:
        with suppress(DataError, Interrupted), last_words(f"gs://b/s/runs/{name}", environ, tally):
            if error is not None:
                raise error
        said = read(path)
        return said["run"][-1], said["state"], said["runs"]

    assert ended("a") == ("a", "succeeded", {"succeeded": 1, "not_begun": 4})
    assert ended("b") == ("b", "succeeded", {"succeeded": 2, "not_begun": 3})
    assert ended("c", DataError("c.pt")) == ("c", "failed", {"succeeded": 2, "failed": 1, "not_begun": 2})
    assert ended("d", DataError("d.pt")) == ("c", "failed", {"succeeded": 2, "failed": 2, "not_begun": 1})
    assert ended("e", Interrupted("stop")) == (
        "c",
        "failed",
        {"succeeded": 2, "failed": 2, "interrupted": 1},
    )
    assert read(path)["message"] == "c.pt"


def test_an_unexpected_error_is_named(path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(ZeroDivisionError), last_words("gs://b/s/runs/a", environ):
        raise ZeroDivisionError("division by zero")
    said = read(path)
    assert (said["exit_code"], said["message"]) == (1, "ZeroDivisionError: division by zero")


@pytest.mark.parametrize("error", [Interrupted("stopped by signal 15, state saved"), KeyboardInterrupt()])
def test_interruption_says_how_far_it_came(path: Path, environ: dict[str, str], error: BaseException) -> None:
    with suppress(type(error)), last_words("gs://b/s/runs/a", environ) as words:
        words.listen(PROGRESS)
        raise error
    said = read(path)
    assert (said["state"], said["exit_code"], said["epoch"], said["num_epochs"]) == ("interrupted", 75, 7, 50)
    assert said["metrics"] == {"balanced_accuracy": 0.61}


def test_no_credential_gets_out(path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(DataError), last_words("gs://b/s/runs/a", environ):
        raise DataError("401 for key canary-0123456789", "canary-0123456789?")
    assert "canary" not in path.read_text()
    assert read(path)["message"] == f"401 for key {MASK}"


def test_redaction_takes_the_longer_of_two_values_first() -> None:
    redact = Redactor({"B2_APPLICATION_KEY": "abcdefgh", "TOKEN": "abcdefgh-more", "HOME": "/home/someone"})
    assert redact("abcdefgh-more abcdefgh /home/someone") == f"{MASK} {MASK} /home/someone"


@pytest.mark.parametrize(
    "name",
    [
        "SMTP_PASS",
        "PROXY_AUTH",
        "GOOGLE_CREDENTIALS",
        "DB_PWD",
        "WANDB_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "PGPASSWORD",
    ],
)
def test_values_of_variables_named_like_credentials_are_masked(name: str) -> None:
    assert Redactor({name: "canary-0123"})("of canary-0123") == f"of {MASK}"


@pytest.mark.parametrize("name", ["GIT_AUTHOR_NAME", "PWD", "COMPASS", "OCTJOB_STORAGE_RETRY_S"])
def test_other_values_stay(name: str) -> None:
    assert Redactor({name: "/home/someone"})("in /home/someone") == "in /home/someone"


def test_no_credential_gets_into_the_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PASS", "canary-0123456789")
    store = FileStore(str(tmp_path))
    for error in (
        DataError("401 for canary-0123456789", "canary-0123456789?"),
        ValueError("canary-0123456789"),
    ):
        Heartbeat(store, "a", lambda progress: None).failed(error)
        assert b"canary" not in store.get(run_key("a", PROGRESS_NAME))
        assert MASK.encode() in store.get(run_key("a", PROGRESS_NAME))


def test_words_longer_than_the_kubelet_reads(path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(DataError), last_words("gs://b/" + "s" * 5000 + "/runs/a", environ):
        raise DataError("ö" * 10_000, "hint " * 2000)
    said = read(path)
    assert path.stat().st_size <= MAX_BYTES
    assert said["message"].startswith("öööö")
    assert said["message"].endswith("…")
    assert said["run"].endswith("/runs/a")


@given(message=st.text(max_size=3000), hint=st.text(max_size=3000))
def test_any_text_fits_and_parses(message: str, hint: str) -> None:
    data = encode_message({"state": "failed", "message": message, "hint": hint}, max_bytes=400)
    assert len(data) <= 400
    said = json.loads(data)
    assert said["state"] == "failed"
    assert message.startswith(said["message"].removesuffix("…"))


def test_without_a_file_nothing_is_written_and_one_that_cannot_be_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with last_words("gs://b/s/runs/a", {}):
        pass
    assert list(tmp_path.iterdir()) == []
    with last_words("gs://b/s/runs/a", {"OCTJOB_TERMINATION_MESSAGE": str(tmp_path / "no/file")}):
        pass
    assert "no/file: cannot be written" in caplog.text


@pytest.fixture
def pod(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OCTJOB_TERMINATION_MESSAGE", str(path))
    monkeypatch.setenv("OCTJOB_NUM_HOSTS", "4")
    return path


def test_the_command_says_what_was_wrong_before_the_run(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert octjob(["train", "--run", "gs://bucket/nonsense"]) == 2
    assert "JOB_COMPLETION_INDEX is not set" in read(pod)["message"]
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    assert octjob(["train", "--run", "gs://bucket/nonsense"]) == 2
    assert "not a run" in read(pod)["message"]
    assert read(pod)["host"] == 1


def test_a_host_that_is_stopped_while_it_waits_for_the_others_says_so(
    pod: Path, monkeypatch: pytest.MonkeyPatch, file_store: ObjectStore
) -> None:
    from doubles.cluster_runs import make_run

    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    monkeypatch.setenv("OCTJOB_COORDINATOR", "127.0.0.1:1")

    def nobody_there(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("connection refused")

    monkeypatch.setattr("octjob.runtime.group.TCPStore", nobody_there)
    run = make_run()
    write_spec(file_store, run)
    assert octjob(["train", "--run", f"{file_store.root}/runs/{run.run_id}"]) == 75
    assert (read(pod)["state"], read(pod)["host"]) == ("interrupted", 1)


def test_hosts_that_are_not_told_where_to_meet_are_refused(
    pod: Path, monkeypatch: pytest.MonkeyPatch, file_store: ObjectStore
) -> None:
    from doubles.cluster_runs import make_run

    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    run = make_run()
    write_spec(file_store, run)
    assert octjob(["train", "--run", f"{file_store.root}/runs/{run.run_id}"]) == 2
    assert "OCTJOB_COORDINATOR does not say where they meet" in read(pod)["message"]
