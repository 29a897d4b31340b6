"""A sweep with controls that read volumes: fresh weights, the file's other encoder, shuffled labels, pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from doubles.tiny_sweep import SIZE, fill_bucket, prepared, submitted, sweep_file, uri_of
from scipy.special import log_softmax
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from octjob.cli import run as octjob
from octjob.data.sampling import shuffled_labels
from octjob.data.volumes import VolumeReader
from octjob.errors import DataError
from octjob.evaluate import Predictions
from octjob.models.encoder import init_encoder
from octjob.models.shape import EncoderGeometry
from octjob.records.layout import read_result, read_sweep
from octjob.records.predictions import read_predictions
from octjob.records.schema import Result
from octjob.run.inputs import load_cohort
from octjob.run.job import run_job
from octjob.run.shared import Shared
from octjob.spec.experiment import CLASS_NAMES
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store

pytestmark = pytest.mark.slow

PROBE = {"train.epochs": 4, "train.lr_head": 0.02}
LOGISTIC = {"train.optimizer": "LBFGS", "train.standardize": True}
FINETUNE = {"model.freeze_encoder": False, "train.epochs": 2, "data.batch_size": 8}


def carried_out(store: ObjectStore, run: Run, shared: Shared | None = None) -> tuple[Result, Predictions]:
    run_job(uri_of(run), lambda progress: None, shared=shared)
    result = read_result(store, run.run_id)
    assert result is not None
    return result, read_predictions(store, run.run_id)


def named(runs: tuple[Run, ...], checkpoint: str, config: str) -> Run:
    (run,) = [run for run in runs if (run.checkpoint_name, run.config_name) == (checkpoint, config)]
    return run


def same(one: Predictions, other: Predictions) -> bool:
    return one.participant.tolist() == other.participant.tolist() and bool(
        (one.logits_NK == other.logits_NK).all()
    )


def objects(folder: str) -> set[str]:
    return {info.key for info in open_store(folder).list("")}


def test_random_init_is_what_a_file_of_such_weights_would_be(tmp_path: Path) -> None:
    """The same features at the same address, and the same predictions bit for bit; of five, each other ones."""
    configs = {"probe": PROBE, "finetune": FINETUNE}
    store, runs = prepared(tmp_path, configs, controls=["random_init"])
    names = [(run.checkpoint_name, run.config_name) for run in runs if run.control == "random_init"]
    assert names == [(f"random_init-{seed}", config) for config in configs for seed in range(5)]
    fresh = init_encoder(EncoderGeometry(**SIZE), 3)
    torch.save({"model": fresh.state_dict()}, tmp_path / "fresh.pt")
    path = sweep_file(
        tmp_path,
        configs,
        name="by-file",
        cache=runs[0].cache,
        checkpoints={
            "fresh": {"uri": f"{tmp_path}/fresh.pt", "num_heads": 2, "volume_size": SIZE["volume_size"]}
        },
    )
    there, plan = submitted(path)
    digests = set()
    for config in configs:
        result, predictions = carried_out(store, named(runs, "random_init-3", config))
        cached = objects(runs[0].cache)
        expected, theirs = carried_out(there, named(plan.runs, "fresh", config))
        assert same(predictions, theirs)
        assert objects(runs[0].cache) == cached
        for key in ("weights_digest", "encoder_digest", "geometry", "sketch", "fingerprint"):
            assert result.checkpoint_report[key] == expected.checkpoint_report[key]
        other, others = carried_out(store, named(runs, "random_init-4", config))
        assert not same(predictions, others)
        digests |= {one.checkpoint_report["encoder_digest"] for one in (result, other)}
        assert result.control == "random_init"
    assert len(digests) == 2


def test_the_report_speaks_of_fresh_weights(tmp_path: Path) -> None:
    store, runs = prepared(tmp_path, {"probe": PROBE}, controls=["random_init"])
    result, _ = carried_out(store, named(runs, "random_init-0", "probe"))
    plain, _ = carried_out(store, named(runs, "a", "probe"))
    report = result.checkpoint_report
    assert report["fingerprint"]["verdict"] == "untrained"
    assert (report["coverage"], report["coverage_keys"][:2], report["untrained_seed"]) == (0.0, "0/", 0)
    assert (report["epoch"], report["step"], report["loss"]) == (None, None, None)
    assert report["notes"] == [
        f"Freshly initialised with seed 0: the architecture is that of file://{tmp_path}/a.pt, and none of its"
        " weights are taken."
    ]
    assert report["geometry"] == plain.checkpoint_report["geometry"]
    assert report["weights_digest"] != plain.checkpoint_report["weights_digest"]
    entry = next(one for one in read_sweep(store).runs if one.run_id == result.run_id)
    assert (entry.control, entry.checkpoint, entry.config) == ("random_init", "random_init-0", "probe")


def test_runs_of_one_process_do_not_mistake_each_others_encoder(tmp_path: Path) -> None:
    """One after the other with what the process keeps, or each by itself: the same bits."""
    changes: dict[str, Any] = {
        "grid": {"train.lr_head": [0.01, 0.1]},
        "controls": {"random_init": {"seeds": 2}, "shuffled_labels": {"configs": ["*"]}},
        "cache": f"{tmp_path}/cache",
    }
    config = {"probe": {**PROBE, "train.epochs": 1}}
    together, runs = prepared(tmp_path, config, **changes)
    alone, plan = submitted(sweep_file(tmp_path, config, output=f"{tmp_path}/alone", **changes))
    shared = Shared()
    shared.later.uris = [uri_of(run) for run in runs]
    for run, other in zip(runs, plan.runs, strict=True):
        result, predictions = carried_out(together, run, shared)
        expected, theirs = carried_out(alone, other)
        assert same(predictions, theirs)
        assert result.checkpoint_report == expected.checkpoint_report


def test_the_target_encoder_is_what_the_config_would_take(tmp_path: Path) -> None:
    """The other one of `auto` is the target's, that of the target the context's."""
    configs = {"auto": PROBE, "target": {**PROBE, "model.encoder": "target"}}
    store, runs = prepared(tmp_path, configs, controls=["target_encoder"])
    found = {
        (run.checkpoint_name, run.config_name): carried_out(store, run)
        for run in runs
        if run.control in (None, "target_encoder")
    }
    for config, other in (("auto", "target"), ("target", "auto")):
        result, predictions = found["target_encoder-a", config]
        expected, theirs = found["a", other]
        assert same(predictions, theirs)
        assert result.checkpoint_report["encoder_taken"] == expected.checkpoint_report["encoder_taken"]
        assert result.checkpoint_report["weights_digest"] == expected.checkpoint_report["weights_digest"]
        assert result.control == "target_encoder"


def test_a_file_of_one_encoder_has_no_other(tmp_path: Path) -> None:
    torch.save({"model": init_encoder(EncoderGeometry(**SIZE), 3).state_dict()}, tmp_path / "one.pt")
    one = {"uri": f"{tmp_path}/one.pt", "num_heads": 2, "volume_size": SIZE["volume_size"]}
    two = {"uri": f"{tmp_path}/a.pt", "num_heads": 2}
    _, runs = prepared(tmp_path, {"probe": PROBE}, controls=["target_encoder"], checkpoints={"one": one})
    with pytest.raises(DataError) as caught:
        run_job(uri_of(runs[1]), lambda progress: None)
    assert caught.value.message == (
        f"file://{tmp_path}/one.pt: holds the unlabelled encoder (under `model.`) alone: there is no other one for"
        " controls.target_encoder"
    )
    assert "controls.target_encoder.checkpoints" in caught.value.hint
    _, again = prepared(
        tmp_path,
        {"probe": PROBE},
        name="again",
        controls={"target_encoder": {"checkpoints": ["a"]}},
        checkpoints={"one": one, "a": two},
    )
    assert [run.checkpoint_name for run in again] == ["one", "a", "target_encoder-a"]


@pytest.mark.parametrize("config", [PROBE, LOGISTIC], ids=["probe", "logistic"])
def test_a_shuffle_is_a_run_on_participants_of_such_labels(tmp_path: Path, config: dict[str, Any]) -> None:
    """Bit for bit, with the table's own labels exchanged; and all are scored by their true ones."""
    bucket = fill_bucket(tmp_path / "bucket", train=6, val=3)
    # Sites of different classes, so that within and across them are not the same.
    for person in bucket.people[:8]:
        person["clinical_site"] = "UW"
    bucket.write()
    config = {**config, "train.class_weights": "auto"}
    store, runs = prepared(tmp_path, {"probe": config}, controls=["shuffled_labels"])
    result, predictions = carried_out(store, named(runs, "shuffled_labels-a", "probe"))
    assert np.unique(predictions.seed).tolist() == list(range(20))
    assert len(result.training["units"]) == 20
    cohort = load_cohort(runs[0], Shared())
    true = {person.id: person.label for person in cohort.participants}
    assert [true[one] for one in predictions.participant] == predictions.label.tolist()
    train = [person for person in cohort.participants if person.split == "train"]
    for shuffle in (0, 7):
        dealt = shuffled_labels(train, shuffle)
        assert dealt != {person.id: person.label for person in train}
        for row in bucket.people:
            if row["participant_id"] in dealt:
                row["study_group"] = CLASS_NAMES[dealt[row["participant_id"]]]
        bucket.write()
        path = sweep_file(tmp_path, {"probe": config}, name=f"exchanged{shuffle}", seeds=[shuffle])
        there, plan = submitted(path)
        expected, theirs = carried_out(there, plan.runs[0])
        assert same(predictions.rows(predictions.seed == shuffle), theirs)
        assert result.training["units"][shuffle] == expected.training["units"][0]


def test_shuffles_have_folds_of_their_own_runs(tmp_path: Path) -> None:
    """One deal of the folds, each participant scored once for each shuffle."""
    folds = {"protocol": "folds", "folds": 2, "repeats": 2, "fold_seed": 5}
    store, runs = prepared(
        tmp_path, {"probe": PROBE}, controls=["shuffled_labels"], evaluate=folds, seeds=None
    )
    run = named(runs, "shuffled_labels-a", "probe")
    assert (run.folds, run.fold_seed, run.repeats, len(run.passes)) == (2, 5, 1, 20)
    _, plain = carried_out(store, named(runs, "a", "probe"))
    _, predictions = carried_out(store, run)
    keys = list(zip(predictions.participant, predictions.seed, strict=True))
    assert len(keys) == len(set(keys)) == 20 * 32
    dealt = {(p, f) for p, f, r in zip(plain.participant, plain.fold, plain.repeat, strict=True) if r == 0}
    assert {(p, f) for p, f in zip(predictions.participant, predictions.fold, strict=True)} == dealt


def test_pixel_pca_is_scikit_learns_pipeline_on_the_same_means(tmp_path: Path) -> None:
    fill_bucket(tmp_path / "bucket", train=15, val=4).write()
    size = (16, 32, 32)
    config = {**PROBE, "data.augment.resize": list(size)}
    store, runs = prepared(tmp_path, {"probe": config}, controls=["pixel_pca"])
    (tmp_path / "a.pt").unlink()
    run = named(runs, "control", "pixel_pca")
    result, predictions = carried_out(store, run)
    assert result.checkpoint_report == {}
    cohort = load_cohort(run, Shared())
    reader = VolumeReader(open_store(str(run.config.data.source)), "pretraining", size)
    x_NF = np.stack(
        [
            reader.read(volume).astype(np.float64).reshape(8, 2, 16, 2, 16, 2).mean(axis=(1, 3, 5)).ravel()
            for volume in cohort.volumes
        ]
    )
    label = np.array([volume.participant.label for volume in cohort.volumes])
    train = np.array([volume.participant.split == "train" for volume in cohort.volumes])
    (unit,) = result.training["units"]
    theirs = make_pipeline(
        PCA(50, svd_solver="full"),
        StandardScaler(),
        LogisticRegression(C=1 / unit["l2"], solver="newton-cg", tol=1e-10, max_iter=1000),
    ).fit(x_NF[train], label[train])
    at = {volume.participant.id: n for n, volume in enumerate(cohort.volumes)}
    order = [at[one] for one in predictions.participant]
    assert {cohort.volumes[n].participant.split for n in order} == {"val"}
    expected = theirs.predict_log_proba(x_NF[order])
    np.testing.assert_allclose(log_softmax(predictions.logits_NK, axis=1), expected, atol=2e-4)
    assert (predictions.logits_NK.argmax(1) == predictions.label).mean() > 0.5


def test_from_submit_to_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    controls = {
        "prior": None,
        "pixel_pca": None,
        "random_init": {"seeds": 2, "like": "a"},
        "target_encoder": {},
        "shuffled_labels": {"shuffles": 20},
    }
    config = {**PROBE, "data.augment.resize": [8, 16, 16]}
    store, runs = prepared(tmp_path, {"probe": config}, controls=controls)
    path, output = tmp_path / "sweep.yaml", f"{tmp_path}/out/tiny"
    shared = Shared()
    for run in runs:
        carried_out(store, run, shared)
    assert octjob(["collect", output]) == 0
    document = json.loads((Path(output) / "leaderboard" / "leaderboard.json").read_text())
    table = {
        (row["checkpoint"], row["config"], row["control"]): (row["verdict"], row["rank"])
        for row in document["rows"]
    }
    of_controls = {key: value for key, value in table.items() if key[2]}
    assert set(of_controls) == {
        ("control", "prior", "prior"),
        ("control", "pixel_pca", "pixel_pca"),
        ("random_init", "probe", "random_init"),
        ("target_encoder-a", "probe", "target_encoder"),
        ("shuffled_labels-a", "probe", "shuffled_labels"),
    }
    assert set(of_controls.values()) == {("control", None)}
    assert [one["name"] for one in document["checkpoints"]["checkpoints"]] == ["a"]
    assert octjob(["doctor", output]) in (0, 1)
    assert octjob(["plan", "--matrix", str(path)]) == 0
    assert octjob(["status", output]) == 0
    assert octjob(["explain", str(path)]) == 0
    assert "random_init-0" in capsys.readouterr().out
