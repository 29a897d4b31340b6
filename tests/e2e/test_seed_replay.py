"""The original's 26.15 %, replayed on synthetic data: the shipped sweep with fewer seeds and a shallower encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from benchmarks.seed_replay import Replayed, replayed
from octjob.data.synthesize import synthesize
from octjob.demo.checkpoints import pretrain_all
from octjob.demo.recipe import RECIPES, load_recipe
from octjob.doctor.examine import examine
from octjob.run.job import run_job
from octjob.share import shared_file
from octjob.spec.expand import plan_sweep
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store
from octjob.targets.submit import write_plan

pytestmark = pytest.mark.slow

NUM_SEEDS = 8


def shortened(folder: Path) -> Path:
    """sweeps/seed_replay.yaml with its first seeds."""
    content = yaml.safe_load(shared_file("sweeps/seed_replay.yaml").read_text())
    content["seeds"] = content["seeds"][:NUM_SEEDS]
    entry = content["configs"]["as_written"]
    entry["file"] = str(shared_file(f"configs/{Path(entry['file']).name}"))
    path = folder / "seed_replay.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("replay")
    recipe = load_recipe(RECIPES["seed_replay"])
    recipe = recipe.model_copy(update={"encoder": recipe.encoder.model_copy(update={"depth": 2})})
    bucket = open_store(str(base / "bucket"))
    synthesize(bucket, recipe.synthesis)
    pretrain_all(bucket, recipe, base / "checkpoints", lambda done, total: None)
    plan = plan_sweep(shortened(base), base)
    store = open_store(plan.output)
    write_plan(plan, store, update=False)
    for run in plan.runs:
        run_job(f"{plan.output}/runs/{run.run_id}", lambda progress: None)
    return store


@pytest.fixture(scope="module")
def replay(store: ObjectStore) -> dict[str, Replayed]:
    return {one.config: one for one in replayed(store)}


def test_the_numbers_are_those_the_original_reported(replay: dict[str, Replayed]) -> None:
    one = replay["as_written"]
    assert one.checkpoint_verdict == "untrained"
    assert one.constant
    # Reported: 0.357 of 255, whose standard error is 0.03.
    assert np.mean(one.train_accuracy_S) == pytest.approx(0.37, abs=0.03)
    assert one.num_above_uniform > NUM_SEEDS / 2
    assert one.num_reported >= NUM_SEEDS / 2


def test_class_weights_decide_which_constant_appears_and_find_nothing(replay: dict[str, Replayed]) -> None:
    # 121 of 255 are of class 0: unweighted, it is what the constant is most often.
    assert replay["as_written"].constant_classes.most_common(1)[0][0] == 0
    one = replay["class_weights"]
    assert len(one.constant_classes) > 1
    assert one.constant_classes[0] < sum(one.constant_classes.values()) / 2
    # Of 65 guesses at the commonest class, 30.8 % are right; the standard error of the mean is 0.02.
    assert np.mean(one.accuracy_S) < 20 / 65 + 0.04


def test_the_doctor_names_the_weights_and_computes_that_class_weights_will_not_help(
    store: ObjectStore,
) -> None:
    found = examine(store)
    assert found.cause is not None
    assert found.first_cause == "weights"
    assert found.cause.said == (
        "the encoder of best_checkpoint is untrained: its features carry no more than an untrained encoder's;"
        " the file says epoch 0"
    )
    (prior,) = (one for one in found.findings if one.gate == "prior")
    assert (
        "class weights will not help by more than 0.05: with the prior of 12.1 : 1 divided out" in prior.said
    )
