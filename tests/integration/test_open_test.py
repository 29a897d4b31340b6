"""The test split: scored by `octjob open-test` alone, with the weights the run was scored with, on the record."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from doubles.tiny_sweep import fill_bucket, prepared, save_checkpoint, submitted, sweep_file, uri_of

from octjob.cli import run as octjob
from octjob.data.quarantine import Quarantine
from octjob.errors import SpecError
from octjob.evaluate import Predictions
from octjob.records.layout import SPEC, run_key
from octjob.records.openings import opening_key, read_openings
from octjob.records.predictions import decode_predictions, read_predictions
from octjob.run.inputs import load_cohort, load_encoder
from octjob.run.job import run_job
from octjob.run.restored import predict, read_weights, restore
from octjob.run.shared import Shared
from octjob.runtime.single import Single
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store

SPLITS = {"train": 4, "val": 3, "test": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "adamw": {
        "train.epochs": 3,
        "train.standardize": True,
        "model.head.dropout": 0.2,
        "data.val_batch_size": 5,
    },
    "mlp": {"train.epochs": 2, "model.head.hidden": 8, "train.class_weights": "auto"},
    "attentive": {"train.epochs": 2, "model.pool_method": "attentive"},
    "stopped": {
        "train.epochs": 4,
        "train.lr_head": 0.05,
        "train.early_stopping": {"enabled": True, "patience": 1, "holdout": 0.3},
    },
    "lbfgs": {"train.optimizer": "LBFGS", "train.standardize": True, "train.l2": 1.0},
    "raw": {"train.optimizer": "LBFGS", "train.l2": 1.0},
    "finetune": {"train.epochs": 2, "model.freeze_encoder": False, "train.lr_encoder": 1e-3},
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    fill_bucket(folder / "bucket", **SPLITS).write()
    save_checkpoint(folder / "a.pt")
    return folder


def finished(inputs: Path, folder: Path, config: dict[str, Any], **changes: Any) -> tuple[ObjectStore, Run]:
    """A sweep of one run, carried out, with a bucket and a checkpoint of its own to spoil."""
    shutil.copytree(inputs, folder, dirs_exist_ok=True)
    store, (run,) = prepared(folder, {"c": config}, **changes)
    run_job(uri_of(run), lambda progress: None)
    return store, run


@pytest.fixture
def one(inputs: Path, tmp_path: Path) -> tuple[ObjectStore, Run]:
    return finished(inputs, tmp_path, CONFIGS["lbfgs"])


def restored(store: ObjectStore, run: Run) -> Predictions:
    """The run's stored weights on every volume of its own cohort, by the code that scores the test split."""
    shared = Shared()
    loaded = load_encoder(run, shared, lambda done, total: None)
    cohort, apply = restore(
        run,
        loaded,
        load_cohort(run, shared),
        open_store(run.cache),
        Single("cpu"),
        Quarantine(),
        lambda done, total: None,
    )
    return predict(run, cohort.volumes, apply, read_weights(store, run).by_unit)


def of_opening(store: ObjectStore, run: Run, number: int = 1) -> Predictions:
    return decode_predictions(store.get(opening_key(run.run_id, number, "predictions")))


def evaluation_of(store: ObjectStore, run: Run, number: int = 1) -> dict[str, Any]:
    document = json.loads(store.get(opening_key(run.run_id, number, "evaluation")))
    evaluation: dict[str, Any] = document["evaluation"]
    return evaluation


def rows(predictions: Predictions) -> dict[tuple[str, ...], np.ndarray]:
    """Logits by who was scored by which unit; everybody has one volume."""
    columns = (predictions.participant, predictions.seed, predictions.repeat, predictions.fold)
    keys = zip(*(column.astype(str).tolist() for column in columns), strict=True)
    return dict(zip(keys, predictions.logits_NK, strict=True))


def refused(args: list[str], code: int, capfd: pytest.CaptureFixture[str]) -> str:
    """The one error line and its hint."""
    capfd.readouterr()
    assert octjob(args) == code
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith(("error: ", "hint: "))]
    assert [line.split(":")[0] for line in lines] == ["error", "hint"]
    return " ".join(lines)


@pytest.mark.parametrize("name", CONFIGS)
def test_stored_weights_repeat_the_stored_predictions_bit_for_bit(
    inputs: Path, tmp_path: Path, name: str
) -> None:
    store, run = finished(inputs, tmp_path, CONFIGS[name], seeds=[0, 1])
    again, stored = rows(restored(store, run)), rows(read_predictions(store, run.run_id))
    assert len(stored) == 2 * 4 * SPLITS["val"]
    for who, logits_K in stored.items():
        assert np.array_equal(again[who], logits_K)


@pytest.mark.parametrize("name", ["adamw", "lbfgs"])
def test_every_fold_of_every_repeat_is_a_model_of_the_mean(inputs: Path, tmp_path: Path, name: str) -> None:
    folds = {"protocol": "folds", "folds": 2, "repeats": 2}
    store, run = finished(inputs, tmp_path, CONFIGS[name], evaluate=folds, seeds=[0, 1])
    again, stored = rows(restored(store, run)), rows(read_predictions(store, run.run_id))
    for who, logits_K in stored.items():
        assert np.array_equal(again[who], logits_K)

    assert octjob(["open-test", store.root, "a.c"]) == 0
    predicted = of_opening(store, run)
    assert len(rows(predicted)) == len(predicted.label) == 4 * SPLITS["test"] * run.num_units
    probability_NK = np.exp(predicted.logits_NK - np.logaddexp.reduce(predicted.logits_NK, 1, keepdims=True))
    units = np.stack([predicted.seed, predicted.repeat, predicted.fold], axis=1)
    auroc_U = []
    for unit in np.unique(units, axis=0):
        of_unit = (units == unit).all(axis=1)
        auroc_U.append(
            sklearn.metrics.roc_auc_score(
                predicted.label[of_unit], probability_NK[of_unit], multi_class="ovr", average="macro"
            )
        )
    assert len(auroc_U) == run.num_units > 4
    assert evaluation_of(store, run)["metrics"]["macro_auroc"] == pytest.approx(np.mean(auroc_U), abs=1e-12)


def test_scores_exactly_the_test_participants(
    one: tuple[ObjectStore, Run], inputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store, run = one
    before = {info.key: store.get(info.key) for info in store.list("runs/")}
    assert octjob(["open-test", store.root, "a.c", "--by", "ann", "--reason", "the final number"]) == 0
    said = capfd.readouterr()

    table = (inputs / "bucket" / "participants.tsv").read_text().splitlines()
    head = table[0].split("\t")
    people = [dict(zip(head, line.split("\t"), strict=True)) for line in table[1:]]
    of_test = {person["participant_id"] for person in people if person["recommended_split"] == "test"}
    predicted = of_opening(store, run)
    assert len(of_test) == 4 * SPLITS["test"]
    assert sorted(predicted.participant.tolist()) == sorted(of_test)
    assert set(predicted.split.tolist()) == {"test"}

    accuracy = sklearn.metrics.accuracy_score(predicted.label, predicted.logits_NK.argmax(axis=1))
    evaluation = evaluation_of(store, run)
    assert (evaluation["split"], evaluation["metrics"]["accuracy"]) == ("test", accuracy)
    interval = evaluation["intervals"]["accuracy"]
    line = f"{'accuracy':<18} {accuracy:.3f} [{interval['low']:.2f}, {interval['high']:.2f}]"
    assert line in said.out.splitlines()
    assert "n = 8 participants" in said.out

    opening = json.loads(store.get(opening_key(run.run_id, 1)))
    weights = store.get(run_key(run.run_id, "checkpoint/best-seed42-repeat0-fold0.safetensors"))
    digest = hashlib.sha256(store.get(run_key(run.run_id, SPEC)) + hashlib.sha256(weights).digest())
    assert opening["digest"] == digest.hexdigest()
    assert (opening["by"], opening["reason"], opening["weights"]) == ("ann", "the final number", "best")
    # What the run left is as it was.
    assert {key: store.get(key) for key in before} == before


def test_a_second_opening_is_counted_and_said(
    one: tuple[ObjectStore, Run], capfd: pytest.CaptureFixture[str]
) -> None:
    store, run = one
    assert octjob(["open-test", store.root, "a.c", "--by", "ann"]) == 0
    first = {info.key: store.get(info.key) for info in store.list(f"runs/{run.run_id}/test/")}
    capfd.readouterr()
    assert octjob(["open-test", store.root, run.run_id, "--by", "bob"]) == 0
    said = capfd.readouterr().err
    assert "The test split of this sweep has been opened once: a.c by ann on " in said
    assert "This is opening 2" in said
    assert [(one.number, one.scored) for one in read_openings(store)] == [(1, True), (2, True)]
    assert {key: store.get(key) for key in first} == first
    assert np.array_equal(of_opening(store, run, 2).logits_NK, of_opening(store, run, 1).logits_NK)
    octjob(["collect", store.root])
    assert "test split opened 2 times: a.c by ann on " in " ".join(capfd.readouterr().out.split())


def test_an_opening_without_a_score_stays_counted(
    one: tuple[ObjectStore, Run], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _run = one

    def killed(*args: Any) -> Predictions:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("octjob.run.opening.predict", killed)
        assert octjob(["open-test", store.root, "a.c", "--by", "ann"]) == 75
    assert [(one.number, one.scored) for one in read_openings(store)] == [(1, False)]
    capfd.readouterr()
    assert octjob(["open-test", store.root, "a.c", "--by", "ann"]) == 0
    assert "(interrupted before a score)" in capfd.readouterr().err
    assert [(one.number, one.scored) for one in read_openings(store)] == [(1, False), (2, True)]


def test_weights_of_the_last_epoch_serve_where_the_scored_ones_were_not_kept(
    inputs: Path, tmp_path: Path
) -> None:
    store, _run = finished(inputs, tmp_path, {**CONFIGS["adamw"], "log.save_best": False})
    assert octjob(["open-test", store.root, "a.c"]) == 0
    assert [one.record.weights for one in read_openings(store) if one.record] == ["last"]


def test_a_run_that_kept_no_weights_names_the_key_that_keeps_them(
    inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = {**CONFIGS["lbfgs"], "log.save_best": False, "log.save_last": False}
    store, _run = finished(inputs, tmp_path, config)
    said = refused(["open-test", store.root, "a.c"], 4, capfd)
    assert "kept no weights to score" in said
    assert "`log.save_best: true` keeps them" in said
    assert read_openings(store) == []


def test_a_run_without_a_result_is_not_opened(
    inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    store, (run,) = prepared(tmp_path, {"c": CONFIGS["lbfgs"]})
    said = refused(["open-test", store.root, "a.c"], 4, capfd)
    assert f"run {run.run_id} has no result yet" in said
    assert read_openings(store) == []


def _move_to_test(folder: Path) -> None:
    path = folder / "bucket" / "participants.tsv"
    path.write_text(path.read_text().replace("train", "test", 1))


def _replace_checkpoint(folder: Path) -> None:
    save_checkpoint(folder / "a.pt", seed=7)


def _damage_weights(folder: Path) -> None:
    (path,) = folder.glob("out/tiny/runs/*/checkpoint/best-*.safetensors")
    path.write_bytes(b"?")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_move_to_test, "participants at UW in split test, and"),
        (_replace_checkpoint, "the run was trained on"),
        (_damage_weights, "not readable weights"),
    ],
)
def test_what_is_not_the_runs_any_more_is_refused_before_the_opening(
    one: tuple[ObjectStore, Run],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    message: str,
) -> None:
    store, _ = one
    spoil(tmp_path)
    assert message in refused(["open-test", store.root, "a.c"], 3, capfd)
    assert read_openings(store) == []


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["a.d"], 4, "no run a.d"),
        (["a.c", "--by", " "], 2, "--by: nobody is named"),
    ],
)
def test_wrong_arguments_are_one_line(
    one: tuple[ObjectStore, Run],
    capfd: pytest.CaptureFixture[str],
    args: list[str],
    code: int,
    message: str,
) -> None:
    assert message in refused(["open-test", one[0].root, *args], code, capfd)


@pytest.mark.parametrize("where", ["config", "sweep"])
def test_no_run_scores_the_test_split(tmp_path: Path, capfd: pytest.CaptureFixture[str], where: str) -> None:
    data = {"source": f"{tmp_path}/bucket", **({"eval_split": "test"} if where == "sweep" else {})}
    path = sweep_file(tmp_path, {"c": {"data.eval_split": "test"} if where == "config" else {}}, data=data)
    line = 1 + [text.strip().split(":")[0] for text in path.read_text().splitlines()].index(
        "eval_split" if where == "sweep" else "data.eval_split"
    )
    said = refused(["plan", "--matrix", str(path)], 2, capfd)
    assert f"{path}:{line}: data.eval_split: no run scores the test split" in said
    assert "octjob open-test SWEEP RUN" in said


def test_a_spec_of_an_early_version_does_not_score_it_either(inputs: Path, tmp_path: Path) -> None:
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    store, plan = submitted(sweep_file(tmp_path, {"c": CONFIGS["lbfgs"]}))
    key = run_key(plan.runs[0].run_id, SPEC)
    spec = json.loads(store.get(key))
    spec["config"]["data"]["eval_split"] = "test"
    store.put(key, json.dumps(spec).encode())
    with pytest.raises(SpecError, match="no run scores the test split"):
        run_job(uri_of(plan.runs[0]), lambda progress: None)
