"""What runs record for the report beyond their scores: read back by collect from real runs, and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from doubles.tiny_sweep import fill_bucket, prepared, save_checkpoint, uri_of

from octjob.errors import AccessError
from octjob.leaderboard.collect import collect
from octjob.models.checkpoint import read_checkpoint
from octjob.models.fingerprint import relative_distance
from octjob.records.feature_map import read_feature_map
from octjob.records.layout import read_result
from octjob.run.job import run_job
from octjob.spec.run import Run
from octjob.storage import ObjectStore

CONFIGS: dict[str, dict[str, Any]] = {
    "adamw": {"train.epochs": 2, "train.standardize": True},
    "lbfgs": {"train.optimizer": "LBFGS", "train.l2": 1.0},
    "attentive": {"train.epochs": 2, "model.pool_method": "attentive"},
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
    store, runs = prepared(folder, CONFIGS, checkpoints=checkpoints, data=data)
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
