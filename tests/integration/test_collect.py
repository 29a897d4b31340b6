"""`octjob collect` and `octjob status` on a sweep that lies in a directory."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from doubles.sweep_results import beat, constant, entry, finish, labels, skilled, submit

from octjob.cli.collect import collect as collect_command
from octjob.cli.status import status as status_command
from octjob.errors import DataError, FailedRunsError, SpecError
from octjob.results.collect import collect, publish
from octjob.results.layout import PREDICTIONS, run_key
from octjob.results.outcome import METRICS
from octjob.storage import ObjectStore, open_store

LABEL_P = labels((40, 40, 40, 40))
FILES = [f"leaderboard/leaderboard.{ending}" for ending in ("csv", "json", "md", "parquet")]


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


def test_prints_the_table_and_stores_four_files(store: ObjectStore, folder: Path) -> None:
    result = run(str(folder))
    assert result.exit_code == 0
    assert [line.split()[:4] for line in result.stdout.splitlines()[4:7]] == [
        ["1", "winner", "linear", "ok"],
        ["2", "base", "linear", "ok"],
        ["-", "stuck", "linear", "collapsed"],
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
        for name in METRICS:
            assert float(text[name]) == record["metrics"][name]["value"] == row[name]
        auroc = record["metrics"]["macro_auroc"]
        assert f"{auroc['value']:.3f} [{auroc['low']:.2f}, {auroc['high']:.2f}]" in markdown


@pytest.mark.parametrize("output", ["csv", "json", "md"])
def test_printed_formats_are_the_stored_ones(store: ObjectStore, folder: Path, output: str) -> None:
    assert (
        run(str(folder), "-o", output).stdout.encode() == contents(store)[f"leaderboard/leaderboard.{output}"]
    )


def test_other_metric_ranks_by_it(store: ObjectStore, folder: Path) -> None:
    result = run(str(folder), "--metric", "balanced_accuracy", "-o", "json", "--no-publish")
    document = json.loads(result.stdout)
    assert document["metric"] == "balanced_accuracy"
    comparison = document["rows"][0]["comparison"]
    values = {row["checkpoint"]: row["metrics"]["balanced_accuracy"]["value"] for row in document["rows"]}
    assert comparison["difference"] == values["winner"] - values["base"]


def test_unfinished_runs_are_counted_on_stderr_and_exit_is_zero(store: ObjectStore, folder: Path) -> None:
    late = [entry("late"), entry("busy")]
    beat(store, late[1], "training")
    store.delete("sweep.json")
    submit(store, [entry("base"), entry("winner"), *late], baseline="base")
    result = run(str(folder))
    assert result.exit_code == 0
    assert "Without a result yet: 2 of 4 runs (1 missing, 1 running)." in result.stderr
    assert [row.state for row in collect(store).rows] == ["ok", "ok", "running", "missing"]


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


def test_damaged_predictions_are_one_error_naming_the_uri(store: ObjectStore, folder: Path) -> None:
    key = run_key(entry("winner").run_id, PREDICTIONS)
    store.put(key, store.get(key)[:200])
    result = run(str(folder))
    assert isinstance(result.exception, DataError)
    assert result.exception.message.startswith(store.uri(key))
    assert contents(store) == {}


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
    assert tuple(option.type.choices) == METRICS


@pytest.mark.parametrize("command", [collect_command, status_command])
def test_help_has_an_example(command: click.Command) -> None:
    assert "Example:" in CliRunner().invoke(command, ["--help"]).output
