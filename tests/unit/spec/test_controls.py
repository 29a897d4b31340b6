"""Controls of a sweep: one run for each and each selection of data, beside runs that are what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from octjob.errors import SpecError
from octjob.spec.expand import Plan, plan_sweep
from octjob.spec.run import make_run_id

ALL = ["prior", "clinical", "site_device"]


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


def test_a_baseline_config_is_no_control(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no configuration named 'prior'"):
        planned(tmp_path, controls=["prior"], baseline_config="prior")
