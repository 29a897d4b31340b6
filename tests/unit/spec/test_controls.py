"""Controls of a sweep: one run for each and each selection of data, beside runs that are what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import yaml

from octjob.errors import SpecError
from octjob.records.preparation import preparation_of
from octjob.spec.encoding import encoding_of
from octjob.spec.expand import Plan, plan_sweep
from octjob.spec.run import make_run_id

ALL = ["prior", "clinical", "site_device"]
IDS = [
    "a.linear-1733f3c1",
    "a.finetune-c4413bcb",
    "control.prior-c876a5e1",
    "control.clinical-e826708e",
    "control.site_device-16b8ad23",
]
LEARNING_RATES = [round(0.001 * (1 + number), 3) for number in range(51)]


def planned(folder: Path, **changes: Any) -> Plan:
    content: dict[str, Any] = {
        "name": "s",
        "output": str(folder / "out"),
        "checkpoints": {"a": "a.pt", "b": "b.pt"},
        "configs": {
            "linear": {"overrides": {"data.source": "/data"}},
            "finetune": {"overrides": {"data.source": "/data", "model.freeze_encoder": False}},
        },
        **changes,
    }
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return plan_sweep(path, folder)


def names(plan: Plan) -> list[str]:
    return [f"{run.checkpoint_name}.{run.config_name}" for run in plan.runs if run.control]


def test_each_control_is_one_run_whatever_checkpoints_and_configs(tmp_path: Path) -> None:
    plan = planned(tmp_path, controls=ALL)
    assert names(plan) == ["control.prior", "control.clinical", "control.site_device"]
    assert [run.control for run in plan.runs] == [None] * 4 + ALL
    controls = {run.run_id for run in plan.runs if run.control}
    others = planned(
        tmp_path,
        controls=ALL,
        checkpoints={"c": "c.pt"},
        configs={"other": {"overrides": {"data.source": "/data", "train.lr_head": 0.1}}},
    )
    assert {run.run_id for run in others.runs if run.control} == controls
    assert len(controls) == len(ALL)


def test_other_runs_keep_their_ids(tmp_path: Path) -> None:
    without = planned(tmp_path)
    assert planned(tmp_path, controls=ALL).runs[: len(without.runs)] == without.runs


def test_what_a_control_is_changes_with_the_data_alone(tmp_path: Path) -> None:
    (first,) = [run for run in planned(tmp_path, controls=["prior"]).runs if run.control]
    (other,) = [
        run for run in planned(tmp_path, controls=["prior"], data={"laterality": "left"}).runs if run.control
    ]
    assert first.run_id != other.run_id
    assert make_run_id(other.model_copy(update={"control": "clinical"})) != other.run_id


def test_each_selection_of_data_has_its_own(tmp_path: Path) -> None:
    grid = {"data.laterality": ["left", "right"], "train.lr_head": [0.1, 0.01]}
    configs = {"linear": {"overrides": {"data.source": "/data"}}}
    plan = planned(tmp_path, controls=["prior", "clinical"], configs=configs, grid=grid)
    second = "linear.laterality-right.lr_head-0-1"
    assert names(plan) == [
        "control.prior", f"control.prior.{second}", "control.clinical", f"control.clinical.{second}",
    ]  # fmt: skip
    assert [run.config.data.laterality for run in plan.runs if run.control] == ["left", "right"] * 2


def test_they_are_split_and_seeded_as_logistic_regression_is(tmp_path: Path) -> None:
    configs = {"logistic": {"overrides": {"data.source": "/data", "train.optimizer": "LBFGS"}}}
    folds = {"evaluate": {"protocol": "folds", "folds": 3, "repeats": 2, "fold_seed": 7}}
    for protocol in ({}, {"seeds": [3, 4]}, folds):
        logistic, _, control = planned(tmp_path, controls=["site_device"], configs=configs, **protocol).runs
        assert (control.passes, control.folds, control.fold_seed) == (
            logistic.passes, logistic.folds, logistic.fold_seed,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said", "hint"),
    [
        ({"controls": ["prior", "site_devise"]}, "got the text 'site_devise'", "Did you mean site_device?"),
        ({"controls": ["prior", "prior"]}, "controls must be distinct", ""),
        ({"controls": {"prio": {}}}, "controls.prio: unknown key", "Did you mean controls.prior?"),
        (
            {"controls": {"prior": {"seeds": 3}}},
            "controls.prior.seeds: unknown key",
            "prior takes no options: write prior: with nothing behind it, or leave it out.",
        ),
        (
            {"controls": {"prior": False}},
            "controls.prior: expected a mapping, got false",
            "prior takes no options: write prior: with nothing behind it, or leave it out.",
        ),
        (
            {"controls": ["prior", {"random_init": {"seeds": 3}}]},
            "controls.1: expected",
            "Options stand in a mapping: controls: {prior: , random_init: {seeds: 3}}.",
        ),
        (
            {"controls": {"random_init": {"seed": 3}}},
            "controls.random_init.seed: unknown key",
            "Did you mean controls.random_init.seeds?",
        ),
        ({"controls": {"random_init": {"seeds": 1}}}, "controls.random_init.seeds: ", ""),
        (
            {"controls": {"random_init": 5}},
            "controls.random_init: expected a mapping, got the number 5",
            "Write random_init: with nothing behind it for its defaults, a mapping of options, or leave it out.",
        ),
        ({"controls": {"shuffled_labels": {"shuffles": 19}}}, "controls.shuffled_labels.shuffles: ", ""),
        (
            {"controls": "prior"},
            "controls: expected a list or a mapping, got the text 'prior'",
            "Write a list, such as controls: [prior, random_init]; or leave the key out.",
        ),
        (
            {"controls": {"random_init": {"like": "c"}}},
            "controls.random_init.like: no checkpoint named 'c'",
            "The checkpoints are a, b.",
        ),
        (
            {
                "controls": {"random_init": {"like": "b"}},
                "checkpoints": {"a": "a.pt", "b": {"uri": "b", "backbone": "timm"}},
            },
            "controls.random_init.like: b has backbone: timm",
            "The checkpoints without a backbone are a.",
        ),
        (
            {
                "controls": ["target_encoder"],
                "checkpoints": {"b": {"uri": "b", "backbone": "timm"}},
            },
            "controls: target_encoder is of checkpoints without a backbone, and there is none",
            "Leave it out, or add a checkpoint of octjob's own architecture.",
        ),
        (
            {"controls": {"target_encoder": {"checkpoints": ["a", "c*"]}}},
            "controls.target_encoder.checkpoints: no checkpoint matches 'c*'",
            "There are a, b.",
        ),
        (
            {"controls": {"shuffled_labels": {"configs": ["finetune"]}}},
            "controls.shuffled_labels.configs: no probe config matches 'finetune'",
            "There are linear.",
        ),
        (
            {
                "controls": ["shuffled_labels"],
                "configs": {
                    "f": {"overrides": {"data.source": "/data", "model.freeze_encoder": False}},
                },
            },
            "controls: shuffled_labels trains probes, and no configuration is one",
            "Leave it out, or add a configuration with model.freeze_encoder: true.",
        ),
        (
            {"controls": ["random_init"], "checkpoints": {"a": "a.pt", "random_init-3": "c.pt"}},
            "checkpoints.random_init-3: so are the runs of `controls` called",
            "Give the checkpoint another name.",
        ),
        (
            {"controls": ["target_encoder"], "checkpoints": {"a": "a.pt", "target_encoder-a": "c.pt"}},
            "checkpoints.target_encoder-a: so are",
            "Give the checkpoint another name.",
        ),
        (
            {"controls": {"random_init": {"seeds": 100}}, "grid": {"train.lr_head": LEARNING_RATES}},
            "controls: more than 10000 runs with them",
            ANY,
        ),
        (
            {"checkpoints": {"a": {"uri": "a.pt", "untrained_seed": 3}}},
            "checkpoints.a.untrained_seed: unknown key",
            ANY,
        ),
        (
            {"controls": ["prior"], "checkpoints": {"control": "c.pt"}},
            "checkpoints.control: so are the runs of `controls` called",
            "Give the checkpoint another name.",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(
    tmp_path: Path, changes: dict[str, Any], said: str, hint: str
) -> None:
    with pytest.raises(SpecError) as caught:
        planned(tmp_path, **changes)
    assert said in caught.value.message
    assert caught.value.message.startswith(f"{tmp_path}/sweep.yaml:")
    assert caught.value.hint == hint


def test_what_a_hint_says_to_write_is_taken(tmp_path: Path) -> None:
    for line in ("controls: [prior, random_init]", "controls: {prior: , random_init: {seeds: 3}}"):
        written = yaml.safe_load(line)["controls"]
        assert names(planned(tmp_path, controls=written))[0] == "control.prior"


def test_a_baseline_config_is_no_control(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no configuration named 'prior'"):
        planned(tmp_path, controls=["prior"], baseline_config="prior")


def test_ids_of_before_there_were_controls_that_read_volumes(tmp_path: Path) -> None:
    ids = [run.run_id for run in planned(tmp_path, checkpoints={"a": "/a.pt"}, controls=ALL).runs]
    assert ids == IDS


def test_a_mapping_means_what_a_list_means(tmp_path: Path) -> None:
    wanted = ["prior", "pixel_pca", "random_init", "target_encoder", "shuffled_labels"]
    assert planned(tmp_path, controls=dict.fromkeys(wanted)).runs == planned(tmp_path, controls=wanted).runs


def test_fresh_weights_go_under_every_configuration(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        controls={"random_init": {"like": "b"}},
        checkpoints={
            "a": "a.pt",
            "b": {"uri": "b.pt", "num_heads": 2, "pretraining_participants": "ids.txt"},
        },
        exclude=[{"checkpoint": "b", "config": "finetune"}],
    )
    of = [run for run in plan.runs if run.control]
    assert names(plan) == [
        f"random_init-{seed}.{config}" for config in ("linear", "finetune") for seed in range(5)
    ]
    assert [run.checkpoint.untrained_seed for run in of] == [*range(5)] * 2
    assert {run.checkpoint.uri for run in of} == {f"file://{tmp_path}/b.pt"}
    assert {run.checkpoint.num_heads for run in of} == {2}
    assert {run.checkpoint.pretraining_participants for run in of} == {None}
    for run in of:
        (own,) = [
            one for one in plan.runs if (one.checkpoint_name, one.config_name) == ("a", run.config_name)
        ]
        assert (run.config, run.seeds, run.passes) == (own.config, own.seeds, own.passes)
        assert encoding_of(run) != encoding_of(own)
    assert len({run.run_id for run in plan.runs}) == len(plan.runs) == 3 + 10
    assert len({encoding_of(run) for run in of}) == 5


def test_few_initialisations_are_noted(tmp_path: Path) -> None:
    for seeds, noted in ((4, True), (5, False)):
        plan = planned(tmp_path, controls={"random_init": {"seeds": seeds}})
        said = [
            run for run in plan.runs if any("an interval over them needs 5" in note for note in run.notes)
        ]
        assert [run.control for run in said] == ["random_init"] * (2 * seeds if noted else 0)


def test_the_other_encoder_is_that_of_each_pair(tmp_path: Path) -> None:
    exclude = [{"checkpoint": "b", "config": "finetune"}]
    plan = planned(tmp_path, controls=["target_encoder"], exclude=exclude)
    assert names(plan) == ["target_encoder-a.linear", "target_encoder-b.linear", "target_encoder-a.finetune"]
    for run in plan.runs:
        assert run.checkpoint.other_encoder == (run.control == "target_encoder")


def test_labels_are_shuffled_under_the_first_probe_unless_others_are_named(tmp_path: Path) -> None:
    grid = {"train.lr_head": [0.1, 0.01]}
    plan = planned(tmp_path, controls=["shuffled_labels"], grid=grid)
    first = [f"shuffled_labels-{name}.linear.lr_head-0-1" for name in "ab"]
    assert names(plan) == first
    assert {(run.seeds, run.num_units) for run in plan.runs if run.control} == {(tuple(range(20)), 20)}
    options = {"shuffles": 30, "configs": ["linear*"], "checkpoints": ["b"]}
    plan = planned(tmp_path, controls={"shuffled_labels": options}, grid=grid)
    assert names(plan) == [f"shuffled_labels-b.linear.lr_head-0-{rate}" for rate in ("1", "01")]
    assert {run.num_units for run in plan.runs if run.control} == {30}


def test_pixels_are_of_the_volumes_that_encoders_get(tmp_path: Path) -> None:
    """Once for each way in which they are made; where that is alike, once."""
    linear = {"data.source": "/data"}
    plan = planned(
        tmp_path,
        controls=["prior", "pixel_pca"],
        checkpoints={"a": {"uri": "a.pt", "volume_size": [8, 16, 16]}},
        configs={
            "linear": {"overrides": {**linear, "data.num_workers": 2}},
            "other": {"overrides": {**linear, "train.lr_head": 0.1}},
            "clipped": {"overrides": {**linear, "data.profile": "seed_finetune"}},
        },
    )
    assert names(plan) == ["control.prior", "control.pixel_pca", "control.pixel_pca.clipped"]
    of = [run for run in plan.runs if run.control == "pixel_pca"]
    assert [run.config.data.profile for run in of] == ["pretraining", "seed_finetune"]
    assert of[0].config.data.num_workers == 2
    assert {(run.checkpoint.uri, run.checkpoint.volume_size) for run in of} == {("", (8, 16, 16))}
    (original,) = [run for run in planned(tmp_path, controls=["pixel_pca"]).runs if run.control]
    assert original.checkpoint.volume_size == (32, 96, 96)


def test_two_questions_of_a_run(tmp_path: Path) -> None:
    every = [*ALL, "pixel_pca", "random_init", "target_encoder", "shuffled_labels"]
    asked = {
        run.control: (run.reads_volumes, run.has_encoder) for run in planned(tmp_path, controls=every).runs
    }
    assert asked == {
        **dict.fromkeys(ALL, (False, False)),
        "pixel_pca": (True, False),
        **dict.fromkeys([None, "random_init", "target_encoder", "shuffled_labels"], (True, True)),
    }


def test_fresh_weights_need_no_volumes_of_their_own(tmp_path: Path) -> None:
    """What is prepared for the checkpoint's runs is prepared for theirs; pixels have a run of their own there."""
    shared = {"shared_cache": "float16"}
    checkpoints = {"a": {"uri": "a.pt", "volume_size": [8, 16, 16]}}
    plain = preparation_of(planned(tmp_path, data=shared, checkpoints=checkpoints))
    wanted = ["prior", "random_init", "target_encoder", "shuffled_labels"]
    assert preparation_of(planned(tmp_path, data=shared, checkpoints=checkpoints, controls=wanted)) == plain
    pixels = preparation_of(planned(tmp_path, data=shared, checkpoints=checkpoints, controls=["pixel_pca"]))
    assert [run.control for run in pixels.runs] == [None, "pixel_pca"]
