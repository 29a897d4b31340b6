"""The truth, where nothing is to be learned: no checkpoint beats untrained encoders, nor what sees no image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from doubles.tiny_sweep import SIZE, save_checkpoint, submitted, sweep_file, uri_of
from doubles.vjepa3d import save_original_checkpoint

from octjob.data.synthesize.bucket import synthesize
from octjob.data.synthesize.recipe import SynthesisRecipe
from octjob.leaderboard.board import Leaderboard, build_leaderboard
from octjob.leaderboard.collect import read_outcomes
from octjob.leaderboard.outcome import Outcome
from octjob.records.layout import read_sweep
from octjob.run.job import run_job
from octjob.storage.open import open_store

NUM_INITIALISATIONS = 5


def swept(folder: Path, class_effect: float) -> Leaderboard:
    """A checkpoint, five untrained encoders and a control on synthetic eyes of this class effect."""
    recipe = SynthesisRecipe(
        seed=7,
        participants={"train": (10, 10, 10, 10), "val": (10, 10, 10, 10)},
        devices_per_participant=1,
        eyes="one",
        geometry_scale=(0.06, 0.06, 0.06),
        class_effect=class_effect,
    )
    synthesize(open_store(f"{folder}/bucket"), recipe)
    names = ["a"]
    save_checkpoint(folder / "a.pt")
    for number in range(NUM_INITIALISATIONS):
        names.append(f"fresh-{number}")
        save_original_checkpoint(folder / f"fresh-{number}.pt", seed=10 + number, num_steps=0, **SIZE)
    path = sweep_file(
        folder,
        {"logistic": {"train.optimizer": "LBFGS", "train.standardize": True}},
        checkpoints={name: {"uri": f"{folder}/{name}.pt", "num_heads": 2} for name in names},
        controls=["site_device"],
    )
    store, plan = submitted(path)
    for run in plan.runs:
        run_job(uri_of(run), lambda progress: None)
    sweep = read_sweep(store)
    return build_leaderboard(sweep, [as_control(one) for one in read_outcomes(store, sweep)], num_draws=500)


def as_control(one: Outcome) -> Outcome:
    """Untrained encoders as the initialisations that they are."""
    if not one.entry.checkpoint.startswith("fresh-"):
        return one
    name = one.entry.checkpoint.replace("fresh", "random_init")
    entry = one.entry.model_copy(update={"checkpoint": name, "control": "random_init"})
    return replace(one, entry=entry)


@pytest.mark.slow
def test_without_a_class_effect_nothing_is_better_than_what_knows_nothing(tmp_path: Path) -> None:
    made = swept(tmp_path, class_effect=0)
    (row,) = [row for row in made.rows if row.control is None]
    assert row.lift is not None, row.reasons
    assert row.lift.num_initialisations == NUM_INITIALISATIONS
    assert row.lift.low <= 0 <= row.lift.high
    (site,) = [row for row in made.rows if row.control == "site_device"]
    assert made.headline.leader is None or (site.vs_leader is not None and site.vs_leader.tied)
    assert not made.headline.text.endswith("above five untrained encoders.")
