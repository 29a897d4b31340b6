"""`octjob collect` and `octjob status` on a sweep that lies in a directory."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow.parquet as pq
import pytest
import sklearn.metrics
from click.testing import CliRunner, Result
from doubles.sweep_results import beat, constant, entry, finish, labels, skilled, submit

from octjob.catalog import RANKING
from octjob.cli.collect import collect as collect_command
from octjob.cli.reports import report as report_command
from octjob.cli.status import status as status_command
from octjob.errors import FailedRunsError, SpecError
from octjob.leaderboard.collect import collect, publish
from octjob.records.layout import (
    PREDICTIONS,
    PROGRESS,
    RESULT,
    has_sweep,
    read_sweep,
    run_key,
    write_sweep,
)
from octjob.records.openings import OpeningRecord, opening_key, record_opening
from octjob.records.predictions import read_predictions
from octjob.records.wait import look_in_store
from octjob.storage import ObjectStore, open_store

LABEL_P = labels((40, 40, 40, 40))
FILES = [
    *(f"leaderboard/leaderboard.{ending}" for ending in ("csv", "json", "md", "parquet")),
    "leaderboard/report.html",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sweeps" / "demo"


@pytest.fixture
def store(folder: Path) -> ObjectStore:
    """Baseline, winner and a collapsed run, all finished."""
    store = open_store(str(folder))
    submit(store, [entry(name) for name in ("base", "winner", "stuck")], baseline="base")
    finish(store, entry("base"), skilled(LABEL_P, 1.0, seed=1))
    finish(store, entry("winner"), skilled(LABEL_P, 4.0, seed=2))
    finish(store, entry("stuck"), constant(LABEL_P))
    return store


def run(*args: str) -> Result:
    return CliRunner().invoke(collect_command, args)


def contents(store: ObjectStore) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list("leaderboard/")}


def test_prints_the_table_and_stores_its_forms(store: ObjectStore, folder: Path) -> None:
    result = run(str(folder))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("rank "))
    assert [line.split()[:5] for line in lines[head + 2 : head + 5]] == [
        ["1", "winner", "linear", "unknown", "ok"],
        ["2", "base", "linear", "unknown", "ok"],
        ["-", "stuck", "linear", "unknown", "collapsed"],
    ]
    assert "\x1b" not in result.output
    assert sorted(contents(store)) == FILES


def test_collecting_again_changes_nothing(store: ObjectStore, folder: Path) -> None:
    first_output = run(str(folder)).output
    first = contents(store)
    assert run(str(folder)).output == first_output
    assert contents(store) == first


def test_no_publish_writes_nothing(store: ObjectStore, folder: Path) -> None:
    assert run(str(folder), "--no-publish").exit_code == 0
    assert contents(store) == {}


def test_stored_files_hold_the_same_numbers(store: ObjectStore) -> None:
    publish(store, collect(store))
    files = contents(store)
    flat = list(csv.DictReader(io.StringIO(files[FILES[0]].decode())))
    nested = json.loads(files[FILES[1]])["rows"]
    typed = pq.read_table(io.BytesIO(files[FILES[3]])).to_pylist()
    markdown = files[FILES[2]].decode()
    for text, record, row in zip(flat, nested, typed, strict=True):
        for name in RANKING:
            assert float(text[name]) == record["metrics"][name]["value"] == row[name]
        auroc = record["metrics"]["macro_auroc"]
        assert f"{auroc['value']:.3f} [{auroc['low']:.2f}, {auroc['high']:.2f}]" in markdown


@pytest.mark.parametrize("output", ["csv", "json", "md"])
def test_printed_formats_are_the_stored_ones(store: ObjectStore, folder: Path, output: str) -> None:
    assert (
        run(str(folder), "-o", output).stdout.encode() == contents(store)[f"leaderboard/leaderboard.{output}"]
    )


def test_the_stored_page_is_that_of_the_report(store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    run(str(folder))
    page = tmp_path / "report.html"
    assert CliRunner().invoke(report_command, [str(folder), "-o", str(page)]).exit_code == 0
    assert page.read_bytes() == contents(store)["leaderboard/report.html"]


def test_a_sweep_without_a_result_has_a_page(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "demo"))
    submit(store, [entry("base"), entry("busy")])
    publish(store, collect(store))
    assert b"No run has a result yet." in contents(store)["leaderboard/report.html"]


def test_other_metric_ranks_by_it(store: ObjectStore, folder: Path) -> None:
    result = run(str(folder), "--metric", "balanced_accuracy", "-o", "json", "--no-publish")
    document = json.loads(result.stdout)
    assert document["metric"] == "balanced_accuracy"
    comparison = document["rows"][0]["vs_checkpoint"]
    values = {row["checkpoint"]: row["metrics"]["balanced_accuracy"]["value"] for row in document["rows"]}
    assert comparison["difference"] == values["winner"] - values["base"]


def test_unfinished_runs_are_counted_on_stderr_and_exit_is_zero(store: ObjectStore, folder: Path) -> None:
    late = [entry("late"), entry("busy")]
    beat(store, late[1], "training")
    store.delete("sweep.json")
    submit(store, [entry("base"), entry("winner"), *late], baseline="base")
    result = run(str(folder))
    assert result.exit_code == 0
    assert "Without a result yet: 2 of 4 runs (1 Running, 1 Pending)." in result.stderr
    assert [row.shown for row in collect(store).rows] == ["ok", "ok", "Running", "Pending"]


def test_failed_run_is_shown_then_exit_five(store: ObjectStore, folder: Path) -> None:
    store.delete("sweep.json")
    submit(store, [entry("base"), entry("broken")], baseline="base")
    beat(store, entry("broken"), "failed", "checkpoint.pt: 3 of 148 parameters missing")
    result = run(str(folder))
    assert isinstance(result.exception, FailedRunsError)
    assert result.exception.exit_code == 5
    assert "broken.linear-0000abcd" in result.exception.message
    assert "checkpoint.pt: 3 of 148 parameters missing" in result.stdout
    assert sorted(contents(store)) == FILES


SPOILT = ("garbled", "newer", "lacking", "gone", "cut")


def change_result(store: ObjectStore, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    key = run_key(entry(name).run_id, RESULT)
    document = json.loads(store.get(key))
    change(document)
    store.put(key, json.dumps(document).encode())


@pytest.fixture
def spoilt(tmp_path: Path) -> ObjectStore:
    """A sweep of six: one whole, and one of each thing that can be wrong with what a finished run left."""
    store = open_store(str(tmp_path / "spoilt"))
    submit(store, [entry(name) for name in ("whole", *SPOILT)], baseline="whole")
    for seed, name in enumerate(("whole", *SPOILT)):
        finish(store, entry(name), skilled(LABEL_P, 3.0, seed=seed))
    store.put(run_key(entry("garbled").run_id, RESULT), b'{"run_id": "garb')
    change_result(store, "newer", lambda document: document.update(schema_version=2))
    change_result(store, "lacking", lambda document: document["evaluation"]["metrics"].pop("macro_f1"))
    store.delete(run_key(entry("gone").run_id, PREDICTIONS))
    cut = run_key(entry("cut").run_id, PREDICTIONS)
    store.put(cut, store.get(cut)[:200])
    return store


def test_what_cannot_be_read_is_a_row_that_says_which_object(spoilt: ObjectStore) -> None:
    rows = {row.checkpoint: row for row in collect(spoilt).rows}
    assert len(rows) == 6
    for name, uri in (
        ("garbled", RESULT),
        ("newer", RESULT),
        ("gone", PREDICTIONS),
        ("cut", PREDICTIONS),
    ):
        assert (rows[name].state, rows[name].rank) == ("Unreadable", None)
        assert spoilt.uri(run_key(entry(name).run_id, uri)) in rows[name].reasons[0]
    assert "schema version 2; this octjob reads version 1" in rows["newer"].reasons[0]


def test_a_metric_that_the_result_lacks_is_computed_from_the_predictions(spoilt: ObjectStore) -> None:
    before = {row.checkpoint: row for row in collect(spoilt).rows}["lacking"]
    assert (before.state, before.verdict) == ("Succeeded", "ok")
    assert before.rank is not None
    assert "reevaluated" in before.flags
    assert "evaluation.metrics lacks macro_f1" in before.reasons[-1]
    predictions = read_predictions(spoilt, entry("lacking").run_id)
    oracle = sklearn.metrics.f1_score(
        predictions.label, predictions.logits_NK.argmax(axis=1), average="macro"
    )
    estimate = before.metric("macro_f1")
    assert estimate is not None
    assert estimate.value == pytest.approx(oracle, abs=1e-12)


def test_what_a_lacking_result_still_says_is_checked(spoilt: ObjectStore) -> None:
    change_result(
        spoilt, "lacking", lambda document: document["evaluation"]["metrics"].update(accuracy=0.999)
    )
    row = {row.checkpoint: row for row in collect(spoilt).rows}["lacking"]
    assert "inconsistent" in row.flags
    assert any("accuracy is 0.9990 in the result" in reason for reason in row.reasons)


def test_the_table_is_printed_and_stored_then_exit_five(spoilt: ObjectStore, tmp_path: Path) -> None:
    result = run(str(tmp_path / "spoilt"))
    assert isinstance(result.exception, FailedRunsError)
    assert "4 of 6 runs cannot be read" in result.exception.message
    assert "(2 ok, 4 Unreadable)" in result.stdout
    assert sorted(contents(spoilt)) == FILES


def test_without_a_single_readable_run_there_is_still_a_table(spoilt: ObjectStore, tmp_path: Path) -> None:
    for name in ("whole", "lacking"):
        spoilt.delete(run_key(entry(name).run_id, PREDICTIONS))
    assert "(6 Unreadable)" in run(str(tmp_path / "spoilt")).stdout


def test_status_shows_every_run_and_names_what_it_cannot_read(spoilt: ObjectStore, tmp_path: Path) -> None:
    change_result(
        spoilt, "lacking", lambda document: document["evaluation"].update(metrics="none", verdict=7)
    )
    result = CliRunner().invoke(status_command, [str(tmp_path / "spoilt")])
    assert result.exit_code == 0
    assert result.stdout.startswith("4 Succeeded, 2 Unreadable")
    assert (
        f"garbled.linear unreadable: {spoilt.uri(run_key(entry('garbled').run_id, RESULT))}" in result.stdout
    )
    assert not look_in_store(spoilt).open


def test_a_heartbeat_that_cannot_be_read_is_no_result(store: ObjectStore, folder: Path) -> None:
    late = entry("late")
    store.delete("sweep.json")
    submit(store, [entry("base"), late], baseline="base")
    store.put(run_key(late.run_id, PROGRESS), b"?")
    assert [row.shown for row in collect(store).rows] == ["ok", "Unreadable"]
    assert look_in_store(store).open == (late.run_id,)


def test_every_table_says_how_often_the_test_split_was_opened(store: ObjectStore, folder: Path) -> None:
    assert "The test split has not been opened." in run(str(folder), "--no-publish").stdout
    moment = datetime(2026, 11, 24, 23, 59, tzinfo=UTC).timestamp()
    record = OpeningRecord(
        run_id=entry("winner").run_id, checkpoint="winner", config="linear", by="ann", reason="", host="h",
        opened_at=moment, weights="best", digest="", octjob="0",
    )  # fmt: skip
    assert record_opening(store, record, []) == 1
    # Two at once, of which neither has seen the other: both count.
    assert record_opening(store, record.model_copy(update={"by": "bob", "opened_at": moment + 1}), []) == 2
    said = "test split opened 2 times: winner.linear by ann on 2026-11-24 (interrupted before a score)"
    assert said in " ".join(run(str(folder)).stdout.split())
    assert said in contents(store)["leaderboard/leaderboard.md"].decode()
    store.put(opening_key(record.run_id, 1), b"?")
    (line,) = [line for line in collect(store).footnotes if "opened" in line]
    assert "opened 2 times" in line
    assert "winner.linear-0000abcd (record 1 cannot be read)" in line


def test_results_of_an_early_version_on_the_test_split_are_said(store: ObjectStore) -> None:
    predictions = skilled(LABEL_P, 3.0, seed=4)
    old = entry("old")
    store.delete("sweep.json")
    submit(store, [entry("base"), old])
    finish(store, old, replace(predictions, split=np.full(len(LABEL_P), "test")))
    assert f"scored on the test split by an early version: {old.run_id}" in collect(store).footnotes[-1]


def test_sweep_file_leads_to_its_output(store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "linear.yaml"
    config.write_text("data: {source: /data}\nclasses: {mapping: {healthy: 0, sick: 1}}\n")
    file = tmp_path / "demo.yaml"
    file.write_text(
        f"name: demo\noutput: {folder.parent}\ncheckpoints: {{base: /base.pt}}\nconfigs: {{linear: linear.yaml}}\n"
    )
    assert run(str(file), "-o", "csv", "--no-publish").stdout == run(str(folder), "-o", "csv").stdout


def test_piped_output_of_the_real_command_has_no_escapes(store: ObjectStore, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "octjob", "collect", str(folder), "-o", "wide"],
        capture_output=True,
        check=True,
        env={**os.environ, "FORCE_COLOR": "1"},
    )
    assert done.stdout.isascii()
    assert b"\x1b" not in done.stdout
    assert b"winner.linear-0000abcd" in done.stdout


def test_what_classes_are_called_may_change_and_be_missing(store: ObjectStore, folder: Path) -> None:
    written = read_sweep(store)
    assert written.class_short_names == ()  # As before there were short names.
    assert collect(store).class_short_names == written.class_names
    named = written.model_copy(update={"class_short_names": ("A", "B", "C", "D")})
    assert not has_sweep(store, named)
    write_sweep(store, named)
    assert has_sweep(store, named)
    assert collect(store).class_short_names == ("A", "B", "C", "D")
    table = run(str(folder), "-o", "wide", "--no-publish").output
    assert "F1: A, B, C, D" in table
    with pytest.raises(SpecError, match="same runs, other settings"):
        write_sweep(store, named.model_copy(update={"class_names": ("a", "b", "c", "d")}))


def test_status_of_the_sweep(store: ObjectStore, folder: Path) -> None:
    result = CliRunner().invoke(status_command, [str(folder)])
    assert result.stdout.startswith("3 Succeeded (1 collapsed)")
    document = json.loads(CliRunner().invoke(status_command, [str(folder), "-o", "json"]).stdout)
    assert [run["checkpoint"] for run in document["runs"]] == ["base", "winner", "stuck"]


def test_watch_needs_a_terminal(store: ObjectStore, folder: Path) -> None:
    result = CliRunner().invoke(status_command, [str(folder), "--watch"])
    assert isinstance(result.exception, SpecError)


def test_metrics_offered_are_those_of_the_leaderboard() -> None:
    option = next(one for one in collect_command.params if one.name == "metric")
    assert tuple(option.type.choices) == RANKING


@pytest.mark.parametrize("command", [collect_command, status_command])
def test_help_has_an_example(command: click.Command) -> None:
    assert "Example:" in CliRunner().invoke(command, ["--help"]).output
