"""The logs of a run's pods: merged, bounded, through broken connections and restarts; and those in the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from doubles.kube_documents import Document, condition, ended, jobset, pod
from doubles.sweep_results import beat, entry, submit

from octjob.cli import run as octjob
from octjob.records.layout import attempt_log_key
from octjob.records.textlog import NoLogError, stored_attempt, stored_lines
from octjob.storage import ObjectStore
from octjob.targets.kubernetes.observation import logs as podlogs
from octjob.targets.kubernetes.observation.logs import PodLogs
from octjob.targets.kubernetes.refusal import Forbidden, Unreachable

RUN = entry("a")


class Kubelet:
    """Pods with logs; a script of what the cluster shows at each look, the last one for ever."""

    def __init__(self, *looks: tuple[Document | None, list[Document]]) -> None:
        self.looks = list(looks)
        self.texts: dict[str, list[list[bytes] | Exception]] = {}
        self.num_read = 0
        self.asked: list[dict[str, Any]] = []

    def list(self, resource: Any, selector: str) -> list[Document]:
        return self.looks[0][1]

    def get(self, resource: Any, name: str) -> Document | None:
        return (self.looks.pop(0) if len(self.looks) > 1 else self.looks[0])[0]

    def logs(self, name: str, container: str, **asked: Any) -> Iterator[bytes]:
        self.asked.append({"pod": name, **asked})
        parts = self.texts[name]
        part = parts.pop(0) if len(parts) > 1 else parts[0]
        for line in part:
            if isinstance(line, Exception):
                raise line
            self.num_read += 1
            yield line


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podlogs, "POLL_S", 0.02)
    monkeypatch.setattr(podlogs, "GRACE_S", 0.02)
    monkeypatch.setattr(podlogs, "_NAP_S", 0.01)


def said(*texts: str, start: int = 0) -> list[bytes]:
    """Lines with time stamps a second apart."""
    return [f"2026-11-23T01:24:{start + n:02d}.5Z {text}".encode() for n, text in enumerate(texts)]


def read(kubelet: Kubelet, **options: Any) -> list[tuple[int, str]]:
    reader = PodLogs(kubelet, "a", **options)  # type: ignore[arg-type]
    return [(line.worker, line.text.decode()) for line in reader.lines(reader.pods())]


def follow(kubelet: Kubelet, **options: Any) -> list[tuple[int, str]]:
    reader = PodLogs(kubelet, "a", **options)  # type: ignore[arg-type]
    return [(line.worker, line.text.decode()) for line in reader.follow(lambda: "Queued")]


FINISHED = jobset("a", condition("Completed"), jobs="succeeded")


def test_all_workers_each_in_its_own_order() -> None:
    js = jobset()
    of = [pod(js, index) for index in (1, 0)]
    kubelet = Kubelet((js, of))
    for one in of:
        kubelet.texts[one["metadata"]["name"]] = [said("first", "second", "without a stamp")]
    lines = read(kubelet)
    for worker in (0, 1):
        assert [text for n, text in lines if n == worker] == ["first", "second", "without a stamp"]
    assert {worker for worker, _ in lines} == {0, 1}


def test_one_worker_and_tail_ask_for_no_more() -> None:
    js = jobset()
    of = [pod(js, 0), pod(js, 1)]
    kubelet = Kubelet((js, of))
    kubelet.texts[of[1]["metadata"]["name"]] = [said("last")]
    assert read(kubelet, only=1, tail=1) == [(1, "last")]
    assert [(one["pod"], one["tail"]) for one in kubelet.asked] == [(of[1]["metadata"]["name"], 1)]


def test_only_the_latest_restart_is_shown() -> None:
    js = jobset()
    old, new = pod(js, 0, ended(1)), pod(js, 1, restart=1)
    kubelet = Kubelet((js, [old, new]))
    kubelet.texts = {one["metadata"]["name"]: [said("x")] for one in (old, new)}
    assert read(kubelet) == [(1, "x")]


def test_slow_reader_makes_the_pods_wait() -> None:
    js = jobset()
    of = [pod(js, index) for index in range(4)]
    kubelet = Kubelet((js, of))
    for one in of:
        kubelet.texts[one["metadata"]["name"]] = [[b"x"] * 100_000]
    reader = PodLogs(kubelet, "a", max_waiting=50)  # type: ignore[arg-type]
    lines = reader.lines(reader.pods())
    for _ in range(20):
        next(lines)
    # In the queue 50, in each of four hands one; one more of each may just have been taken.
    assert kubelet.num_read <= 20 + 50 + 2 * 4
    lines.close()  # type: ignore[attr-defined]


def test_refusal_is_an_error() -> None:
    js = jobset()
    of = [pod(js, 0)]
    kubelet = Kubelet((js, of))
    kubelet.texts[of[0]["metadata"]["name"]] = [[Forbidden("no right to get pods/log", status=403)]]  # type: ignore[list-item]
    with pytest.raises(Exception, match="no right to get pods/log"):
        read(kubelet)


def test_broken_connection_neither_loses_nor_repeats_a_line() -> None:
    js = jobset()
    live, over = pod(js, 0), pod(js, 0, ended(0))
    kubelet = Kubelet((js, [live]), (js, [live]), (js, [live]), (FINISHED, [over]))
    everything = said("one", "two", "three", "four")
    kubelet.texts[live["metadata"]["name"]] = [
        [*everything[:2], Unreachable("reset")],  # type: ignore[list-item]
        everything[:3],
        everything,
    ]
    assert follow(kubelet) == [(0, "one"), (0, "two"), (0, "three"), (0, "four")]
    assert kubelet.asked[1]["since"] == "2026-11-23T01:24:01.5Z"


def test_follow_goes_on_in_the_pods_of_the_next_restart() -> None:
    js = jobset()
    again = jobset("a", status={"restarts": 1})
    first, second = pod(js, 0, ended(1)), pod(js, 0, ended(0), restart=1)
    second["metadata"]["name"] += "x"
    kubelet = Kubelet((js, [first]), (again, []), (again, [second]), (FINISHED, [second]))
    kubelet.texts = {
        first["metadata"]["name"]: [said("before")],
        second["metadata"]["name"]: [said("after", start=30)],
    }
    notes: list[str] = []
    assert follow(kubelet, say=notes.append) == [(0, "before"), (0, "after")]
    assert "restart 1: its log follows" in notes


def test_follow_waits_for_pods_and_says_why_once() -> None:
    js = jobset()
    done = pod(js, 0, ended(0))
    kubelet = Kubelet((js, []), (js, []), (js, []), (FINISHED, [done]))
    kubelet.texts[done["metadata"]["name"]] = [said("x")]
    notes: list[str] = []
    assert follow(kubelet, say=notes.append) == [(0, "x")]
    assert notes == ["Queued"]


def test_follow_ends_when_the_jobset_is_gone() -> None:
    assert follow(Kubelet((jobset(), []), (None, []))) == []


# The store


@pytest.fixture
def store(file_store: ObjectStore) -> ObjectStore:
    submit(file_store, [RUN, entry("quiet")])
    beat(file_store, entry("quiet"), "starting")
    for attempt, host, text in (
        (1, 0, "2026-11-23 00:00:01,000 INFO old\n"),
        (
            2,
            0,
            "2026-11-23 00:00:01,000 INFO a\nTraceback\n  File\n2026-11-23 00:00:03,000 INFO c\n",
        ),
        (2, 1, "2026-11-23 00:00:02,000 INFO b\n2026-11-23 00:00:04,000 INFO d\n"),
    ):
        file_store.put(attempt_log_key(RUN.run_id, attempt, host), text.encode())
    return file_store


def stored(store: ObjectStore, attempt: int | None = None, only: int | None = None, **more: Any) -> list[str]:
    logs = stored_attempt(store, RUN.run_id, attempt, only)
    return [
        f"{line.worker} {line.text.decode()[-6:].strip()}"
        for line in stored_lines(store, RUN.run_id, logs, **more)
    ]


def test_stored_logs_are_merged_by_time_and_tracebacks_stay_whole(store: ObjectStore) -> None:
    assert stored(store) == ["0 INFO a", "0 ceback", "0 File", "1 INFO b", "0 INFO c", "1 INFO d"]
    assert stored(store, attempt=1) == ["0 FO old"]
    assert stored(store, only=1) == ["1 INFO b", "1 INFO d"]
    assert stored(store, tail=1) == ["0 INFO c", "1 INFO d"]


def test_what_the_store_has_not_is_said(store: ObjectStore) -> None:
    with pytest.raises(NoLogError) as caught:
        stored(store, attempt=3)
    assert caught.value.hint == "There are those of attempt 1, 2."
    with pytest.raises(NoLogError) as caught:
        stored(store, only=7)
    assert caught.value.hint == "There are those of 0, 1."
    assert stored_attempt(store, "x.y-1") == []


def test_command_reads_a_runs_uri(store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert octjob(["logs", f"{store.root}/runs/a.linear", "--tail", "1"]) == 0
    said_ = capsys.readouterr()
    assert said_.out == "[0] 2026-11-23 00:00:03,000 INFO c\n[1] 2026-11-23 00:00:04,000 INFO d\n"
    assert said_.err == f"-- attempt 2 of run {RUN.run_id}, from the store\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["runs/b.linear"], 4, "no run b.linear in"),
        (["runs/a.liner"], 4, f"There is {RUN.run_id}"),
        (["runs/quiet.linear"], 4, "no log yet: Running"),
        (["runs/a.linear", "-f"], 2, "only pods can be followed"),
        (["runs/a.linear", "-f", "--attempt", "1"], 2, "exclude each other"),
        (["runs/a.linear", "--attempt", "9"], 4, "attempt 9 left no log"),
    ],
)
def test_command_errors(
    store: ObjectStore, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    assert octjob(["logs", f"{store.root}/{arguments[0]}", *arguments[1:]]) == code
    assert words in capsys.readouterr().err
