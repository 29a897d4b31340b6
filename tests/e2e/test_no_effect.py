"""The demo's own configurations, small: nothing is found where there is nothing, and something where there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from octjob.data.synthesize import synthesize
from octjob.demo.checkpoints import pretrain_all
from octjob.demo.recipe import DemoRecipe, load_recipe
from octjob.records.layout import read_result
from octjob.records.schema import Result
from octjob.run.job import run_job
from octjob.share import shared_file
from octjob.spec.expand import plan_sweep
from octjob.storage.open import open_store
from octjob.targets.submit import write_plan

pytestmark = pytest.mark.slow

SEEDS = (1, 2, 3, 4)
CHECKPOINT = "multi_domain"
CHANCE = 0.25


def small_recipe(seed: int, class_effect: float, num_train: int = 120, steps: int = 60) -> DemoRecipe:
    """The demo with fewer people and a shorter pretraining; everything else is the demo's."""
    recipe = load_recipe()
    people = {"train": num_train, "val": 160, "test": 8}
    synthesis = recipe.synthesis.model_copy(
        update={"seed": seed, "class_effect": class_effect, "participants": people}
    )
    checkpoint = recipe.checkpoints[CHECKPOINT].model_copy(update={"steps": steps})
    return recipe.model_copy(update={"synthesis": synthesis, "checkpoints": {CHECKPOINT: checkpoint}})


def run_demo(base: Path, recipe: DemoRecipe, only: str | None = None) -> dict[str, Result]:
    """The demo's sweep on this recipe, one checkpoint, in this process: results by configuration."""
    torch.set_num_threads(1)
    bucket = open_store(str(base / "bucket"))
    synthesize(bucket, recipe.synthesis)
    pretrain_all(bucket, recipe, base / "checkpoints", lambda done, total: None)
    plan = plan_sweep(shared_file("sweeps/demo.yaml"), base)
    store = open_store(plan.output)
    write_plan(plan, store, update=False)
    results = {}
    for run in plan.runs:
        if run.checkpoint_name == CHECKPOINT and only in (None, run.config_name):
            run_job(f"{plan.output}/runs/{run.run_id}", lambda progress: None)
            result = read_result(store, run.run_id)
            assert result is not None
            results[run.config_name] = result
    return results


def beats_chance(result: Result) -> bool:
    return bool(result.evaluation["intervals"]["balanced_accuracy"]["low"] > CHANCE)


@pytest.mark.timeout(600)
def test_without_a_class_effect_no_configuration_beats_chance_by_more_than_its_interval_says(
    tmp_path: Path,
) -> None:
    outcomes = [run_demo(tmp_path / str(seed), small_recipe(seed, class_effect=0.0)) for seed in SEEDS]
    # 16 intervals of 95 %: each excludes chance from above one time in forty, and those of a seed go together.
    assert sum(beats_chance(result) for outcome in outcomes for result in outcome.values()) <= 2
    for config in outcomes[0]:
        values = [outcome[config].evaluation["metrics"]["balanced_accuracy"] for outcome in outcomes]
        # The standard error of a balanced accuracy of 160 people is about 0.034; of the mean of four, 0.017.
        assert abs(np.mean(values) - CHANCE) < 3 * 0.017, (config, values)
        aurocs = [outcome[config].evaluation["metrics"]["macro_auroc"] for outcome in outcomes]
        assert abs(np.mean(aurocs) - 0.5) < 3 * 0.017, (config, aurocs)


@pytest.mark.timeout(600)
def test_with_the_demos_class_effect_a_small_demo_does(tmp_path: Path) -> None:
    recipe = small_recipe(1, load_recipe().synthesis.class_effect, num_train=400, steps=200)
    assert beats_chance(run_demo(tmp_path, recipe, only="logistic")["logistic"])


@pytest.mark.timeout(600)
def test_the_demos_fine_tuning_moves_the_encoder(tmp_path: Path) -> None:
    recipe = small_recipe(1, load_recipe().synthesis.class_effect)
    (unit,) = run_demo(tmp_path, recipe, only="finetune")["finetune"].training["units"]
    assert unit["encoder_change"] > 0.01
