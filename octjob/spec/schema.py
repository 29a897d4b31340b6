"""JSON Schemas of what users write, as they write it: with `defaults`, bare URIs and bare file names."""

from __future__ import annotations

from typing import Any

from octjob.spec.experiment import Experiment
from octjob.spec.sweep import Sweep

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    """The schema of an experiment config file."""
    schema = Experiment.model_json_schema()
    schema["properties"]["defaults"] = {
        "type": "array",
        "items": {"type": "string"},
        "description": "Sibling config files this one builds on, in order.",
    }
    return {"$schema": _DRAFT, "title": "octjob experiment config", **_without_title(schema)}


def sweep_schema() -> dict[str, Any]:
    """The schema of a sweep file."""
    schema = Sweep.model_json_schema()
    for name in ("checkpoints", "configs"):
        values = schema["properties"][name]["additionalProperties"]
        schema["properties"][name]["additionalProperties"] = {"anyOf": [{"type": "string"}, values]}
    return {"$schema": _DRAFT, "title": "octjob sweep", **_without_title(schema)}


def _without_title(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "title"}
