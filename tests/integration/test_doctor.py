"""`octjob doctor` on sweeps that were really carried out: planted faults are named first, and it says so properly."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from doubles.sweep_results import beat, entry, finish, labels, skilled, submit
from jsonschema import Draft202012Validator

from benchmarks.doctor import FAULTS, LOGISTIC, Fault, Plant, examined
from octjob.cli import run as octjob
from octjob.cli.output import doctor_schema
from octjob.data.groups import SEEN, UNSEEN
from octjob.doctor import heads
from octjob.doctor.case import Finished
from octjob.doctor.cohorts import scorings
from octjob.doctor.examine import cached, finished, places_of, tables_of
from octjob.doctor.finding import Diagnosis
from octjob.doctor.gates.labels import labels as labels_gate
from octjob.doctor.glance import glance
from octjob.doctor.trials import fits
from octjob.leaderboard.collect import collect, read_outcomes
from octjob.leaderboard.export import to_json
from octjob.records.layout import read_sweep
from octjob.report.page import to_html
from octjob.storage import ObjectStore
from octjob.storage.open import open_store


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor")
    assert examined(FAULTS[0], folder, seed=0).first_cause is None
    return folder


def said(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = octjob(["doctor", *args])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_healthy_sweep_passes(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, str(healthy / "sweep.yaml"))
    assert code == 0
    board = collect(open_store(str(healthy / "out/tiny")), examine=glance)
    assert [gate.verdict for gate in board.gates if gate.verdict == "failed"] == []
    assert not any("octjob doctor" in text for text in board.warnings)
    assert out.startswith("Nothing found in 4 runs")
    assert "failed" not in out


def test_one_run_is_examined_by_name_and_by_uri(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = healthy / "out/tiny"
    (run,) = (path.name for path in (sweep / "runs").iterdir() if path.name.startswith("a.head"))
    by_name = said(capsys, str(sweep), "a.head")
    by_uri = said(capsys, f"{sweep}/runs/{run}")
    assert by_name == by_uri
    assert by_name[0] == 0
    assert "2 runs" in by_name[1]


@pytest.mark.parametrize("name", ["result.json", "predictions.parquet"])
def test_a_damaged_result_is_a_cause_and_not_left_out(
    name: str, healthy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(healthy / "out/tiny", tmp_path / "tiny")
    (path,) = (tmp_path / "tiny/runs").glob(f"a.head-*/{name}")
    path.write_bytes(path.read_bytes()[:100])
    code, out, _ = said(capsys, str(tmp_path / "tiny"))
    assert code == 5
    assert f"First cause: a.head failed: file://{path}" in " ".join(out.split())
    assert f"remove the folder runs/{path.parent.name} and submit the sweep again" in " ".join(out.split())


def test_evidence_has_the_numbers_of_cached_features(
    healthy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = said(capsys, str(healthy / "out/tiny"), "-o", "wide")
    assert "a: debiased linear CKA 0." in out
    assert "(108 volumes) with untrained" in out


def test_who_was_in_pretraining_is_counted_and_not_who_was_looked_up(healthy: Path) -> None:
    store = open_store(str(healthy / "out/tiny"))
    (one, *_) = [one for one in read_outcomes(store, read_sweep(store)) if one.scored is not None]
    assert one.scored is not None
    for seen, words in (
        (2, "2 of those scored were"),
        (1, "1 of those scored was"),
        (0, "none of those scored was"),
    ):
        groups = {str(number): SEEN if number < seen else UNSEEN for number in range(4)}
        result = one.scored.result.model_copy(
            update={"data": one.scored.result.data | {"groups": {"pretraining": groups}}}
        )
        (scoring,) = scorings([Finished("a.head", replace(one.scored, result=result), None)])
        assert any(text.startswith(words) for text in labels_gate([scoring]).evidence)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS[:2], ids=lambda fault: fault.name)
def test_a_fit_on_cached_features_is_the_run_that_it_stands_for(
    fault: Fault, healthy: Path, tmp_path: Path
) -> None:
    folder = healthy if fault is FAULTS[0] else tmp_path
    if fault is not FAULTS[0]:
        examined(fault, folder, seed=0)
    store = open_store(str(folder / "out/tiny"))
    runs = finished(store, [one for one in read_outcomes(store, read_sweep(store)) if one.scored is not None])
    linear, recorded = heads.linear(runs), heads.recorded_fits(runs)
    assert linear.keys() == recorded.keys()
    kept, _ = cached(runs)
    found, missing = fits(linear, places_of(runs), kept, tables_of(runs))
    assert missing == ()
    assert found.keys() == recorded.keys()
    for shared, fit in found.items():
        assert fit.log_loss == pytest.approx(recorded[shared].log_loss, abs=1e-6)
        first, second = fit.scores, recorded[shared].scores
        assert first.participant_P.tolist() == second.participant_P.tolist()
        assert np.allclose(first.probability_SPK[0], second.probability_SPK[0], atol=1e-6)


@pytest.mark.slow
def test_a_head_that_stopped_early_needs_no_fit_in_its_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (fault,) = [one for one in FAULTS if one.gate == "optimum"]
    assert examined(fault, tmp_path, seed=0).first_cause == "optimum"
    code, out, _ = said(capsys, str(tmp_path / "out/tiny"), "-o", "json")
    (finding,) = [one for one in json.loads(out)["findings"] if one["gate"] == "optimum"]
    assert code == 5
    assert finding["verdict"] == "failed", finding
    assert "nats above what logistic regression on its cached features reaches" in finding["said"]
    assert finding["cure"] == "train.optimizer: LBFGS"


def test_json_is_what_its_schema_says(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, str(healthy / "out/tiny"), "-o", "json")
    document = json.loads(out)
    assert code == 0
    assert list(Draft202012Validator(doctor_schema()).iter_errors(document)) == []
    assert document["first_cause"] is None
    assert [one["gate"] for one in document["findings"]][:3] == ["coverage", "labels", "weights"]


def test_nothing_is_written(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in healthy.rglob("*")}
    said(capsys, str(healthy / "out/tiny"))
    assert {path: path.stat().st_mtime_ns for path in healthy.rglob("*")} == before


def first_named(fault: Fault, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = examined(fault, folder, seed=0)
    assert found.first_cause == fault.gate, found
    code, out, _ = said(capsys, str(folder / "out/tiny"))
    assert code == 5
    assert out.startswith("First cause:")
    assert "\nCure: " in out
    beside_the_table(found, open_store(str(folder / "out/tiny")))


def beside_the_table(found: Diagnosis, store: ObjectStore) -> None:
    """What `collect` says below its table of these runs is what the doctor says, as far as records alone tell it."""
    board = collect(store, examine=glance)
    told = {one.gate: (one.verdict, one.said, one.cure) for one in found.findings}
    for gate in board.gates:
        if gate.name in ("features", "prior"):
            assert gate.verdict != "failed"
        elif gate.name != "labels" and found.num_runs:
            assert (gate.verdict, gate.said, gate.cure) == told[gate.name]
    named = [text for text in board.warnings if text.startswith("octjob doctor")]
    failed = [gate for gate in board.gates if gate.verdict == "failed"]
    assert len(named) == min(1, len(failed))
    assert all(f"({failed[0].name})" in text and failed[0].said in text for text in named)
    assert "What the records say is wrong" in to_html(json.loads(to_json(board)))


TRIED = (
    "wrong encoder taken",
    "two of three sites left out",
    "labels shifted by one",
    "labels shifted by one, in place",
    "a participant in two splits",
    "one scan under two ids, across splits",
    "preprocessing mismatch",
    "learning rate zero",
    "identical checkpoints",
    "a head key that changes nothing",
    "fine-tuning that leaves its encoder",
    "unweighted 12 : 1",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIED)
def test_a_planted_fault_is_named_first(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (fault,) = (one for one in FAULTS if one.name == name)
    first_named(fault, tmp_path, capsys)


def test_records_of_before_are_not_judged(
    file_store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(file_store, [entry("done")])
    finish(file_store, entry("done"), skilled(labels(), 3, 0))
    code, out, _ = said(capsys, file_store.root)
    assert code == 0
    assert "not judged  coverage          coverage by site and split is not recorded" in out


def test_a_sweep_without_a_finished_run_is_one_line(
    file_store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(file_store, [entry("new")])
    code, out, err = said(capsys, file_store.root)
    assert (code, out) == (4, "")
    assert err.startswith(f"error: {file_store.root}: no finished run to diagnose\nhint: `octjob status ")


def test_a_place_without_a_sweep_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, str(tmp_path))
    assert (code, out) == (4, "")
    assert "nothing was submitted" in err


def test_runs_that_failed_are_the_cause_where_none_finished(
    file_store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(file_store, [entry("one"), entry("two")])
    for name in ("one", "two"):
        beat(file_store, entry(name), "failed", "participants.tsv:9: 3 cells for 6 columns")
    code, out, _ = said(capsys, file_store.root)
    assert code == 5
    assert out.startswith(
        "First cause: 2 runs failed: participants.tsv:9: 3 cells for 6 columns (runs).\nCure: Mend"
    )
    assert "not judged  features          cannot be judged until a run has finished" in out


@pytest.mark.slow
def test_random_initialisations_are_what_features_are_judged_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    controls = {"random_init": {"seeds": 5}}
    fault = Fault("none", None, lambda: Plant(configs={"logistic": LOGISTIC}, sweep={"controls": controls}))
    assert examined(fault, tmp_path, seed=0).first_cause is None
    code, out, _ = said(capsys, str(tmp_path / "out/tiny"), "-o", "wide")
    words = " ".join(out.split())
    assert code == 0
    assert "passed features a.logistic is above untrained by 0." in words
    assert "a.logistic over 5 untrained encoders (0." in words
    assert "a.logistic over untrained (0." in words
    assert "with 6 untrained encoders, " in words
    board = collect(open_store(str(tmp_path / "out/tiny")), examine=glance)
    (of_features,) = [gate for gate in board.gates if gate.name == "features"]
    assert of_features.said in words
    (row,) = [row for row in board.rows if row.name == "a.logistic"]
    assert row.lift is not None
    lift = f"macro_auroc {row.lift.value:+.3f} [{row.lift.low:.3f}, {row.lift.high:.3f}]"
    assert lift in words.split("a.logistic over 5 untrained encoders (0.")[1][:60]


def test_a_data_set_that_was_replaced_is_not_looked_at(
    healthy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = healthy / "bucket/participants.tsv"
    before = table.read_text()
    table.write_text(before.replace("\n1", "\n9"))
    try:
        code, out, _ = said(capsys, str(healthy / "out/tiny"), "-o", "wide")
    finally:
        table.write_text(before)
    assert code == 0
    assert "another data set now; not looked at" in " ".join(out.split())


def test_a_run_that_is_named_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, f"{tmp_path}/runs/a.head-1", "a.head")
    assert code == 2
    assert "names a run already" in err


def test_a_cache_that_is_gone_costs_only_what_was_in_it(
    healthy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = healthy / "out/cache"
    moved = cache.rename(tmp_path / "cache")
    try:
        code, out, _ = said(capsys, str(healthy / "out/tiny"), "-o", "wide")
    finally:
        moved.rename(cache)
    assert code == 0
    assert "cached features: none of a, untrained" in out
    assert open_store(str(healthy / "out/tiny")).list("runs/")
