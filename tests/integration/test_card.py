"""`octjob card`: what the hub reads of it, what people do, and that its program loads what the run stored."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from doubles.sweep_results import beat, constant, entry, finish, labels, result, skilled, submit, sweep
from doubles.tiny_sweep import fill_bucket, prepared, save_checkpoint, uri_of

from octjob.cli import run as octjob
from octjob.leaderboard.board import build_leaderboard
from octjob.leaderboard.card.page import to_card
from octjob.leaderboard.collect import collect, publish
from octjob.leaderboard.outcome import Outcome, scored
from octjob.records.predictions import read_predictions
from octjob.records.schema import RunEntry
from octjob.run.job import run_job
from octjob.spec.run import Run
from octjob.storage import ObjectStore, open_store

# How huggingface_hub finds the front matter (`repocard.REGEX_YAML_BLOCK`).
HUBS = re.compile(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\n|$))")
CONFIGS: dict[str, dict[str, Any]] = {
    "adamw": {"train.epochs": 2, "train.standardize": True, "model.head.hidden": 8},
    "lbfgs": {"train.optimizer": "LBFGS", "train.standardize": True, "train.l2": 1.0},
    "attentive": {"train.epochs": 2, "model.pool_method": "attentive"},
    "finetune": {"train.epochs": 1, "model.freeze_encoder": False, "train.lr_encoder": 1e-3},
}


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[ObjectStore, dict[str, Run]]:
    folder = tmp_path_factory.mktemp("card")
    fill_bucket(folder / "bucket").write()
    save_checkpoint(folder / "a.pt")
    store, runs = prepared(folder, CONFIGS)
    for run in runs:
        run_job(uri_of(run), lambda progress: None)
    publish(store, collect(store))
    return store, {run.config_name: run for run in runs}


def card(store: ObjectStore, name: str, folder: Path) -> str:
    path = folder / "card.md"
    assert octjob(["card", store.root, name, "-o", str(path)]) == 0
    return path.read_text()


def front_matter(text: str) -> dict[str, Any]:
    match = HUBS.match(text)
    assert match
    assert text[match.end() :].startswith("\n# ")
    loaded: dict[str, Any] = yaml.safe_load(match[2])
    return loaded


def test_the_hub_finds_what_it_needs(carried_out: Any, tmp_path: Path) -> None:
    store, _ = carried_out
    data = front_matter(card(store, "a.lbfgs", tmp_path))
    assert data["license"] == "other"
    assert data["library_name"] == "octjob"
    assert {"oct", "probe"} <= set(data["tags"])
    (model,) = data["model-index"]
    (scored,) = model["results"]
    assert model["name"] == "tiny/a.lbfgs"
    assert scored["task"]["type"] == "image-classification"
    assert scored["dataset"] == {"type": "ai-readi", "name": "AI-READI retinal OCT", "split": "val"}
    (row,) = (row for row in collect(store).rows if row.config == "lbfgs")
    first = scored["metrics"][0]
    assert (first["type"], first["value"]) == ("roc_auc", round(row.value("macro_auroc"), 6))
    estimate = row.metric("accuracy")
    (accuracy,) = (one for one in scored["metrics"] if one["type"] == "accuracy")
    assert accuracy["name"] == f"accuracy (95 % interval {estimate.low:.3f} to {estimate.high:.3f})"


def test_people_find_what_they_need(carried_out: Any, tmp_path: Path) -> None:
    store, runs = carried_out
    text = card(store, "a.finetune", tmp_path)
    result_of = (Path(uri_of(runs["finetune"]).removeprefix("file://")) / "result.json").read_text()
    digest = re.search(r'"weights_digest": "(\w+)"', result_of)
    assert digest
    assert digest[1] in text
    for said in (
        "not a\nmedical device",
        "AI-READI, whose licence forbids sharing",
        "lr_encoder: 0.001",
        "| participants | healthy | pre-diabetes | oral/injectable | insulin |",
        "| train | 5 | 5 | 5 | 5 |",
        "Expected calibration error",
        f"run `{runs['finetune'].run_id}`",
    ):
        assert said in text


@pytest.mark.parametrize("config", CONFIGS)
def test_its_program_predicts_what_the_run_predicted(
    config: str, carried_out: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, runs = carried_out
    program = re.search(r"```python\n(.*?)```", card(store, f"a.{config}", tmp_path), re.DOTALL)
    assert program
    predicted = read_predictions(store, runs[config].run_id)
    participant = predicted.participant[predicted.split == "val"][0]
    bucket = Path(runs[config].config.data.source.removeprefix("file://"))
    (volume,) = (path for path in bucket.rglob("*.dcm") if str(participant) in path.name)
    shutil.copytree(uri_of(runs[config]).removeprefix("file://"), tmp_path / "run")
    shutil.copy(volume, tmp_path / "run/scan.dcm")
    monkeypatch.chdir(tmp_path / "run")
    space: dict[str, Any] = {}
    with torch.no_grad():
        exec(program[1].replace("print(", "probability = ("), space)
    expected = torch.from_numpy(np.array(predicted.logits_NK[predicted.participant == participant]))
    assert torch.allclose(space["probability"].double(), expected[0].double().softmax(0), atol=1e-5)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """A finished run and an unfinished one, by hand."""
    store = open_store(str(tmp_path / "demo"))
    submit(store, [entry("base"), entry("busy")])
    finish(store, entry("base"), skilled(labels((40, 40, 40, 40)), 2.0, seed=1))
    beat(store, entry("busy"), "training")
    return store


def refused(args: list[str], code: int, capfd: pytest.CaptureFixture[str]) -> str:
    capfd.readouterr()
    assert octjob(args) == code
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "hint"]
    return "\n".join(lines)


def test_what_cannot_have_a_card_is_one_line(store: ObjectStore, capfd: pytest.CaptureFixture[str]) -> None:
    said = refused(["card", store.root, "base.linear"], 4, capfd)
    assert "leaderboard.json: not there: the sweep was not collected yet" in said
    publish(store, collect(store))
    assert "has no result yet" in refused(["card", store.root, "busy.linear"], 4, capfd)
    assert "no run nobody" in refused(["card", store.root, "nobody"], 4, capfd)
    assert "-o x.doc: no form" in refused(["report", store.root, "-o", "x.doc"], 2, capfd)
    # Its spec.json is gone.
    assert "spec.json" in refused(["card", store.root, "base.linear"], 4, capfd)


def test_names_of_others_stay_names(carried_out: Any) -> None:
    """What a record of somebody else's says ends neither the front matter, nor a table, nor a block of code."""
    _, runs = carried_out
    awkward = "a: [x]\n---\n| <b> ``` # \"'"
    run_entry = RunEntry(run_id="r", checkpoint=awkward, config="c: {}")
    record = sweep([run_entry]).model_copy(
        update={"name": awkward, "class_short_names": ("<i>", "a|b", "[c](d)", "`e`")}
    )
    predictions = constant(labels((40, 40, 40, 40)))
    made = result(run_entry, predictions, "d", 0.3)
    board = build_leaderboard(record, [Outcome(run_entry, scored(made, predictions, "r", "p"))], num_draws=50)
    row = board.to_dict()["rows"][0]
    source = runs["lbfgs"]
    checkpoint = source.checkpoint.model_copy(update={"uri": "s'\"```\n"})
    text = to_card(
        {"schema": "", **board.to_dict()}, row, made, source.model_copy(update={"checkpoint": checkpoint})
    )
    data = front_matter(text)
    one_line = " ".join(awkward.split())
    assert data["model-index"][0]["name"] == f"{one_line}/{one_line}.c: {{}}"
    match = HUBS.match(text)
    assert match
    body = text[match.end() :]
    assert "<b>" not in re.sub(r"\\<b\\>", "", body)
    assert r"| a\|b |" in body
    code = re.search(r"^(`{3,})python\n(.*?)\n\1$", body, re.DOTALL | re.MULTILINE)
    assert code
    compile(code[2], "card", "exec")
    assert "*collapsed*" in body
    assert "collapsed" in data["tags"]
