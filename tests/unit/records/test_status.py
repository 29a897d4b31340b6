"""Where runs stand, from what lies in the store."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from doubles.sweep_results import STARTED_AT, beat, constant, entry, finish, labels, progress, skilled, submit
from rich.console import Console

from octjob.cli.status_table import WIDTH, duration, status_json, status_rich, status_text
from octjob.errors import AccessError
from octjob.records.layout import PROGRESS, run_key
from octjob.records.status import RunStatus, summary, sweep_status, unfinished
from octjob.storage import ObjectInfo, ObjectStore

LABEL_P = labels()
NOW = STARTED_AT + 30


class Counting:
    """Passes calls on to a store and counts them by name."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.calls: dict[str, int] = {"list": 0, "get": 0}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.calls["list"] += 1
        return self._store.list(prefix)

    def get(self, key: str) -> bytes:
        self.calls["get"] += 1
        return self._store.get(key)


@pytest.fixture
def store(file_store: ObjectStore) -> ObjectStore:
    """A run in every state."""
    names = ("pending", "training", "silent", "paused", "broken", "good", "stuck")
    submit(file_store, [entry(name) for name in names])
    beat(file_store, entry("training"), "training")
    beat(file_store, entry("silent"), "encoding", at=NOW - 601)
    beat(file_store, entry("paused"), "interrupted")
    beat(file_store, entry("broken"), "failed", "b2://x/y.dcm: cannot be decoded")
    for name, predictions in (("good", skilled(LABEL_P, 3, 0)), ("stuck", constant(LABEL_P))):
        beat(file_store, entry(name), "finished")
        finish(file_store, entry(name), predictions)
    return file_store


@pytest.fixture
def statuses(store: ObjectStore) -> dict[str, RunStatus]:
    return {one.checkpoint: one for one in sweep_status(store, NOW)}


def test_states(statuses: dict[str, RunStatus]) -> None:
    assert {name: one.state for name, one in statuses.items()} == {
        "pending": "Pending",
        "training": "Running",
        "silent": "Running",
        "paused": "Interrupted",
        "broken": "Failed",
        "good": "Succeeded",
        "stuck": "Succeeded",
    }
    assert [name for name, one in statuses.items() if one.final] == ["broken", "good", "stuck"]


def test_running_run_says_how_far_it_is(statuses: dict[str, RunStatus]) -> None:
    one = statuses["training"]
    assert (one.stage, one.epoch, one.num_epochs, one.best_metric) == ("training", 3, 50, 0.4)
    assert (one.eta_s, one.heartbeat_age_s, one.attempt, one.stalled) == (125.0, 30.0, 2, False)


def test_silence_of_over_ten_minutes_is_asked_about(statuses: dict[str, RunStatus]) -> None:
    assert statuses["silent"].stalled
    assert not statuses["paused"].stalled


def test_failure_and_collapse_carry_their_message(statuses: dict[str, RunStatus]) -> None:
    assert statuses["broken"].message == "b2://x/y.dcm: cannot be decoded"
    assert statuses["broken"].hint == "Mend it."
    assert statuses["stuck"].collapsed
    assert "all 65 predictions are class 0 (healthy)" in statuses["stuck"].message
    assert not statuses["good"].collapsed


def test_one_listing_and_one_read_per_started_run(store: ObjectStore) -> None:
    counting = Counting(store)
    sweep_status(counting, NOW)
    assert counting.calls == {"list": 1, "get": 1 + 6}  # sweep.json, and the six runs that have begun


def test_clock_behind_the_runs_gives_no_negative_age(store: ObjectStore) -> None:
    ages = [one.heartbeat_age_s for one in sweep_status(store, STARTED_AT - 100)]
    assert min(age for age in ages if age is not None) == 0


def test_text_is_plain_and_complete(store: ObjectStore) -> None:
    text = status_text(sweep_status(store, NOW))
    assert text.isascii()
    assert "\x1b" not in text
    assert text.splitlines()[0] == (
        "2 Succeeded (1 collapsed), 2 Running (1 stalled?), 1 Interrupted, 1 Pending, 1 Failed"
    )
    line = next(line for line in text.splitlines() if line.startswith("training"))
    expected = "training linear Running training epoch 3/50 macro_auroc 0.400 2m05s 30s ago"
    assert line.split() == expected.split()
    assert "broken.linear failed: b2://x/y.dcm: cannot be decoded" in text
    assert max(map(len, text.split("\n\n")[1].splitlines())) <= WIDTH


def test_a_repeat_of_the_folds_is_named_where_there_are_several() -> None:
    run = entry("training")
    heartbeat = progress(run, "training")
    in_fold = {"seed": 43, "fold": 2}
    shown = [
        status_text([unfinished(run, heartbeat.model_copy(update={**in_fold, "repeat": repeat}), NOW)])
        for repeat in (0, None)
    ]
    assert "training repeat 0 fold 2 seed 43 epoch 3/50" in shown[0]
    assert "training fold 2 seed 43 epoch 3/50" in shown[1]


def test_json_holds_every_field(store: ObjectStore) -> None:
    document = json.loads(status_json(store.root, sweep_status(store, NOW)))
    assert document["sweep"] == store.root
    assert [run["state"] for run in document["runs"]].count("Succeeded") == 2
    assert document["runs"][1]["eta_s"] == 125.0


def test_no_sweep_here_says_what_to_give(file_store: ObjectStore) -> None:
    with pytest.raises(AccessError) as caught:
        sweep_status(file_store)
    assert file_store.root in caught.value.message
    assert "<output>/<sweep name>" in caught.value.hint


def test_damaged_heartbeat_is_named_in_its_own_line(store: ObjectStore) -> None:
    before = {one.checkpoint: one for one in sweep_status(store, NOW)}
    key = run_key(entry("training").run_id, PROGRESS)
    store.put(key, b"{")
    after = {one.checkpoint: one for one in sweep_status(store, NOW)}
    damaged = after.pop("training")
    assert (damaged.state, damaged.has_result) == ("Unreadable", False)
    assert store.uri(key) in damaged.message
    assert after == {name: one for name, one in before.items() if name != "training"}


def test_summary_of_nothing() -> None:
    assert summary([]) == "no runs"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0s"), (59.6, "1m00s"), (3599, "59m59s"), (7500, "2h05m"), (100_000, "1d03h")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_terminal_shows_the_same_in_colour(store: ObjectStore) -> None:
    statuses = sweep_status(store, NOW)
    console = Console(file=io.StringIO(), force_terminal=True, width=WIDTH, color_system="truecolor")
    console.print(status_rich(statuses, WIDTH), soft_wrap=True)
    shown = console.file.getvalue()
    assert "\x1b[" in shown
    plain = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()]
    assert plain == status_text(statuses).splitlines()
