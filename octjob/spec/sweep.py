"""A sweep: named checkpoints x named configs (x an optional grid), where it runs and where results go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from octjob.spec.compute import Compute
from octjob.spec.control_options import ControlName, ControlNames, Controls
from octjob.spec.names import check_name
from octjob.spec.protocol import MAX_FOLDS, Evaluate, refuse_one_fold
from octjob.spec.section import MAX_LENGTH, Count, Section, Seed, Size3, as_tuple


class CheckpointEntry(Section):
    """Pretrained weights: where they are, which bytes they must be, and what the file may not say itself."""

    uri: str
    sha256: str | None = Field(None, description="Refuse any other file.")
    volume_size: Size3 | None = Field(
        None, description="(D, H, W) where the file's config does not say it, or wrongly."
    )
    num_heads: Count | None = Field(
        None, description="Attention heads where the file's config does not say them."
    )
    pretraining_participants: str | None = Field(
        None,
        description="URI of a text file with the ids, one a line, of the participants whose scans the checkpoint "
        "saw, where the file does not say them; the report then scores them apart.",
    )
    backbone: str | None = Field(
        None, description="Name of a registered encoder of others; default octjob's own."
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="What the backbone is told; which there are, it says."
    )


class Checkpoint(CheckpointEntry):
    """What a run reads: an entry, or what a control takes of its file instead.

    untrained_seed: none of the file's weights, but fresh ones of its architecture, drawn by this seed. other_encoder:
    of the file's two encoders the one that `model.encoder` does not take.
    """

    untrained_seed: Seed | None = None
    other_encoder: bool = False


class ConfigEntry(Section):
    """One named configuration: a file, overrides (nested or `a.b.c`), or both."""

    file: str | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)


class Pair(Section):
    """A pattern over pairs (`exclude`) or one further pair (`include`)."""

    checkpoint: str = "*"
    config: str = "*"
    name: str | None = Field(None, description="include only: the name of the new configuration.")
    overrides: dict[str, Any] = Field(default_factory=dict, description="include only.")

    @field_validator("name")
    @classmethod
    def _name(cls, value: str | None) -> str | None:
        return value if value is None else check_name(value)


Pairs = Annotated[tuple[Pair, ...], Field(max_length=200), BeforeValidator(as_tuple)]


class Sweep(Section):
    """A whole sweep file."""

    name: str
    output: str = Field(description="URI or directory; the sweep's results go to <output>/<name>/.")
    cache: str | None = Field(
        None, description="URI of the cache of features and volumes; default <output>/cache."
    )
    checkpoints: dict[str, CheckpointEntry] = Field(min_length=1, max_length=MAX_LENGTH)
    configs: dict[str, ConfigEntry] = Field(min_length=1, max_length=MAX_LENGTH)
    grid: dict[str, Annotated[tuple[Any, ...], Field(min_length=1), BeforeValidator(as_tuple)]] = Field(
        default_factory=dict
    )
    include: Pairs = ()
    exclude: Pairs = ()
    seeds: Annotated[tuple[Seed, ...], Field(max_length=MAX_LENGTH), BeforeValidator(as_tuple)] = Field(
        (),
        description="Training seeds inside each run; default five from the config's own for a probe trained by AdamW "
        "or SGD, one otherwise, and one for each repeat of folds.",
    )
    evaluate: Evaluate = Evaluate()
    folds: Annotated[int, Field(ge=0, le=MAX_FOLDS), AfterValidator(refuse_one_fold)] = Field(
        0, description="N is short for evaluate: {protocol: folds, folds: N, repeats: 1}."
    )
    baseline: str | None = Field(None, description="Checkpoint that the others are compared with.")
    baseline_config: str | None = Field(
        None, description="Configuration that the others are compared with; default the first."
    )
    controls: ControlNames | Controls = Field(
        (),
        description="Further runs, for what a checkpoint must be better than; a list, or each with its options.",
    )
    data: dict[str, Any] = Field(default_factory=dict, description="Overrides of every config's `data`.")
    compute: Compute = Compute()

    @field_validator("checkpoints", mode="before")
    @classmethod
    def _bare_uris(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: {"uri": v} if isinstance(v, str) else v for k, v in value.items()}
        return value

    @field_validator("configs", mode="before")
    @classmethod
    def _bare_files(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: {"file": v} if isinstance(v, str) else v for k, v in value.items()}
        return value

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return check_name(value)

    @field_validator("checkpoints", "configs")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            check_name(name)
        return value

    @field_validator("exclude")
    @classmethod
    def _patterns_only(cls, value: tuple[Pair, ...]) -> tuple[Pair, ...]:
        for pair in value:
            idle = [key for key in ("name", "overrides") if key in pair.model_fields_set]
            if idle:
                raise ValueError(f"{idle[0]} has no effect in exclude, only in include")
        return value

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("seeds must be distinct")
        return value

    @field_validator("controls")
    @classmethod
    def _each_control_once(cls, value: ControlNames | Controls) -> ControlNames | Controls:
        if isinstance(value, tuple) and len(set(value)) != len(value):
            raise ValueError("controls must be distinct")
        return value

    @field_validator("folds")
    @classmethod
    def _one_protocol(cls, value: int, info: ValidationInfo) -> int:
        evaluate = info.data.get("evaluate")
        if value and evaluate is not None and evaluate.model_fields_set:
            raise ValueError(
                f"stands beside evaluate; write evaluate: {{protocol: folds, folds: {value}}} only"
            )
        return value

    @property
    def control_options(self) -> Controls:
        """`controls`, also where a list names them."""
        return self.controls if isinstance(self.controls, Controls) else Controls.of(self.controls)

    @property
    def control_names(self) -> tuple[ControlName, ...]:
        """In the order of their runs: a list's own."""
        return self.controls.names if isinstance(self.controls, Controls) else self.controls

    @property
    def resampling(self) -> Evaluate:
        """`evaluate`, also where the short `folds` says it."""
        return Evaluate(protocol="folds", folds=self.folds, repeats=1) if self.folds else self.evaluate
