"""What runs record for the report beyond their scores: read back by collect from real runs, and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from doubles.tiny_sweep import fill_bucket, prepared, save_checkpoint, uri_of

from octjob.cli import run as octjob
from octjob.errors import AccessError
from octjob.leaderboard.collect import collect, publish
from octjob.models.checkpoint import read_checkpoint
from octjob.models.fingerprint import relative_distance
from octjob.records.examples import Examples, read_examples
from octjob.records.feature_map import read_feature_map
from octjob.records.layout import read_result
from octjob.records.predictions import read_predictions
from octjob.run.inputs import load_cohort, make_reader
from octjob.run.job import run_job
from octjob.run.relevance import HeadWeights
from octjob.run.shared import Shared
from octjob.spec.run import Run
from octjob.storage import ObjectStore

CONFIGS: dict[str, dict[str, Any]] = {
    "adamw": {"train.epochs": 2, "train.standardize": True},
    "lbfgs": {"train.optimizer": "LBFGS", "train.l2": 1.0},
    "attentive": {"train.epochs": 2, "model.pool_method": "attentive"},
    "hidden": {"train.epochs": 1, "model.head.hidden": 8},
    "finetune": {"train.epochs": 1, "model.freeze_encoder": False, "train.lr_encoder": 1e-3},
}


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[ObjectStore, dict[str, Run]]:
    """Two checkpoints; the first says whom it saw, the second's list is in the sweep."""
    folder = tmp_path_factory.mktemp("records")
    bucket = fill_bucket(folder / "bucket", train=5, val=3, test=2)
    for number, row in enumerate(bucket.people):
        row["age"] = str(40 + number)
    bucket.volume("1000", device="zeiss_cirrus", protocol="cirrus_mac_oct", region="Macula")
    bucket.write()
    save_checkpoint(folder / "a.pt")
    payload = torch.load(folder / "a.pt", weights_only=False)
    torch.save({**payload, "pretraining_participants": ["1000", "1020"]}, folder / "a.pt")
    save_checkpoint(folder / "b.pt", seed=7)
    (folder / "seen.txt").write_text("1021\n1022\n1023\n")
    checkpoints = {
        "a": {"uri": f"{folder}/a.pt", "num_heads": 2},
        "b": {"uri": f"{folder}/b.pt", "num_heads": 2, "pretraining_participants": f"{folder}/seen.txt"},
    }
    data = {"source": f"{folder}/bucket", "devices": ["topcon_triton"]}
    configs = {name: {**overrides, "log.images": 3} for name, overrides in CONFIGS.items()}
    store, runs = prepared(folder, configs, checkpoints=checkpoints, data=data)
    for run in runs:
        run_job(uri_of(run), lambda progress: None)
    return store, {f"{run.checkpoint_name}.{run.config_name}": run for run in runs}


def result_of(carried_out: tuple[ObjectStore, dict[str, Run]], name: str) -> Any:
    store, runs = carried_out
    return read_result(store, runs[name].run_id)


def test_every_run_says_the_same_way_from_listed_to_scored(carried_out: Any) -> None:
    (flow,) = collect(carried_out[0]).flows
    assert flow.num_runs == len(CONFIGS) * 2
    assert flow.listed == {"train": (20, 20, 21), "val": (12, 12, 12), "test": (8, 8, 8)}
    assert [(step.reason, step.lost) for step in flow.steps] == [
        ("device not selected", {"train": (0, 0, 1)}),
    ]
    assert flow.used == {"train": (20, 20, 20), "val": (12, 12, 12)}
    assert flow.scored == {"val": (12, 12, 12)}


def test_groups_are_of_the_scored_and_whom_it_saw_the_file_or_the_sweep_says(carried_out: Any) -> None:
    for name, seen in (("a.adamw", {"1020"}), ("b.finetune", {"1021", "1022", "1023"})):
        groups = result_of(carried_out, name).data["groups"]
        assert {one for one, group in groups["pretraining"].items() if group == "seen in pretraining"} == seen
        assert set(groups["age"]) == {str(number) for number in range(1020, 1032)}
        assert set(groups["age"].values()) == {"age 60 to 63", "age 64 to 67", "age 68 to 71"}


def test_a_list_that_is_not_there_ends_the_run_before_it_trains(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt")
    told = {"uri": f"{tmp_path}/a.pt", "num_heads": 2, "pretraining_participants": f"{tmp_path}/none.txt"}
    store, runs = prepared(tmp_path, {"lbfgs": CONFIGS["lbfgs"]}, checkpoints={"a": told})
    with pytest.raises(AccessError, match=r"none\.txt"):
        run_job(uri_of(runs[0]), lambda progress: None)
    assert not store.exists(f"runs/{runs[0].run_id}/history.jsonl")


def test_checkpoints_are_as_far_apart_as_their_weights(carried_out: Any) -> None:
    store, runs = carried_out
    found = collect(store).checkpoints
    assert [(one.name, one.encoder_taken, one.coverage_keys) for one in found.checkpoints] == [
        (name, "context", "29/29") for name in (one.name for one in found.checkpoints)
    ]
    weights = {
        name: read_checkpoint(
            Path(runs[f"{name}.adamw"].checkpoint.uri.removeprefix("file://")),
            encoder="auto",
            uri=name,
            num_heads=2,
        ).encoder.state_dict()
        for name in "ab"
    }
    square = {name: sum(float(x.double().square().sum()) for x in weights[name].values()) for name in "ab"}
    exact = relative_distance(weights["a"], weights["b"]) * (2 * square["b"] / sum(square.values())) ** 0.5
    (pair,) = found.pairs
    assert pair.distance == pytest.approx(exact, rel=0.15)
    assert pair.num_configs >= 1


def test_features_are_mapped_where_there_are_any(carried_out: Any) -> None:
    store, runs = carried_out
    for name, run in runs.items():
        said = result_of(carried_out, name).data["feature_map"]
        if run.config_name == "finetune":
            assert said == {
                "key": None,
                "reason": "the encoder was fine-tuned, and its features are not kept",
            }
            assert not store.exists(f"runs/{run.run_id}/feature_map.json")
            continue
        made = read_feature_map(store, run.run_id)
        assert (made.num_volumes, made.num_features) == (12, 32)
        assert sorted(made.label) == sorted([0, 1, 2, 3] * 3)
        assert (made.devices, made.sites) == (("topcon_triton",), ("UAB", "UCSD", "UW"))
        assert 0 < made.axes[1] <= made.axes[0] < 1
        assert made.explained["device"].share == 0
        # The classes differ in brightness, which any encoder passes on.
        assert made.explained["class"].share > 0.5 > made.explained["site"].share
    assert {one.checkpoint for one in collect(store).feature_maps if not one.missing} == {"a", "b"}


def test_the_map_is_of_what_the_head_saw(carried_out: Any) -> None:
    store, runs = carried_out
    raw, scaled, tokens = (
        read_feature_map(store, runs[f"a.{name}"].run_id) for name in ("lbfgs", "adamw", "attentive")
    )
    assert raw.features == "mean over the tokens"
    assert scaled.features == "mean over the tokens, standardised"
    # Means over a grid of means of equal parts are means over all tokens.
    assert tokens.features == "mean of the tokens"
    assert tokens.explained["class"].share == pytest.approx(raw.explained["class"].share, abs=1e-4)
    assert raw.explained["class"].share != scaled.explained["class"].share


def stored_examples(carried_out: Any, name: str) -> Examples:
    store, runs = carried_out
    said = result_of(carried_out, name).data["examples"]
    assert (said["key"], said["count"]) == ("examples.json", 3)
    return read_examples(store, runs[name].run_id, said["sha256"])


def test_all_runs_show_the_same_participants_each_with_its_own_answer(carried_out: Any) -> None:
    store, runs = carried_out
    found = {name: stored_examples(carried_out, name) for name in runs}
    people = {tuple((one.participant, one.label) for one in made.examples) for made in found.values()}
    ((first, second, third),) = people
    assert {label for _, label in (first, second, third)} == {0, 1, 2}
    assert len({one.pixels for made in found.values() for one in made.examples}) == 3
    for name, made in found.items():
        predictions = read_predictions(store, runs[name].run_id)
        for one in made.examples:
            (row,) = np.flatnonzero(predictions.participant == one.participant)
            assert one.predicted == predictions.logits_NK[row].argmax()
            assert one.label == predictions.label[row]


def test_maps_are_of_the_kind_that_the_head_allows(carried_out: Any) -> None:
    kinds = {
        "adamw": "contribution",
        "lbfgs": "contribution",
        "finetune": "contribution",
        "attentive": "attention",
    }
    for name, kind in kinds.items():
        for one in stored_examples(carried_out, f"a.{name}").examples:
            assert (one.kind, one.map_rows, one.map_columns) == (kind, 2, 2)
            assert max(map(abs, one.relevance)) == 1.0
            assert 0 < one.share <= 1
            assert kind == "contribution" or min(one.relevance) >= 0
    hidden = stored_examples(carried_out, "a.hidden")
    assert {one.kind for one in hidden.examples} == {"none"}
    assert "hidden layer" in hidden.reason


@pytest.mark.parametrize("name", ["a.lbfgs", "a.adamw", "b.finetune"])
def test_the_parts_of_all_patches_sum_to_the_stored_logit(carried_out: Any, name: str) -> None:
    store, runs = carried_out
    run = runs[name]
    weights = safetensors.torch.load(
        store.get(f"runs/{run.run_id}/checkpoint/best-seed42-repeat0-fold0.safetensors")
    )
    encoder = read_checkpoint(
        Path(run.checkpoint.uri.removeprefix("file://")), encoder="auto", uri=name, num_heads=2
    )
    own = {n.removeprefix("encoder."): x for n, x in weights.items() if n.startswith("encoder.")}
    encoder.encoder.load_state_dict(own or encoder.encoder.state_dict())
    cohort = load_cohort(run, Shared())
    reader = make_reader(run, encoder, store)
    predictions = read_predictions(store, run.run_id)
    bias_K = next(
        x for n, x in weights.items() if n.endswith("bias") and not n.startswith("encoder.")
    ).double()
    for one in stored_examples(carried_out, name).examples:
        (volume,) = (v for v in cohort.volumes if v.participant.id == one.participant)
        with torch.no_grad():
            tokens_TE = encoder.encoder(torch.from_numpy(reader.read(volume))[None, None])[0]
        parts_T = HeadWeights(run.config, weights).map(tokens_TE, one.predicted)
        (row,) = np.flatnonzero(predictions.participant == one.participant)
        margin_K = torch.from_numpy(predictions.logits_NK[row]) - bias_K
        expected = margin_K[one.predicted] - margin_K.mean()
        assert float(parts_T.sum()) == pytest.approx(float(expected), rel=1e-4, abs=1e-5)
        layer = parts_T.reshape(encoder.report.geometry.grid)[1].flatten()
        np.testing.assert_allclose(one.relevance, layer / layer.abs().max(), atol=2e-3)


def test_the_report_shows_them_only_where_it_is_asked_to(carried_out: Any, tmp_path: Path) -> None:
    store, _ = carried_out
    publish(store, collect(store))
    plain, pictured = tmp_path / "plain.html", tmp_path / "pictured.html"
    assert octjob(["report", store.root, "-o", str(plain)]) == 0
    assert octjob(["report", store.root, "-o", str(pictured), "--with-images"]) == 0
    assert "<img" not in plain.read_text()
    assert pictured.read_text().count('<div class="scan"') == 2 * 3
    assert octjob(["report", store.root, "-o", str(tmp_path / "x.tex"), "--with-images"]) == 2


def test_without_log_images_nothing_is_stored_and_asking_for_it_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, runs = prepared(tmp_path, {"lbfgs": CONFIGS["lbfgs"]})
    run_job(uri_of(runs[0]), lambda progress: None)
    assert not store.exists(f"runs/{runs[0].run_id}/examples.json")
    publish(store, collect(store))
    assert octjob(["report", store.root, "-o", str(tmp_path / "x.html"), "--with-images"]) == 2
    assert "log.images" in capsys.readouterr().err
