"""A sweep: named checkpoints x named configs (x an optional grid), where it runs and where results go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from octjob.spec.experiment import Count, Section, Size3, _as_tuple

_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")
NAME_RULE = "lower-case letters, digits, - and _, starting and ending with a letter or digit"


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a name: use {NAME_RULE}")
    return name


class Checkpoint(Section):
    """Pretrained weights: where they are, which bytes they must be, and what the file may not say itself."""

    uri: str
    sha256: str | None = Field(None, description="Refuse any other file.")
    volume_size: Size3 | None = Field(
        None, description="(D, H, W) where the file's config does not say it, or wrongly."
    )
    num_heads: Count | None = Field(
        None, description="Attention heads where the file's config does not say them."
    )


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


class Compute(Section):
    """Where runs are carried out. Nothing here can change a result."""

    target: Literal["local", "kubernetes"] = "local"
    concurrency: Count | None = Field(
        None, description="local: runs at a time; default one per core, at most 8."
    )
    accelerator: str | None = Field(None, description="kubernetes: slice, e.g. v4-32.")
    queue: str | None = None
    priority: str | None = None
    spot: bool = False
    image: str | None = None
    namespace: str | None = None
    service_account: str | None = None
    secrets: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()
    max_restarts: int = Field(3, ge=0)
    env: dict[str, str] = Field(default_factory=dict)


class Sweep(Section):
    """A whole sweep file."""

    name: str
    output: str = Field(description="URI or directory; the sweep's results go to <output>/<name>/.")
    cache: str | None = Field(None, description="URI of the shared feature cache; default <output>/cache.")
    checkpoints: dict[str, Checkpoint] = Field(min_length=1)
    configs: dict[str, ConfigEntry] = Field(min_length=1)
    grid: dict[str, Annotated[tuple[Any, ...], BeforeValidator(_as_tuple)]] = Field(default_factory=dict)
    include: Annotated[tuple[Pair, ...], BeforeValidator(_as_tuple)] = ()
    exclude: Annotated[tuple[Pair, ...], BeforeValidator(_as_tuple)] = ()
    seeds: Annotated[tuple[int, ...], BeforeValidator(_as_tuple)] = Field(
        (), description="Training seeds inside each run; default the config's own."
    )
    folds: int = Field(
        0, ge=0, description="Cross-validate over train+val participants; 0 trains on train and scores val."
    )
    baseline: str | None = Field(None, description="Checkpoint that the others are compared with.")
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
        return _check_name(value)

    @field_validator("checkpoints", "configs")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            _check_name(name)
        return value

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value) or any(seed < 0 for seed in value):
            raise ValueError("seeds must be distinct and not negative")
        return value

    @field_validator("folds")
    @classmethod
    def _enough_folds(cls, value: int) -> int:
        if value == 1:
            raise ValueError(
                "one fold leaves nothing to train on; use 0 (the data set's own split) or 2 and more"
            )
        return value
