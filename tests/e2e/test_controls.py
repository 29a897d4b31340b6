"""A sweep with controls, from the sweep file to the table: what looks at no volume, beside what does."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from doubles.aireadi_bucket import Bucket, speckle
from doubles.octjobs import Octjobs
from doubles.tiny_sweep import save_checkpoint, submitted, sweep_file, uri_of
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from octjob.cli import run as octjob
from octjob.data.manifest import MANIFEST_KEY
from octjob.errors import DataError
from octjob.evaluate import Predictions
from octjob.records.layout import read_result
from octjob.records.predictions import read_predictions
from octjob.records.schema import Result
from octjob.run.job import run_job
from octjob.spec.expand import plan_sweep
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.targets.estimate import check_fit
from octjob.targets.kubernetes.documents.manifest import render_jobset
from octjob.targets.kubernetes.documents.settings import resolve_settings

NUM_CLASSES = 4
ALL = ["prior", "clinical", "site_device"]
CONFIGS: dict[str, dict[str, Any]] = {
    "logistic": {"train.optimizer": "LBFGS", "train.standardize": True},
    "probe": {"train.epochs": 4, "train.lr_head": 0.02},
}
DEVICES = ("topcon_triton", "topcon_maestro2")


def fill(root: Path, *, num_train: int = 12, num_val: int = 6, seed: int = 0, pixels: bool = False) -> Bucket:
    """Two volumes of each participant; site, device and age say something of the class, and not all.

    pixels: whether the volumes themselves are there.
    """
    draw = np.random.default_rng(seed)
    bucket = Bucket(root)
    for split, count in (("train", num_train), ("val", num_val)):
        for number in range(count * NUM_CLASSES):
            label, identity = number % NUM_CLASSES, str(1000 + len(bucket.people))
            site = label if draw.random() < 0.7 else draw.integers(NUM_CLASSES)
            age = "Not reported" if number % 9 == 4 else str(45 + 4 * label + draw.integers(20))
            bucket.person(identity, label=label, split=split, site=f"site {site}", age=age)
            for eye in "LR":
                x_DHW = speckle(seed=len(bucket.volumes)) if pixels else None
                device = DEVICES[int(draw.random() < 0.2 + 0.2 * label)]
                bucket.volume(identity, eye=eye, device=device, x_DHW=x_DHW)
    bucket.write()
    return bucket


def swept(folder: Path, **changes: Any) -> tuple[ObjectStore, dict[str, Run]]:
    """The controls' runs of a submitted sweep, by name."""
    store, plan = submitted(sweep_file(folder, CONFIGS, **{"controls": ALL, **changes}))
    return store, {run.control: run for run in plan.runs if run.control}


def carried_out(store: ObjectStore, run: Run) -> tuple[Result, Predictions]:
    run_job(uri_of(run), lambda progress: None)
    result = read_result(store, run.run_id)
    assert result is not None
    return result, read_predictions(store, run.run_id)


@dataclass(frozen=True)
class Known:
    """What the two tables say of each volume, read here and joined by hand."""

    participant: np.ndarray
    eye: np.ndarray
    label: np.ndarray
    split: np.ndarray
    one_hot_NF: np.ndarray


def known(bucket: Bucket) -> Known:
    people = {row["participant_id"]: row for row in rows(bucket.root / "participants.tsv")}
    volumes = rows(bucket.root / MANIFEST_KEY)
    owners = [people[row["participant_id"]] for row in volumes]
    groups = list(dict.fromkeys(row["study_group"] for row in bucket.people))
    ages = np.array([float(one["age"]) if one["age"].isdigit() else np.nan for one in owners])
    unknown = np.isnan(ages)
    device = np.array([row["filepath"].split("/")[3] for row in volumes])
    site = np.array([one["clinical_site"] for one in owners])
    columns = [
        *(site == value for value in np.unique(site)),
        *(device == value for value in np.unique(device)),
        np.where(unknown, ages[~unknown].mean(), ages),
        unknown,
    ]
    return Known(
        np.array([row["participant_id"] for row in volumes]),
        np.array([row["laterality"] for row in volumes]),
        np.array([groups.index(one["study_group"]) for one in owners]),
        np.array([one["recommended_split"] for one in owners]),
        np.stack(columns, axis=1).astype(np.float64),
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def in_order(predictions: Predictions, table: Known) -> np.ndarray:
    """The positions in the table of each row that was predicted."""
    where = {key: n for n, key in enumerate(zip(table.participant, table.eye, strict=True))}
    return np.array([where[key] for key in zip(predictions.participant, predictions.eye, strict=True)])


def test_site_device_is_scikit_learns_regression_on_the_same_table(tmp_path: Path) -> None:
    bucket = fill(tmp_path / "bucket")
    store, runs = swept(tmp_path)
    result, predictions = carried_out(store, runs["site_device"])
    table = known(bucket)
    train = table.split == "train"
    scale = StandardScaler().fit(table.one_hot_NF[train])
    (unit,) = result.training["units"]
    theirs = LogisticRegression(C=1 / unit["l2"], solver="newton-cg", tol=1e-10, max_iter=1000)
    theirs.fit(scale.transform(table.one_hot_NF[train]), table.label[train])
    at = in_order(predictions, table)
    assert set(table.split[at]) == {"val"}
    expected = theirs.predict_log_proba(scale.transform(table.one_hot_NF[at]))
    np.testing.assert_allclose(log_softmax(predictions.logits_NK, axis=1), expected, atol=1e-4)


def test_prior_is_the_closed_form(tmp_path: Path) -> None:
    bucket = fill(tmp_path / "bucket", num_train=10, num_val=5)
    bucket.person("3000", label=2, split="train", site="site 1")
    bucket.volume("3000")
    bucket.write()
    store, runs = swept(tmp_path)
    result, predictions = carried_out(store, runs["prior"])
    share_K = np.array([10, 10, 11, 10]) / 41
    np.testing.assert_allclose(np.exp(predictions.logits_NK), np.tile(share_K, (40, 1)), rtol=1e-12)
    metrics = result.evaluation["metrics"]
    assert metrics["macro_auroc"] == 0.5
    assert metrics["balanced_accuracy"] == 1 / NUM_CLASSES
    assert metrics["accuracy"] == 0.25
    assert metrics["log_loss"] == pytest.approx(-np.log(share_K).mean(), rel=1e-12)
    assert metrics["prediction_counts"] == [0, 0, 20, 0]


def test_neither_a_volume_nor_a_checkpoint_is_read(tmp_path: Path) -> None:
    """There are none."""
    bucket = fill(tmp_path / "bucket")
    store, runs = swept(tmp_path, evaluate={"protocol": "folds", "folds": 3, "repeats": 2}, seeds=None)
    assert {path.suffix for path in bucket.root.rglob("*") if path.is_file()} == {".tsv"}
    assert not (tmp_path / "a.pt").exists()
    for control in ALL:
        result, predictions = carried_out(store, runs[control])
        assert result.control == control
        assert result.checkpoint_report == {}
        assert set(zip(predictions.repeat, predictions.fold, strict=True)) == {
            (repeat, fold) for repeat in range(2) for fold in range(3)
        }


def test_a_control_that_cannot_be_says_why(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path / "bucket")
    for number in range(40):
        bucket.person(str(1000 + number), label=number % 4, split="val" if number > 27 else "train")
        bucket.volume(str(1000 + number))
    bucket.write()
    _, runs = swept(tmp_path)
    with pytest.raises(DataError, match="the same for everyone") as caught:
        run_job(uri_of(runs["clinical"]), lambda progress: None)
    assert caught.value.hint == "Fill its column `age`, or leave clinical out of `controls`."
    with pytest.raises(DataError, match="one site, one device, one region and no age"):
        run_job(uri_of(runs["site_device"]), lambda progress: None)


@pytest.mark.slow
def test_from_submit_to_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The class shows in the site alone: no run has a signal, and the sentence says what has."""
    fill(tmp_path / "bucket", num_train=8, pixels=True)
    save_checkpoint(tmp_path / "a.pt")
    path = sweep_file(tmp_path, CONFIGS, controls=ALL)
    with Octjobs(tmp_path) as octjobs:
        ended = octjobs("submit", "--matrix", path, "--concurrency", 1)
    assert ended.exit == 0, ended.said
    sweep = yaml.safe_load(path.read_text())
    output = f"{sweep['output']}/tiny"
    assert octjob(["collect", output]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "Nothing is above chance: none of 2 runs has a signal in macro AUROC; site_device, which sees no"
    )
    assert "(3 control, 2 no signal)" in said
    document = json.loads((Path(output) / "leaderboard" / "leaderboard.json").read_text())
    table = [(row["checkpoint"], row["config"], row["verdict"], row["rank"]) for row in document["rows"]]
    assert [one[:2] for one in table[:3]] == [
        ("control", name) for name in ("site_device", "clinical", "prior")
    ]
    assert {one[2:] for one in table[:3]} == {("control", None)}
    assert {row["n"] for row in document["rows"]} == {24}
    page = (Path(output) / "leaderboard" / "report.html").read_text()
    assert "site_device" in page
    assert "1 checkpoint \u00d7 2 configurations" in page
    assert octjob(["status", output]) == 0
    assert octjob(["plan", "--matrix", str(path)]) == 0
    assert "control     site_device  control" in capsys.readouterr().out


def test_commands_about_a_checkpoint_refuse_a_control(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "bucket")
    store, runs = swept(tmp_path)
    carried_out(store, runs["prior"])
    for args, said in (
        (["card", store.root, "control.prior"], "and no model to make a card of"),
        (
            ["open-test", store.root, "control.prior", "--reason", "r"],
            "the test split is opened for a checkpoint",
        ),
        (["explain", uri_of(runs["prior"]), "--accelerator", "v4-32"], "it has no encoder"),
    ):
        assert octjob(args) == 2
        told = capsys.readouterr().err
        assert f"run {runs['prior'].run_id} is a control" in told
        assert said in told


def test_a_cluster_carries_them_out_as_it_does_every_run(tmp_path: Path) -> None:
    compute = {"target": "kubernetes", "accelerator": "v4-32", "image": "registry/octjob@sha256:" + "0" * 64}
    plan = plan_sweep(sweep_file(tmp_path, CONFIGS, controls=ALL, compute=compute))
    settings = resolve_settings(plan.compute)
    control = next(run for run in plan.runs if run.control == "site_device")
    document, other = (render_jobset(run, settings) for run in (control, plan.runs[0]))
    labels = document["metadata"]["labels"]
    assert (labels["octjob.dev/checkpoint"], labels["octjob.dev/config"]) == ("control", "site_device")
    job, other_job = (one["spec"]["replicatedJobs"][0]["template"]["spec"] for one in (document, other))
    assert job["completions"] == other_job["completions"] == 4
    pod, other_pod = (one["template"]["spec"]["containers"][0] for one in (job, other_job))
    assert pod["resources"] == other_pod["resources"]
    assert uri_of(control) in json.dumps(pod)
    check_fit(plan.runs, settings.slice)


@pytest.mark.slow
def test_controls_change_nothing_of_the_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "bucket", num_train=8, pixels=True)
    save_checkpoint(tmp_path / "a.pt")
    rows = []
    for controls in (ALL, []):
        store, plan = submitted(
            sweep_file(tmp_path, CONFIGS, controls=controls, output=f"{tmp_path}/out{len(controls)}")
        )
        for run in plan.runs:
            run_job(uri_of(run), lambda progress: None)
        assert octjob(["collect", store.root, "-o", "json"]) == 0
        document = json.loads(capsys.readouterr().out)
        rows.append([row for row in document["rows"] if row["control"] is None])
        assert "control" not in json.dumps(document["checkpoints"])
    assert rows[0] == rows[1]
