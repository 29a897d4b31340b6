"""What a demonstration is made of: a YAML file beside this module, read into a closed model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from octjob.data.synthesize.recipe import Device, Frozen, SynthesisRecipe
from octjob.errors import SpecError
from octjob.spec.validate import validate
from octjob.spec.yaml import load, loads, merge, subdocument

Positive = Annotated[int, Field(gt=0)]
Triple = tuple[Positive, Positive, Positive]

RECIPE_PATH = Path(__file__).with_name("recipe.yaml")
# By sweep: sweeps/<name>.yaml runs on what the recipe makes.
RECIPES = {"demo": RECIPE_PATH, "seed_replay": RECIPE_PATH.with_name("seed_replay.yaml")}


class EncoderRecipe(Frozen):
    """The arguments of `octjob.models.encoder.EncoderGeometry`; sizes in voxels (D, H, W)."""

    volume_size: Triple
    patch_size: Triple
    embed_dim: Positive
    depth: Positive
    num_heads: Positive
    mlp_ratio: float


class PretrainingRecipe(Frozen):
    """Masked reconstruction: what the encoder sees, and how it is optimised. No labels, no clock."""

    mask_ratio: Annotated[float, Field(gt=0, lt=1)]
    decoder_dim: Positive
    decoder_heads: Positive
    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    warmup_steps: Positive
    weight_decay: Annotated[float, Field(ge=0)]


class CheckpointRecipe(Frozen):
    """One checkpoint: the devices whose training volumes it sees, and for how long.

    steps: length of the learning-rate schedule; stop_after: steps really taken, all of them if not given, 0 for an
    encoder as it was initialised.
    """

    devices: Annotated[tuple[Device, ...], Field(min_length=1)]
    steps: Positive
    stop_after: Annotated[int, Field(ge=0)] | None = None
    seed: int

    @model_validator(mode="after")
    def _stop_within(self) -> CheckpointRecipe:
        if self.stop_after is not None and self.stop_after > self.steps:
            raise ValueError(f"stop_after {self.stop_after} is beyond steps {self.steps}")
        return self

    @property
    def steps_taken(self) -> int:
        """How many steps are really taken."""
        return self.steps if self.stop_after is None else self.stop_after


class DemoRecipe(Frozen):
    """The whole demo: data, encoder, pretraining, checkpoints by name."""

    synthesis: SynthesisRecipe
    encoder: EncoderRecipe
    pretraining: PretrainingRecipe
    checkpoints: dict[str, CheckpointRecipe]


def load_recipe(path: Path = RECIPE_PATH) -> DemoRecipe:
    """Read and validate a demo recipe.

    Raises `SpecError` naming file, line and key.
    """
    return validate(DemoRecipe, load(path), str(path))


def load_synthesis(path: Path | None, settings: Sequence[str]) -> SynthesisRecipe:
    """A recipe for data alone: the file's (default: the demo's), then `key=value` settings on top.

    Raises `SpecError` naming file, line and key, or the setting.
    """
    base = load(path) if path is not None else subdocument(load(RECIPE_PATH), ("synthesis",))
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise SpecError(f"--set {setting}: not KEY=VALUE", "Write for instance --set class_effect=0.")
        one = loads(f"{key}: {value}", f"--set {setting}")
        base = merge(base, subdocument(one, ()))
    return validate(SynthesisRecipe, base, str(path or RECIPE_PATH))
