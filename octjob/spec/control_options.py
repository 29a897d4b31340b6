"""The controls of a sweep by name, and what each may be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from octjob.spec.section import MAX_LENGTH, Names, Section, as_tuple
from octjob.spec.yaml import KeyPath

ControlName = Literal[
    "prior", "clinical", "site_device", "pixel_pca", "random_init", "target_encoder", "shuffled_labels"
]

# Controls that look at no volume, and those that put none through an encoder.
BLIND: tuple[ControlName, ...] = ("prior", "clinical", "site_device")
WITHOUT_ENCODER: tuple[ControlName, ...] = (*BLIND, "pixel_pca")

# Of fewer draws a standard deviation, and so an interval, is hardly known.
ENOUGH_SEEDS = 5
MAX_SEEDS = 100
LEAST_SHUFFLES = 20
Patterns = Annotated[Names, Field(min_length=1)]


class NoOptions(Section):
    """A control that there is nothing to tell."""


class RandomInit(Section):
    """The architecture of a checkpoint with fresh weights, under every configuration."""

    seeds: int = Field(
        ENOUGH_SEEDS,
        ge=2,
        le=MAX_SEEDS,
        description=f"So many initialisations, from 0 on; an interval needs {ENOUGH_SEEDS}.",
    )
    like: str | None = Field(
        None, description="The checkpoint whose architecture is taken; default the sweep's first."
    )


class TargetEncoder(Section):
    """The other encoder of each checkpoint's file, under every configuration."""

    checkpoints: Patterns = Field(("*",), description="Patterns of names: whose other encoder.")


class ShuffledLabels(Section):
    """Probes of each checkpoint, trained on labels that were dealt anew among a site's participants."""

    shuffles: int = Field(
        LEAST_SHUFFLES,
        ge=LEAST_SHUFFLES,
        le=MAX_LENGTH,
        description="So many, from 0 on, each with its own heads.",
    )
    checkpoints: Patterns = Field(("*",), description="Patterns of names.")
    configs: Patterns | None = Field(
        None, description="Patterns of names of probe configurations; default the sweep's first probe alone."
    )


class Controls(Section):
    """The wanted controls, each with its options; None where it is not wanted."""

    prior: NoOptions | None = None
    clinical: NoOptions | None = None
    site_device: NoOptions | None = None
    pixel_pca: NoOptions | None = None
    random_init: RandomInit | None = None
    target_encoder: TargetEncoder | None = None
    shuffled_labels: ShuffledLabels | None = None

    @model_validator(mode="before")
    @classmethod
    def _named_alone(cls, value: Any) -> Any:
        """`prior:` with nothing behind it wants it too."""
        if not isinstance(value, Mapping):
            return value
        return {name: {} if options is None else options for name, options in value.items()}

    @classmethod
    def of(cls, names: Iterable[ControlName]) -> Controls:
        """These, with default options."""
        return cls.model_validate({name: {} for name in names})

    @property
    def names(self) -> tuple[ControlName, ...]:
        """The wanted ones."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)  # type: ignore[misc]


ControlNames = Annotated[tuple[ControlName, ...], BeforeValidator(as_tuple)]

_LISTED = "controls: [prior, random_init]"
_WITH_OPTIONS = "controls: {prior: , random_init: {seeds: 3}}"
_WITHOUT_OPTIONS = tuple(
    name for name, field in Controls.model_fields.items() if NoOptions in get_args(field.annotation)
)


def controls_hint(path: KeyPath, value: Any) -> str:
    """How to write what `value` at `path` of a sweep was to say; empty for what is elsewhere, or says it itself."""
    if path[:1] != ("controls",):
        return ""
    if len(path) == 1:
        return f"Write a list, such as {_LISTED}; or leave the key out."
    name = path[1]
    if isinstance(name, int):
        return f"Options stand in a mapping: {_WITH_OPTIONS}." if isinstance(value, Mapping) else ""
    if name not in Controls.model_fields:
        return ""
    if name in _WITHOUT_OPTIONS:
        return f"{name} takes no options: write {name}: with nothing behind it, or leave it out."
    if len(path) > 2:
        return ""
    return f"Write {name}: with nothing behind it for its defaults, a mapping of options, or leave it out."
