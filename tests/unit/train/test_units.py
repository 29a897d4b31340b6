"""Who trains, who selects, who is scored; and the original's training defects, each of which must stay mended.

Suffixes: N volumes, K classes.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from doubles.tiny_sweep import fill_bucket, prepared, save_checkpoint, uri_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.utils.class_weight import compute_class_weight

from octjob.data.cohort import Volume
from octjob.data.manifest import VolumeRecord
from octjob.data.participants import Participant
from octjob.errors import DataError
from octjob.evaluate import Predictions, by_participant
from octjob.models.checkpoint import read_checkpoint
from octjob.records.layout import HISTORY, read_result, run_key
from octjob.records.predictions import read_predictions
from octjob.records.schema import Result
from octjob.run.job import run_job
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.train.schedule import lr_factor
from octjob.train.scoring import Scorer
from octjob.train.shuffled import ShuffledScorer
from octjob.train.units import Unit, make_units, used_splits


def volume(person: Participant, number: int) -> Volume:
    record = VolumeRecord(
        participant=person.id,
        device="topcon_triton",
        manufacturer="Topcon",
        model="Triton",
        region="Macula, 6 x 6",
        imaging="OCT",
        laterality="RL"[number % 2],
        height=12,
        width=10,
        num_frames=8,
        sop_instance_uid=f"1.{person.id}.{number}",
        key=f"{person.id}/{number}.dcm",
        protocol="",
    )
    return Volume(record, person)


def cohort(num_per_cell: int, num_volumes: list[int]) -> list[Volume]:
    """`num_per_cell` participants of each of four classes in each split, with one to three volumes each."""
    volumes: list[Volume] = []
    for split in ("train", "val", "test"):
        for label in range(4):
            for i in range(num_per_cell):
                identity = f"{split}{label}{i}"
                person = Participant(identity, ("UW", "UAB")[i % 2], "", label, split, True)
                count = num_volumes[len(volumes) % len(num_volumes)]
                volumes += [volume(person, number) for number in range(count)]
    return volumes


def people_of(volumes: list[Volume], positions: np.ndarray) -> set[str]:
    return {volumes[i].participant.id for i in positions}


@settings(max_examples=40, deadline=None)
@given(
    num_per_cell=st.integers(2, 6),
    num_volumes=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    folds=st.sampled_from([0, 2, 3]),
    stopping=st.booleans(),
    eval_split=st.sampled_from(["val", "test"]),
    passes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=3, unique=True),
)
def test_no_participant_is_in_two_parts_and_each_is_scored_once_per_pass(
    num_per_cell: int,
    num_volumes: list[int],
    folds: int,
    stopping: bool,
    eval_split: str,
    passes: list[tuple[int, int]],
) -> None:
    volumes = cohort(num_per_cell, num_volumes)
    experiment = Experiment.model_validate(
        {"data": {"eval_split": eval_split}, "train": {"early_stopping": {"enabled": stopping}}}
    )
    units = make_units(volumes, experiment, passes, folds)
    wanted_units = [(*one, fold) for one in passes for fold in range(max(1, folds))]
    assert [(u.seed, u.repeat, u.fold) for u in units] == wanted_units
    for unit in units:
        parts = [people_of(volumes, part) for part in (unit.train_N, unit.holdout_N, unit.eval_N)]
        assert sum(map(len, parts)) == len(set.union(*parts))
        assert bool(parts[1]) == stopping
        # Whoever is in a part is in it with every volume.
        for part, positions in zip(parts, (unit.train_N, unit.holdout_N, unit.eval_N), strict=True):
            assert len(positions) == sum(v.participant.id in part for v in volumes)
        if not folds:
            splits = [{i.rstrip("0123456789") for i in part} for part in parts if part]
            assert splits == [{"train"}] * (1 + stopping) + [{eval_split}]
        else:
            assert not any(i.startswith("test") for part in parts for i in part)
    scored_splits = ("train", "val") if folds else (eval_split,)
    wanted = [i for i, v in enumerate(volumes) if v.participant.split in scored_splits]
    for one in passes:
        scored = np.concatenate([u.eval_N for u in units if (u.seed, u.repeat) == one])
        assert sorted(scored.tolist()) == wanted


def test_folds_are_those_of_the_repeat_whatever_the_training_seed() -> None:
    volumes = cohort(6, [1])

    def scored(passes: list[tuple[int, int]], fold_seed: int = 0) -> list[list[int]]:
        return [unit.eval_N.tolist() for unit in make_units(volumes, Experiment(), passes, 3, fold_seed)]

    assert scored([(1, 0)]) == scored([(2, 0)])
    assert scored([(1, 0)]) != scored([(1, 1)])
    assert scored([(1, 0)]) != scored([(1, 0)], fold_seed=1)


def test_with_folds_the_test_split_is_not_even_asked_for() -> None:
    assert used_splits(Experiment(), 5) == ("train", "val")
    assert used_splits(Experiment(), 0) == ("train", "val")
    held_back = Experiment.model_validate({"data": {"eval_split": "test"}})
    assert used_splits(held_back, 0) == ("train", "test")


def test_the_selection_set_is_taken_from_the_training_participants_of_every_class() -> None:
    volumes = cohort(10, [1])
    experiment = Experiment.model_validate({"train": {"early_stopping": {"enabled": True, "holdout": 0.2}}})
    (unit,) = make_units(volumes, experiment, [(0, 0)])
    assert Counter(volumes[i].participant.label for i in unit.holdout_N) == dict.fromkeys(range(4), 2)
    assert {volumes[i].participant.split for i in unit.holdout_N} == {"train"}


@settings(max_examples=30, deadline=None)
@given(
    num_volumes=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    folds=st.sampled_from([0, 2, 3]),
    stopping=st.booleans(),
)
def test_shuffled_labels_are_of_whom_a_unit_trains_or_selects_with_alone(
    num_volumes: list[int], folds: int, stopping: bool
) -> None:
    volumes = cohort(6, num_volumes)
    experiment = Experiment.model_validate({"train": {"early_stopping": {"enabled": stopping}}})
    scorer = ShuffledScorer(volumes, experiment)
    true_N = scorer.label_N.copy()
    units = make_units(volumes, experiment, [(seed, 0) for seed in range(3)], folds)
    for unit in units:
        label_N, own = scorer.labels(unit), np.concatenate([unit.train_N, unit.holdout_N])
        others = np.setdiff1d(np.arange(len(volumes)), own)
        assert (label_N[others] == true_N[others]).all()
        dealt = {volumes[i].participant: int(label_N[i]) for i in own}
        assert all(label_N[i] == dealt[volumes[i].participant] for i in own)
        assert Counter((p.site, label) for p, label in dealt.items()) == Counter(
            (p.site, p.label) for p in dealt
        )
        trained = scorer.training_participants(unit)
        assert {p.id: p.label for p in trained} == {
            volumes[i].participant.id: int(label_N[i]) for i in unit.train_N
        }
        assert (scorer.predictions(unit, own, np.zeros((len(own), 4))).label == label_N[own]).all()
    assert len({scorer.labels(unit).tobytes() for unit in units}) == len(units)
    assert (scorer.label_N == true_N).all()


def test_a_part_without_volumes_is_an_error() -> None:
    only_train = [v for v in cohort(2, [1]) if v.participant.split == "train"]
    with pytest.raises(DataError, match="8 volumes to train on, 0 to score"):
        make_units(only_train, Experiment(), [(0, 0)])


# What follows runs whole runs: an imbalanced bucket, so that labels before and after filtering differ.


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    bucket = fill_bucket(folder / "bucket", train=6, val=3, test=2)
    # Participants who are listed but have no OCT: the table's labels are not the labels trained on.
    for number in range(12):
        bucket.person(f"9{number:03}", label=3, split="train", has_oct=False)
    for person in [p for p in bucket.people if p["retinal_oct"] == "TRUE"][:4]:
        person["study_group"] = bucket.people[6]["study_group"]
    bucket.write()
    save_checkpoint(folder / "a.pt")
    return folder


class Done:
    """A finished run and what it left."""

    def __init__(self, inputs: Path, folder: Path, config: dict[str, Any], **sweep: Any) -> None:
        self.store: ObjectStore
        self.run: Run
        self.store, (self.run,) = prepared(
            inputs, {"x": config}, output=f"{folder}/out", cache=f"{inputs}/cache", **sweep
        )
        run_job(uri_of(self.run), lambda progress: None)
        result = read_result(self.store, self.run.run_id)
        assert result is not None
        self.result: Result = result

    @property
    def units(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.result.training["units"]
        return found

    @property
    def history(self) -> list[dict[str, Any]]:
        text = self.store.get(run_key(self.run.run_id, HISTORY)).decode()
        return [json.loads(line) for line in text.splitlines()]

    @property
    def predictions(self) -> Predictions:
        return read_predictions(self.store, self.run.run_id)

    def weights(self, name: str) -> dict[str, Any]:
        key = run_key(self.run.run_id, f"checkpoint/{name}.safetensors")
        return safetensors.torch.load(self.store.get(key))


# Class counts of the inputs' 24 training participants: four of class 0 became class 1.
TRAIN_LABELS = np.repeat(np.arange(4), (2, 10, 6, 6))


@pytest.mark.parametrize("optimizer", ["AdamW", "LBFGS"])
def test_defect_class_weights_auto_are_used_and_from_the_labels_trained_on(
    inputs: Path, tmp_path: Path, optimizer: str
) -> None:
    train = {"optimizer": optimizer, **({"epochs": 2} if optimizer == "AdamW" else {"l2": 1.0})}
    weighted = Done(inputs, tmp_path / "w", {"train": {**train, "class_weights": "auto"}})
    expected = compute_class_weight("balanced", classes=np.arange(4), y=TRAIN_LABELS)
    (unit,) = weighted.units
    np.testing.assert_allclose(unit["class_weights"], expected, rtol=1e-12)
    assert weighted.result.data["participants"]["train"] == [2, 10, 6, 6]
    plain = Done(inputs, tmp_path / "p", {"train": train})
    assert plain.units[0]["class_weights"] is None
    assert not np.array_equal(plain.predictions.logits_NK, weighted.predictions.logits_NK)


def test_defect_class_weights_of_a_fold_never_see_its_scored_labels(inputs: Path, tmp_path: Path) -> None:
    done = Done(
        inputs,
        tmp_path,
        {"train": {"epochs": 1, "class_weights": "auto", "early_stopping": {"enabled": True}}},
        folds=3,
        seeds=[4],
    )
    predictions = done.predictions
    for unit in done.units:
        scored = predictions.rows(predictions.fold == unit["fold"])
        assert unit["num_eval"] == len(scored.label)
        assert unit["num_train"] + unit["num_holdout"] + unit["num_eval"] == 36
        # balanced weights: N / (K * count), so each class's count can be read back.
        counts = unit["num_train"] / (4 * np.array(unit["class_weights"]))
        np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)
        everyone = np.bincount(predictions.label, minlength=4)
        assert (counts + np.bincount(scored.label, minlength=4) < everyone + 1e-9).all()
        assert round(counts.sum()) == unit["num_train"]


def test_repeated_folds_score_everyone_once_in_each_repeat(inputs: Path, tmp_path: Path) -> None:
    done = Done(
        inputs,
        tmp_path,
        {"train": {"epochs": 1}},
        evaluate={"protocol": "folds", "folds": 3, "repeats": 2},
        seeds=None,
    )
    assert [(u["seed"], u["repeat"], u["fold"]) for u in done.units] == [
        (seed, repeat, fold) for seed, repeat in ((42, 0), (43, 1)) for fold in range(3)
    ]
    scores = by_participant(done.predictions)
    assert (scores.seed_S, scores.repeat_S) == ((42, 43), (0, 1))
    assert len(scores.participant_P) == 36
    assert {(line["seed"], line["repeat"], line["fold"]) for line in done.history} == {
        (u["seed"], u["repeat"], u["fold"]) for u in done.units
    }


def test_defect_head_hidden_and_dropout_take_effect(inputs: Path, tmp_path: Path) -> None:
    linear = Done(inputs, tmp_path / "0", {"train.epochs": 1})
    hidden = Done(inputs, tmp_path / "1", {"train.epochs": 1, "model.head.hidden": 256})
    assert {tuple(x.shape) for x in linear.weights("last-seed42-repeat0-fold0").values()} == {(4, 32), (4,)}
    shapes = {tuple(x.shape) for x in hidden.weights("last-seed42-repeat0-fold0").values()}
    assert {(256, 32), (4, 256)} <= shapes
    assert hidden.units[0]["groups"][0]["num_parameters"] > linear.units[0]["groups"][0]["num_parameters"]
    dropped = Done(inputs, tmp_path / "2", {"train.epochs": 1, "model.head.dropout": 0.5})
    assert dropped.history[0]["train/loss"] != linear.history[0]["train/loss"]


def test_defect_early_stopping_is_read_where_it_stands_and_selects_the_epoch_that_is_scored(
    inputs: Path, tmp_path: Path
) -> None:
    stopping = {"enabled": True, "patience": 2, "min_delta": 0.0, "metric": "loss", "holdout": 0.3}
    config = {"epochs": 60, "lr_head": 0.3, "scheduler": "none", "early_stopping": stopping}
    done = Done(inputs, tmp_path, {"train": config})
    (unit,) = done.units
    assert unit["stopped_early"]
    assert unit["epochs_run"] == len(done.history) < 60
    best = min(done.history, key=lambda record: record["holdout/loss"])
    assert unit["scored_epoch"] == best["epoch"] == unit["epochs_run"] - 1 - stopping["patience"]
    assert "held-out training participants" in done.result.training["selection"]
    # The metrics reported are those of that epoch, not of the last.
    metrics = done.result.evaluation["metrics"]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc"):
        assert metrics[name] == pytest.approx(best[f"eval/{name}"], abs=1e-12)
    assert metrics["log_loss"] == pytest.approx(best["eval/loss"], abs=1e-9)
    assert best["eval/loss"] != done.history[-1]["eval/loss"]


def test_without_early_stopping_the_last_epoch_is_scored(inputs: Path, tmp_path: Path) -> None:
    done = Done(inputs, tmp_path, {"train.epochs": 4})
    assert done.units[0]["scored_epoch"] == 3
    assert done.result.training["selection"] == "last epoch"
    last = done.history[-1]
    assert done.result.evaluation["metrics"]["log_loss"] == pytest.approx(last["eval/loss"], abs=1e-9)


def test_a_fine_tuned_unit_says_how_far_its_scored_encoder_moved(inputs: Path, tmp_path: Path) -> None:
    done = Done(
        inputs,
        tmp_path,
        {
            "train": {"epochs": 3, "lr_encoder": 0.01, "early_stopping": {"enabled": True, "metric": "loss"}},
            "model": {"freeze_encoder": False, "unfreeze_at_epoch": 1},
        },
    )
    start = read_checkpoint(inputs / "a.pt", encoder="auto", uri="a.pt", num_heads=2).encoder.state_dict()
    scored = done.weights("best-seed42-repeat0-fold0")
    names = sorted(start)
    start_P = torch.cat([start[name].flatten() for name in names]).double()
    scored_P = torch.cat([scored[f"encoder.{name}"].flatten() for name in names]).double()
    (unit,) = done.units
    assert unit["encoder_change"] == pytest.approx(
        float((scored_P - start_P).norm() / start_P.norm()), rel=1e-9
    )
    assert unit["encoder_change"] > 0
    assert unit["scored_epoch"] in (1, 2)


def test_defect_warmup_and_schedule_hold_through_unfreezing(inputs: Path, tmp_path: Path) -> None:
    done = Done(
        inputs,
        tmp_path,
        {
            "train": {"epochs": 4, "warmup_epochs": 2, "lr_head": 0.01, "lr_encoder": 0.001},
            "model": {"freeze_encoder": False, "unfreeze_at_epoch": 2},
            "data.batch_size": 8,
        },
    )
    steps = 3
    for record in done.history:
        factor = lr_factor((record["epoch"] + 1) * steps - 1, steps, 4, 2, "cosine")
        assert record["lr"]["head"] == pytest.approx(0.01 * factor)
        assert record["lr"]["encoder"] == pytest.approx(0.001 * factor)
    rates = [record["lr"]["head"] for record in done.history]
    assert rates[0] == pytest.approx(0.005)
    assert rates[1] == pytest.approx(0.01)
    assert rates[3] < rates[2] < rates[1]


def test_defect_everyone_expected_is_scored_and_the_metrics_are_of_the_saved_predictions(
    inputs: Path, tmp_path: Path
) -> None:
    done = Done(inputs, tmp_path, {"train.epochs": 3, "train.sampler": "weighted"})
    predictions, metrics = done.predictions, done.result.evaluation["metrics"]
    assert metrics["n"] == len(predictions.label) == len(set(predictions.participant)) == 12
    assert set(predictions.split) == {"val"}
    predicted = predictions.logits_NK.argmax(axis=1)
    expected = balanced_accuracy_score(predictions.label, predicted)
    assert metrics["balanced_accuracy"] == pytest.approx(expected, abs=1e-12)
    f1 = f1_score(predictions.label, predicted, labels=range(4), average=None, zero_division=0)
    np.testing.assert_allclose(metrics["per_class_f1"], f1, atol=1e-12)
    assert done.units[0]["num_eval"] == 12


def test_defect_an_absent_class_does_not_shift_the_others_f1() -> None:
    volumes = [v for v in cohort(3, [1]) if v.participant.split == "val" and v.participant.label != 1]
    scorer = Scorer(volumes, Experiment())
    positions = np.arange(len(volumes))
    unit = Unit(0, 0, positions, positions[:0], positions)
    metrics = scorer.metrics(unit, positions, np.eye(4)[scorer.label_N] * 5.0)
    np.testing.assert_array_equal(metrics.per_class_f1, [1.0, np.nan, 1.0, 1.0])


def test_a_weighted_sampler_beside_class_weights_is_flagged(inputs: Path, tmp_path: Path) -> None:
    done = Done(inputs, tmp_path, {"train": {"epochs": 1, "sampler": "weighted", "class_weights": "auto"}})
    assert any("double correction" in note for note in done.result.notes)
