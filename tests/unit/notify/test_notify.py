"""Events of runs and sweeps that have ended: what receivers hear, over failures and the deaths of collectors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from doubles.receiver import WebhookReceiver
from doubles.sweep_results import beat, entry, finish, labels, skilled, submit
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from octjob import cli, env
from octjob.cli.output import event_schema
from octjob.errors import SpecError
from octjob.notify import Event, Notifier, parse_receiver, run_events, sweep_event
from octjob.notify.receiver import NotTakenError, RefusedError
from octjob.records.state import FINAL, STATES
from octjob.records.status import RunStatus
from octjob.redact import Redactor
from octjob.storage import ObjectStore, open_store

SECRET = "T0SECRET/B0SECRET/xyz"
A, B = entry("a"), entry("b")


@pytest.fixture
def hook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """A sweep of two runs: one has a result, one has failed."""
    store = open_store(str(tmp_path / "demo"))
    submit(store, [A, B])
    finish(store, A, skilled(labels(), 3.0, seed=0))
    beat(store, B, "failed", "no volumes")
    return store


def run(name: str, state: str = "Succeeded", **more: object) -> RunStatus:
    return RunStatus(f"{name}.linear-0000abcd", name, "linear", state, **more)  # type: ignore[arg-type]


def events(*names: str) -> list[Event]:
    return run_events("demo", "gs://bucket/demo", [run(name) for name in names])


def octjob(*args: str) -> tuple[int, str]:
    """Exit code, and all that was said."""
    outcome = CliRunner().invoke(cli.cli, list(args), standalone_mode=False)
    error = outcome.exception
    code = getattr(error, "exit_code", outcome.exit_code)
    words = f"{getattr(error, 'message', '')} {getattr(error, 'hint', '')}" if error else ""
    return code, f"{outcome.output}{words}"


def test_a_collector_tells_every_run_and_the_sweep_once(store: ObjectStore, hook: WebhookReceiver) -> None:
    for _ in range(2):
        code, said = octjob("collect", store.root, "--wait", "--notify", f"{hook.url}/{SECRET}")
        assert code == 5, said
    assert hook.ids[:2] == [f"run.{A.run_id}.succeeded", f"run.{B.run_id}.failed.2"]
    assert hook.ids[2].startswith("sweep.")
    assert len(hook.ids) == 3
    assert set(hook.types) == {"application/cloudevents+json; charset=utf-8"}
    first, second, whole = hook.bodies
    assert {one["specversion"] for one in hook.bodies} == {"1.0"}
    assert first["source"] == store.root
    assert first["type"] == "dev.octjob.run.ended"
    assert first["subject"] == A.run_id
    assert second["data"]["message"] == "no volumes"
    assert second["data"]["state"] == "Failed"
    assert (whole["data"]["num_results"], whole["data"]["num_failed"]) == (1, 1)
    assert store.exists("leaderboard/report.html")
    assert whole["data"]["headline"]
    assert SECRET not in said


def test_what_is_posted_keeps_its_schema(store: ObjectStore, hook: WebhookReceiver) -> None:
    octjob("collect", store.root, "--notify", hook.url)
    validator = Draft202012Validator(event_schema())
    assert [list(validator.iter_errors(body)) for body in hook.bodies] == [[], [], []]


def test_an_open_run_keeps_the_sweep_from_having_ended(store: ObjectStore, hook: WebhookReceiver) -> None:
    beat(store, B, "training")
    code, said = octjob("collect", store.root, "--notify", hook.url)
    assert code == 0, said
    assert hook.ids == [f"run.{A.run_id}.succeeded"]
    finish(store, B, skilled(labels(), 1.0, seed=1))
    octjob("collect", store.root, "--notify", hook.url)
    assert hook.ids[1] == f"run.{B.run_id}.succeeded"
    assert hook.ids[2].startswith("sweep.")
    assert len(hook.ids) == 3


def test_slack_gets_words(hook: WebhookReceiver, store: ObjectStore) -> None:
    shouting = replace(run("a"), message="a < b & c")
    with Notifier(store, [parse_receiver(f"slack={hook.url}")]) as notifier:
        notifier.tell(run_events("demo", "gs://bucket/demo", [shouting]))
        assert notifier.finish() == []
    (body,) = hook.bodies
    assert list(body) == ["text"]
    assert body["text"].startswith("demo: a.linear Succeeded\na &lt; b &amp; c\n")


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_passes_is_tried_again(store: ObjectStore, hook: WebhookReceiver, status: int) -> None:
    hook.answers = [status, status]
    with Notifier(store, [parse_receiver(hook.url)]) as notifier:
        notifier.tell(events("a"))
        assert notifier.finish() == []
    assert len(hook.ids) == 3
    assert len(set(hook.ids)) == 1
    assert hook.bodies[0] == hook.bodies[2]


@pytest.mark.parametrize("status", [400, 404, 410, 302])
def test_a_refusal_is_one_error_and_costs_no_results(
    store: ObjectStore, hook: WebhookReceiver, status: int
) -> None:
    finish(store, B, skilled(labels(), 1.0, seed=1))
    hook.answers = [status] * 9
    code, said = octjob("collect", store.root, "--wait", "--notify", f"{hook.url}/{SECRET}")
    assert code == 4
    assert f"answers {status}" in said
    assert SECRET not in said
    assert len(hook.bodies) == 1
    assert store.exists("leaderboard/report.html")
    hook.answers = []
    code, said = octjob("collect", store.root, "--notify", f"{hook.url}/{SECRET}")
    assert code == 0, said
    assert len(set(hook.ids)) == 3
    assert len(hook.ids) == 4


def test_a_dead_receiver_is_given_up_in_time(store: ObjectStore) -> None:
    with WebhookReceiver() as server:
        url = f"{server.url}/{SECRET}"
    said: list[str] = []
    with Notifier(store, [parse_receiver(url)], said.append, patience_s=0.5) as notifier:
        notifier.tell(events("a", "b"))
        notifier.tell(events("a", "b"))
        (problem,) = notifier.finish()
    assert isinstance(problem, NotTakenError)
    assert problem.exit_code == 1
    assert len(said) == 1
    assert SECRET not in f"{said} {problem.message} {problem.hint}"


def test_a_request_is_bounded_whatever_the_receiver_does(hook: WebhookReceiver) -> None:
    hook.struck = lambda number: time.sleep(5)
    began = time.monotonic()
    with pytest.raises(NotTakenError, match="no answer within"):
        parse_receiver(hook.url).post(b"{}", timeout_s=0.3)
    assert time.monotonic() - began < 2


def collector(store: ObjectStore, url: str) -> subprocess.Popen[bytes]:
    """A process of its own, given the URL by its environment."""
    return subprocess.Popen(
        [sys.executable, "-m", "octjob", "collect", store.root, "--wait"],
        env=os.environ | {env.NOTIFY_URL: url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_killed_between_sending_and_remembering(store: ObjectStore, hook: WebhookReceiver) -> None:
    beat(store, B, "training", at=time.time())
    processes: list[subprocess.Popen[bytes]] = []

    def strike(number: int) -> None:
        if number == 0:
            processes[0].send_signal(signal.SIGKILL)

    hook.struck = strike
    processes.append(collector(store, hook.url))
    assert processes[0].wait(60) == -signal.SIGKILL
    finish(store, B, skilled(labels(), 1.0, seed=1))
    octjob("collect", store.root, "--notify", hook.url)
    # The first was heard twice, as the same bytes; with its id as key each once.
    assert hook.ids.count(f"run.{A.run_id}.succeeded") == 2
    assert hook.bodies[0] == hook.bodies[1]
    assert len(set(hook.ids)) == 3
    assert len(hook.ids) == 4


def test_killed_before_anything_was_sent(store: ObjectStore, hook: WebhookReceiver) -> None:
    script = (
        "import os, sys, octjob.notify.receiver as receiver\n"
        "receiver.Receiver.post = lambda *a, **k: os.kill(os.getpid(), 9)\n"
        "from octjob.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", script, "collect", store.root, "--notify", hook.url]
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == -signal.SIGKILL
    assert hook.ids == []
    octjob("collect", store.root, "--notify", hook.url)
    assert len(hook.ids) == len(set(hook.ids)) == 3


def test_of_several_collectors_at_once_one_sends(store: ObjectStore, hook: WebhookReceiver) -> None:
    names = [f"r{number}" for number in range(8)]

    def tell() -> None:
        with Notifier(store, [parse_receiver(hook.url)], sleep=lambda s: time.sleep(0.02)) as notifier:
            for number in range(len(names)):
                notifier.tell(events(*names[: number + 1]))
            problems.append(notifier.finish())

    problems: list[object] = []
    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [[]] * 4
    assert sorted(hook.ids) == sorted(one.id for one in events(*names))


def test_each_receiver_hears_each_event(store: ObjectStore, hook: WebhookReceiver) -> None:
    urls = [f"{hook.url}/one", f"{hook.url}/two", f"{hook.url}/one"]
    with Notifier(store, [parse_receiver(url) for url in urls]) as notifier:
        notifier.tell(events("a"))
        assert notifier.finish() == []
    assert len(hook.ids) == 2


runs = st.lists(
    st.builds(
        run,
        st.text("abcdef", min_size=1, max_size=3),
        st.sampled_from(STATES),
        attempt=st.none() | st.integers(1, 5),
        message=st.text(max_size=20),
        heartbeat_age_s=st.none() | st.floats(0, 1e6),
        superseded=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda one: one.run_id,
)


@given(runs, st.randoms())
def test_ids_follow_from_what_happened_alone(seen: list[RunStatus], random: object) -> None:
    told = run_events("demo", "gs://bucket/demo", seen)
    later = [replace(one, heartbeat_age_s=1.0, message="other words") for one in seen]
    random.shuffle(later)  # type: ignore[attr-defined]
    again = run_events("demo", "gs://bucket/demo", later)
    ids = [one.id for one in told]
    assert sorted(ids) == sorted(one.id for one in again)
    assert len(set(ids)) == len(ids)
    assert {one.subject for one in told} == {
        one.run_id for one in seen if one.state in FINAL and not one.superseded and _ends(one)
    }
    whole, same = (
        sweep_event("demo", "gs://bucket/demo", which, headline=words)
        for which, words in ((seen, "x"), (later, "y"))
    )
    assert whole.id == same.id


def _ends(one: RunStatus) -> bool:
    # What cannot be read and is no result is a heartbeat, which the next replaces.
    return one.state != "Unreadable" or one.has_result


def test_another_end_of_a_sweep_is_another_event() -> None:
    def id_of(*seen: RunStatus) -> str:
        return sweep_event("demo", "gs://bucket/demo", seen, headline="").id

    ends = {
        id_of(run("a"), run("b", "Failed", attempt=1)),
        id_of(run("a"), run("b", "Failed", attempt=2)),
        id_of(run("a"), run("b")),
    }
    assert len(ends) == 3


@pytest.mark.parametrize(
    "text",
    ["", "hook", f"ftp://example.org/{SECRET}", f"https:///{SECRET}", f"https://h:x/{SECRET}", "slack="],
)
def test_what_is_no_url_is_said_without_it(text: str, store: ObjectStore) -> None:
    with pytest.raises(SpecError) as caught:
        parse_receiver(text)
    assert SECRET not in str(caught.value) + caught.value.hint
    assert "--notify" in caught.value.message


def test_forms() -> None:
    assert parse_receiver("https://hooks.slack.com/services/x").form == "slack"
    assert parse_receiver("cloudevents=https://hooks.slack.com/services/x").form == "cloudevents"
    assert parse_receiver("https://example.org/a=b").form == "cloudevents"
    receiver = parse_receiver(f"https://user:hidden@example.org:8443/{SECRET}?key={SECRET}")
    assert receiver.shown == "https://example.org:8443/***"
    assert SECRET not in repr(receiver)


def test_a_password_in_the_url_is_used(hook: WebhookReceiver) -> None:
    parse_receiver(hook.url.replace("http://", "http://user:word@")).post(b"{}")
    parse_receiver(hook.url).post(b"{}")
    assert hook.credentials == ["Basic dXNlcjp3b3Jk", None]


def test_the_variable_is_a_secret_to_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(env.NOTIFY_URL, f"https://example.org/{SECRET}")
    assert SECRET not in Redactor(os.environ)(f"failed: https://example.org/{SECRET}")


def test_nothing_is_told_where_nothing_may_be_remembered(store: ObjectStore, hook: WebhookReceiver) -> None:
    code, said = octjob("collect", store.root, "--no-publish", "--notify", hook.url)
    assert code == 2
    assert "--no-publish" in said
    assert hook.bodies == []


def test_an_odd_event_is_a_refusal(store: ObjectStore, hook: WebhookReceiver) -> None:
    store.put("notifications/events/run.x.json", b"{}")
    with Notifier(store, [parse_receiver(f"slack={hook.url}")]) as notifier:
        notifier.tell([])
        (problem,) = notifier.finish()
    assert isinstance(problem, RefusedError)
    assert "none that this octjob reads" in problem.message
    assert hook.bodies == []
