"""`octjob report` and `octjob card` on what people really have: a page that says so, or one line and a hint."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from doubles.sweep_results import beat, constant, entry, finish, give_spec, labels, skilled, submit

from octjob.cli import run as octjob
from octjob.leaderboard.collect import collect, publish
from octjob.records.layout import PREDICTIONS, RESULT, run_key
from octjob.records.predictions import write_predictions
from octjob.storage import ObjectStore, open_store

LABEL_P = labels((40, 40, 40, 40))
JSON = "leaderboard/leaderboard.json"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, where a report without -o is written."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "sweeps" / "demo"


@pytest.fixture
def store(folder: Path) -> ObjectStore:
    """A baseline and a winner, finished and collected."""
    store = open_store(str(folder))
    submit(store, [entry("base"), entry("winner")], baseline="base")
    finish(store, entry("base"), skilled(LABEL_P, 1.0, seed=1))
    finish(store, entry("winner"), skilled(LABEL_P, 4.0, seed=2))
    give_spec(store, entry("base"))
    publish(store, collect(store))
    return store


def page(store: ObjectStore, *options: str) -> str:
    """The text of the page that `octjob report` writes, without its tags."""
    publish(store, collect(store))
    assert octjob(["report", store.root, "-o", "page.html", *options]) == 0
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", Path("page.html").read_text())))


def refused(args: list[str], code: int, capfd: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """The one line of the error and the hint, without their first words."""
    capfd.readouterr()
    assert octjob(args) == code
    told = capfd.readouterr()
    assert told.out == ""
    error, hint = told.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    return error.removeprefix("error: "), hint.removeprefix("hint: ")


def do(hint: str) -> None:
    """Type the command that a hint quotes: afterwards the report must work."""
    (command,) = re.findall(r"`octjob ([^`]+)`", hint)
    assert octjob(shlex.split(command)) == 0


# Pages that say so


def test_a_sweep_without_runs(folder: Path) -> None:
    store = open_store(str(folder))
    submit(store, [])
    text = page(store)
    assert "No run has a result yet." in text
    assert "0 checkpoints × 0 configurations" in text


def test_no_finished_run(folder: Path) -> None:
    store = open_store(str(folder))
    submit(store, [entry("busy"), entry("broken"), entry("late")])
    beat(store, entry("busy"), "training")
    beat(store, entry("broken"), "failed", "checkpoint.pt: 3 of 148 parameters missing")
    text = page(store)
    assert "No run has a result yet." in text
    assert re.search(r"broken\s+linear\s*: Failed: checkpoint.pt: 3 of 148 parameters missing", text)
    assert re.search(r"busy\s+linear\s*: Running", text)
    assert re.search(r"late\s+linear\s*: Pending", text)


def test_one_run(folder: Path) -> None:
    store = open_store(str(folder))
    submit(store, [entry("only")])
    finish(store, entry("only"), skilled(LABEL_P, 2.0, seed=1))
    text = page(store)
    assert re.search(r"only\s+has macro AUROC 0\.\d+ .* with linear; there is nothing to compare\.", text)
    assert "there is nothing to compare" in text
    assert "the sweep names no baseline checkpoint" in text


def test_nothing_but_collapsed_runs(folder: Path) -> None:
    store = open_store(str(folder))
    submit(store, [entry("a"), entry("b")], baseline="a")
    for name in ("a", "b"):
        finish(store, entry(name), constant(LABEL_P))
    text = page(store)
    assert "Nothing is above chance" in text
    assert "no run is ranked" in text


def test_a_baseline_that_ran_twice_under_one_configuration(folder: Path) -> None:
    """A configuration resubmitted with other keys: the run's name is there twice, so nothing is a lift over it."""
    store = open_store(str(folder))
    again = entry("base").model_copy(update={"run_id": "base.linear-0000beef"})
    submit(store, [entry("base"), again, entry("winner")], baseline="base")
    for number, one in enumerate((entry("base"), again, entry("winner"))):
        finish(store, one, skilled(LABEL_P, 1.0 + number, seed=number))
    text = page(store)
    assert "not compared: base has several runs under linear" in text


def test_predictions_of_other_participants(store: ObjectStore) -> None:
    submit_more(store, "other")
    finish(store, entry("other"), skilled(LABEL_P, 3.0, seed=3, first_id=9000))
    text = page(store)
    assert "scored other participants, labels or classes than the 2 runs that are compared" in text
    assert re.search(r"–\s+other\s+linear", text)


def test_a_result_of_another_version(store: ObjectStore, capfd: pytest.CaptureFixture[str]) -> None:
    change(store, run_key(entry("winner").run_id, RESULT), lambda found: found.update(schema_version=2))
    text = page(store)
    assert "of schema version 2; this octjob reads version 1" in text
    assert "Unreadable" in text
    error, hint = refused(["card", store.root, "winner.linear"], 3, capfd)
    assert f"{store.uri(run_key(entry('winner').run_id, RESULT))}: of schema version 2" in error
    assert hint == "Read it with the octjob that wrote it."


# Errors of one line


def test_nothing_was_submitted_there(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for args in (["report", str(folder)], ["card", str(folder), "base.linear"]):
        error, hint = refused(args, 4, capfd)
        assert f"nothing was submitted to file://{folder}" in error
        assert "the sweep's own directory" in hint


@pytest.mark.parametrize(
    ("baseline", "says"),
    [
        ("[a, b]", "error: two.yaml:3: baseline: expected text, got a list"),
        ("c", "error: two.yaml:3: baseline: no checkpoint named 'c'\nhint: The checkpoints are a, b."),
    ],
)
def test_two_baselines_or_an_unknown_one_in_the_sweep_file(
    folder: Path, baseline: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("two.yaml").write_text(
        f"name: two\noutput: out\nbaseline: {baseline}\n"
        "checkpoints: {a: a.pt, b: b.pt}\nconfigs: {linear: {}}\n"
    )
    for args in (["report", "two.yaml"], ["card", "two.yaml", "a.linear"]):
        assert octjob(args) == 2
        assert capfd.readouterr().err == f"{says}\n"


def test_never_collected(store: ObjectStore, capfd: pytest.CaptureFixture[str]) -> None:
    store.delete(JSON)
    for args in (["report", store.root], ["card", store.root, "base.linear"]):
        error, hint = refused(args, 4, capfd)
        assert error == f"{store.uri(JSON)}: not there: the sweep was not collected yet"
    do(hint)
    assert octjob(["report", store.root]) == 0


def test_runs_that_finished_since(store: ObjectStore, capfd: pytest.CaptureFixture[str]) -> None:
    submit_more(store, "late")
    publish(store, collect(store))
    finish(store, entry("late"), skilled(LABEL_P, 3.0, seed=3))
    for args in (["report", store.root], ["card", store.root, "late.linear"]):
        error, hint = refused(args, 4, capfd)
        assert error == f"{store.uri(JSON)}: 1 run has finished since it was collected"
    do(hint)
    assert octjob(["report", store.root]) == 0


def test_a_sweep_that_was_submitted_again_with_other_runs(
    store: ObjectStore, capfd: pytest.CaptureFixture[str]
) -> None:
    submit_more(store, "late")
    error, hint = refused(["report", store.root], 4, capfd)
    assert "the sweep was submitted with other runs since it was collected" in error
    do(hint)
    assert octjob(["report", store.root]) == 0


def damage(name: str) -> Callable[[dict[str, Any]], Any]:
    """What is left in the place of leaderboard.json."""

    def rows(found: dict[str, Any]) -> None:
        found["rows"] = None

    def headline(found: dict[str, Any]) -> None:
        del found["headline"]["certainty"]

    def version(found: dict[str, Any]) -> None:
        found["schema"] = "octjob.leaderboard/2"

    def older(found: dict[str, Any]) -> None:
        del found["details"]

    def verdict(found: dict[str, Any]) -> None:
        del found["rows"][1]["vs_leader"]

    def stray(found: dict[str, Any]) -> None:
        found["headline"]["leader"] = "nobody"

    def config(found: dict[str, Any]) -> None:
        found["methods"]["configurations"][0]["config"]["train"] = None

    changes = {
        "rows": rows, "headline": headline, "version": version, "older": older, "verdict": verdict, "stray": stray,
        "config": config,
    }  # fmt: skip
    return changes[name]


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("cut", "damaged: it is no JSON object"),
        ("list", "damaged: it is no JSON object"),
        ("rows", "damaged: rows: "),
        ("headline", "damaged: headline.certainty: "),
        ("verdict", "damaged: rows.1.vs_leader is missing"),
        ("stray", "damaged: nobody is named, and has no row"),
        ("config", "damaged: methods.configurations.0.config.train: "),
        ("version", "written by another version of octjob (octjob.leaderboard/2)"),
        ("older", "written by another version of octjob"),
    ],
)
def test_a_leaderboard_that_cannot_be_read(
    store: ObjectStore, what: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if what == "cut":
        store.put(JSON, store.get(JSON)[:500])
    elif what == "list":
        store.put(JSON, b"[]")
    else:
        change(store, JSON, damage(what))
    for args in (["report", store.root], ["card", store.root, "base.linear"]):
        error, hint = refused(args, 3, capfd)
        assert error.startswith(f"{store.uri(JSON)}: {says}")
    do(hint)
    assert octjob(["report", store.root]) == 0


def test_a_table_of_another_collection_is_not_passed_on(
    store: ObjectStore, capfd: pytest.CaptureFixture[str]
) -> None:
    store.put("leaderboard/leaderboard.md", b"# another\n")
    error, hint = refused(["report", store.root, "--format", "md"], 3, capfd)
    assert error.startswith(f"{store.uri('leaderboard/leaderboard.md')}: not the file that")
    do(hint)
    assert octjob(["report", store.root, "--format", "md"]) == 0
    store.delete("leaderboard/leaderboard.csv")
    error, hint = refused(["report", store.root, "--format", "csv"], 4, capfd)
    assert "leaderboard.csv: not there" in error
    do(hint)
    assert octjob(["report", store.root, "--format", "csv"]) == 0


def test_unknown_formats(store: ObjectStore, capfd: pytest.CaptureFixture[str]) -> None:
    error, hint = refused(["report", store.root, "-o", "table.docx"], 2, capfd)
    assert error == "-o table.docx: no form of a report ends in .docx"
    endings = re.findall(r"\.(\w+)", hint)[:5]
    assert {"html", "md", "csv", "tex", "pdf"} == set(endings)
    for ending in set(endings) - {"pdf"}:
        assert octjob(["report", store.root, "-o", f"table.{ending}"]) == 0
    assert octjob(["report", store.root, "-o", "table.docx", "--format", "html"]) == 0
    error, hint = refused(["report", store.root, "-o", "table"], 2, capfd)
    assert "ends in nothing" in error
    capfd.readouterr()
    assert octjob(["report", store.root, "--format", "docx"]) == 2
    assert "'docx' is not one of 'html', 'pdf', 'md', 'tex', 'csv'" in capfd.readouterr().err


def test_outputs_that_cannot_be_written(store: ObjectStore, capfd: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    for output in ("nowhere/page.html", "file/page.html"):
        for args in (["report", store.root], ["card", store.root, "base.linear"]):
            error, hint = refused([*args, "-o", output], 4, capfd)
            assert error.startswith(f"{output}: cannot be written: No")
            assert hint == "Give another file with -o."
    capfd.readouterr()
    assert octjob(["report", store.root, "-o", str(Path.cwd())]) == 2
    assert "is a directory" in capfd.readouterr().err


def test_no_chromium(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    error, hint = refused(["report", store.root, "-o", "page.pdf"], 2, capfd)
    assert error.startswith("--format pdf: none of chromium, ")
    assert hint == "Install Chromium, or write html and print it from a browser."
    assert not Path("page.pdf").exists()
    broken = tmp_path / "empty" / "chromium"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho no display >&2\nexit 1\n")
    broken.chmod(0o755)
    error, hint = refused(["report", store.root, "-o", "page.pdf"], 2, capfd)
    assert error == f"{broken} does not print: no display"
    assert hint == "Print the html from a browser."


def test_runs_that_a_card_cannot_be_of(store: ObjectStore, capfd: pytest.CaptureFixture[str]) -> None:
    submit_more(store, "busy", "wins")
    beat(store, entry("busy"), "training")
    publish(store, collect(store))
    error, hint = refused(["card", store.root, "busy"], 4, capfd)
    assert error == f"run {entry('busy').run_id} has no result yet, so there is nothing to say of it"
    do(hint)
    error, hint = refused(["card", store.root, "winer.linear"], 4, capfd)
    assert "no run winer.linear" in error
    assert entry("winner").run_id in hint
    error, hint = refused(["card", store.root, "wi"], 2, capfd)
    assert "2 runs begin so" in error
    assert hint == "Give more of the id."
    store.delete(run_key(entry("winner").run_id, PREDICTIONS))
    publish(store, collect(store))
    error, hint = refused(["card", store.root, "winner.linear"], 4, capfd)
    assert f"{store.uri(run_key(entry('winner').run_id, PREDICTIONS))}" in error
    write_predictions(store, entry("winner").run_id, skilled(LABEL_P, 4.0, seed=2))
    do(hint)
    give_spec(store, entry("winner"))
    assert octjob(["card", store.root, "winner.linear"]) == 0


def submit_more(store: ObjectStore, *names: str) -> None:
    store.delete("sweep.json")
    submit(store, [entry("base"), entry("winner"), *map(entry, names)], baseline="base")


def change(store: ObjectStore, key: str, how: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads(store.get(key))
    how(document)
    store.put(key, json.dumps(document).encode())
