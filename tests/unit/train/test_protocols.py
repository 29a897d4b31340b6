"""Sites and devices left out, parts of the training participants: who is trained on, who is scored, what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles.aireadi_bucket import speckle
from doubles.tiny_sweep import fill_bucket, prepared, uri_of
from hypothesis import given, settings
from hypothesis import strategies as st

from octjob.data.cohort import Volume
from octjob.data.manifest import VolumeRecord
from octjob.data.participants import Participant
from octjob.data.sampling import subset
from octjob.errors import DataError, SpecError
from octjob.evaluate import by_participant, compute_metrics
from octjob.leaderboard.collect import collect
from octjob.records.history import read_history
from octjob.records.layout import read_result
from octjob.records.parts import read_part, read_parts_facts
from octjob.records.predictions import read_predictions
from octjob.run.job import run_job
from octjob.run.opening import open_test
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run
from octjob.spec.sweep import Checkpoint
from octjob.storage.base import ObjectStore
from octjob.train.units import Unit, units_of

SITES, DEVICES = ("UAB", "UCSD", "UW"), ("maestro2", "spectralis", "triton")


def volume(person: Participant, device: str) -> Volume:
    record = VolumeRecord(
        participant=person.id,
        device=device,
        manufacturer="",
        model="",
        region="Macula",
        imaging="OCT",
        laterality="R",
        height=12,
        width=10,
        num_frames=8,
        sop_instance_uid=f"1.{person.id}.{device}",
        key=f"{person.id}/{device}.dcm",
        protocol="",
    )
    return Volume(record, person)


def cohort(num: int, seed: int = 0, missing: float = 0.2) -> list[Volume]:
    """`num` participants of each class and split, each scanned by most of the devices; sites in turn."""
    rng, volumes = np.random.default_rng(seed), []
    for split in ("train", "val"):
        for label in range(4):
            for number in range(num):
                person = Participant(f"{split}{label}{number:03d}", SITES[number % 3], "", label, split, True)
                there = [one for one in DEVICES if rng.random() > missing] or [DEVICES[0]]
                volumes += [volume(person, one) for one in there]
    return volumes


def run(**changes: Any) -> Run:
    config = changes.pop("config", {})
    return Run(
        sweep="s",
        run_id="r",
        checkpoint_name="a",
        checkpoint=Checkpoint(uri="/a.pt"),
        config_name="c",
        config=Experiment.model_validate(config),
        output="/out",
        cache="/cache",
        **{"seeds": (3, 4), "folds": 0, **changes},
    )


def people(volumes: list[Volume], *parts: np.ndarray) -> set[str]:
    return {volumes[i].participant.id for part in parts for i in part}


def devices(volumes: list[Volume], *parts: np.ndarray) -> set[str]:
    return {volumes[i].record.device for part in parts for i in part}


STOPPING = {"train": {"early_stopping": {"enabled": True, "holdout": 0.2}}}


@settings(max_examples=15, deadline=None)
@given(num=st.integers(6, 12), seed=st.integers(0, 99), stopping=st.booleans())
def test_a_site_is_scored_by_what_was_trained_on_the_others(num: int, seed: int, stopping: bool) -> None:
    volumes = cohort(num, seed)
    units = units_of(volumes, run(leave_out="site", config=STOPPING if stopping else {}))
    assert [(u.seed, u.fold, u.left_out) for u in units] == [
        (one, k, site) for one in (3, 4) for k, site in enumerate(SITES)
    ]
    for unit in units:
        seen = [volumes[i].participant.site for i in (*unit.train_N, *unit.holdout_N)]
        assert unit.left_out not in seen
        assert {volumes[i].participant.site for i in unit.eval_N} == {unit.left_out}
    scored = np.concatenate([u.eval_N for u in units if u.seed == 3])
    assert sorted(scored.tolist()) == list(range(len(volumes)))


@settings(max_examples=15, deadline=None)
@given(num=st.integers(6, 12), seed=st.integers(0, 99), stopping=st.booleans(), folds=st.integers(2, 4))
def test_a_device_is_scored_by_other_people_on_other_devices(
    num: int, seed: int, stopping: bool, folds: int
) -> None:
    volumes = cohort(num, seed)
    units = units_of(volumes, run(leave_out="device", folds=folds, config=STOPPING if stopping else {}))
    assert len({unit.name for unit in units}) == len(units) == 2 * folds * len(DEVICES)
    for unit in units:
        trained = (unit.train_N, unit.holdout_N)
        assert not people(volumes, *trained) & people(volumes, unit.eval_N)
        assert not people(volumes, unit.train_N) & people(volumes, unit.holdout_N)
        assert unit.left_out not in devices(volumes, *trained)
        assert devices(volumes, unit.eval_N) == {unit.left_out}
        assert bool(len(unit.holdout_N)) == stopping
    scored = np.concatenate([u.eval_N for u in units if u.seed == 3])
    assert sorted(scored.tolist()) == list(range(len(volumes)))
    # A participant is in one fold, whatever the device.
    fold_of: dict[str, set[int | None]] = {}
    for unit in units:
        for one in people(volumes, unit.eval_N):
            fold_of.setdefault(one, set()).add(unit.scored_fold)
    assert all(len(found) == 1 for found in fold_of.values())


@pytest.mark.parametrize(
    ("by", "change", "message", "hint"),
    [
        (
            "site",
            {"min_participants": 40},
            "UAB has 32 participants, fewer than",
            "data: {sites: [UCSD, UW]}",
        ),
        ("device", {"keep": "triton"}, "there is one device alone, triton", "Widen data.devices"),
        ("site", {"drop": ("UW", 2)}, "no participant of class 2 in UW", "data: {sites: [UAB, UCSD]}"),
        ("site", {"only": ("UW", 2)}, "no participant of class 2 in UAB", "data: {sites: [UCSD, UW]}"),
    ],
)
def test_what_cannot_be_left_out_is_one_error(
    by: Any, change: dict[str, Any], message: str, hint: str
) -> None:
    volumes = cohort(12)
    if "keep" in change:
        volumes = [v for v in volumes if v.record.device == change["keep"]]
    for key, keeps in (("drop", False), ("only", True)):
        if key in change:
            site, label = change[key]
            volumes = [
                v for v in volumes if v.participant.label != label or (v.participant.site == site) == keeps
            ]
    made = run(
        leave_out=by, folds=2 if by == "device" else 0, min_participants=change.get("min_participants", 1)
    )
    with pytest.raises(DataError, match=message) as caught:
        units_of(volumes, made)
    assert hint in caught.value.hint


@settings(max_examples=25, deadline=None)
@given(num=st.integers(1, 40), seed=st.integers(0, 99), draw=st.integers(0, 5))
def test_a_smaller_share_is_part_of_a_larger_one_and_holds_every_class(
    num: int, seed: int, draw: int
) -> None:
    pool = [
        Participant(f"{label}-{k}", SITES[k % 3], "", label, "train", True)
        for label in range(4)
        for k in range(num)
    ]
    before: frozenset[str] = frozenset()
    for share in (0.1, 0.25, 0.5, 1.0):
        chosen = subset(pool, share, seed, draw)
        assert before <= chosen
        for label in range(4):
            members = [one for one in pool if one.label == label and one.id in chosen]
            assert len(members) == min(num, max(5, round(share * num)))
            # Sites keep their shares, as far as whole people allow.
            counts = [sum(one.site == site for one in members) for site in SITES]
            assert max(counts) - min(counts) <= 2
        before = chosen
    assert subset(pool[::-1], 0.25, seed, draw) == subset(pool, 0.25, seed, draw)


def test_parts_are_drawn_by_fold_seed_alone_and_score_the_same_people() -> None:
    volumes = cohort(20)
    made = run(shares=(0.25, 0.5), draws=3)
    units = units_of(volumes, made)
    assert len(units) == made.num_units == 2 * (1 + 2 * 3)
    whole, parts = [u for u in units if u.share == 1], [u for u in units if u.share < 1]
    assert [u.fold for u in whole] == [0, 0]
    for unit in parts:
        assert np.array_equal(unit.eval_N, whole[0].eval_N)
        assert len(people(volumes, unit.train_N)) == 4 * round(unit.share * 20)

    def trained(units: list[Unit]) -> dict[tuple[float, int], set[str]]:
        return {(u.share, u.draw): people(volumes, u.train_N) for u in units if u.share < 1}

    by_seed = [trained([u for u in units if u.seed == seed]) for seed in (3, 4)]
    assert by_seed[0] == by_seed[1]
    assert len({frozenset(one) for one in by_seed[0].values()}) == 6
    assert trained(units_of(volumes, replace_seed(made, 1))) != by_seed[0]


def replace_seed(made: Run, fold_seed: int) -> Run:
    return made.model_copy(update={"fold_seed": fold_seed})


# What follows carries runs out.

LOGISTIC = {"logistic": {"train.optimizer": "LBFGS", "train.standardize": True}}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine participants of a class in train and six in val, each with a volume by two devices."""
    folder = tmp_path_factory.mktemp("protocols")
    bucket = fill_bucket(folder / "bucket", train=9, val=6)
    for number, identity in enumerate([row[bucket.id_column] for row in bucket.people]):
        x_DHW = (speckle(seed=1000 + number) // 4).astype("u1")
        bucket.volume(identity, x_DHW=x_DHW, device="topcon_maestro2")
    bucket.write()
    return folder


def carried_out(inputs: Path, evaluate: dict[str, Any], name: str, **changes: Any) -> tuple[ObjectStore, Run]:
    configs = changes.pop("configs", LOGISTIC)
    store, runs = prepared(inputs, configs, evaluate=evaluate, name=name, **changes)
    run_job(uri_of(runs[0]), lambda progress: None)
    return store, runs[0]


def test_a_run_by_device_gives_everyone_one_score_of_all_devices(inputs: Path) -> None:
    evaluate = {"protocol": "leave_one_out", "by": "device", "folds": 2, "min_participants": 6}
    store, made = carried_out(inputs, evaluate, "devices")
    predictions = read_predictions(store, made.run_id)
    assert set(predictions.split.tolist()) == {"cv"}
    assert len(by_participant(predictions).participant_P) == 60
    assert len(predictions.label) == 120
    board = collect(store)
    assert (board.rows[0].n, board.rows[0].num_models) == (60, 4)


def test_a_run_by_site_is_scored_over_all_sites_and_not_opened_for_the_test_split(inputs: Path) -> None:
    evaluate = {"protocol": "leave_one_out", "by": "site", "min_participants": 6}
    store, made = carried_out(inputs, evaluate, "sites")
    predictions = read_predictions(store, made.run_id)
    by_fold = {
        fold: set(predictions.site[predictions.fold == fold].tolist())
        for fold in set(predictions.fold.tolist())
    }
    assert by_fold == {0: {"UAB"}, 1: {"UCSD"}, 2: {"UW"}}
    board = collect(store)
    assert (board.rows[0].n, board.rows[0].num_models) == (60, 3)
    assert board.methods.configurations[0].leave_out == "site"
    with pytest.raises(SpecError, match="each of its models leaves a site out"):
        open_test(store, made.run_id, "a test", "me", lambda *_: None, lambda *_: None)


def test_the_table_shows_everyone_and_the_parts_lie_beside(inputs: Path) -> None:
    evaluate = {"protocol": "label_efficiency", "shares": [0.6, 1.0], "draws": 2}
    changes = {"seeds": [1, 2], "configs": {"probe": {"train.epochs": 3, "train.lr_head": 0.02}}}
    store, made = carried_out(inputs, evaluate, "labels", **changes)
    other_store, other = carried_out(inputs, {"protocol": "split"}, "whole", **changes)
    assert other.run_id != made.run_id
    table, whole = read_predictions(store, made.run_id), read_predictions(other_store, other.run_id)
    assert np.array_equal(table.logits_NK, whole.logits_NK)
    board, result = collect(store), read_result(store, made.run_id)
    assert result is not None
    assert (board.rows[0].num_models, len(result.training["units"])) == (2, 2)
    record = read_parts_facts(result.data)
    assert record is not None
    assert [(p.share, p.draw, p.participants) for p in record.parts] == [
        (0.6, 0, 20),
        (0.6, 1, 20),
        (1.0, 0, 36),
    ]
    for part in record.parts[:2]:
        scores = by_participant(read_part(store, made.run_id, part.share, part.draw))
        assert part.metrics["macro_auroc"] == pytest.approx(compute_metrics(scores)["macro_auroc"], abs=1e-12)
    assert record.parts[2].metrics["accuracy"] == pytest.approx(board.rows[0].value("accuracy"), abs=1e-12)
    curve = read_history(store, made.run_id)
    assert {line["fold"] for line in curve if "share" not in line} == {0}
    assert {line["share"] for line in curve if "share" in line} == {0.6}
