"""One run: everything needed to repeat it anywhere, and the id that follows from it."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import BeforeValidator

from octjob.spec.experiment import Experiment, Section, _as_tuple
from octjob.spec.sweep import Checkpoint

# Raise it when a change of code changes results: old results then no longer count as the same run.
RESULT_VERSION = 1

# Settings that cannot change a result and so are no part of a run's identity.
_NOT_IDENTITY: tuple[tuple[str, ...], ...] = (
    ("project_name",),
    ("s3",),
    ("log",),
    ("seed",),
    ("paths", "checkpoint_path"),
    ("data", "num_workers"),
    ("data", "cache_dir"),
    ("data", "use_distributed"),
    ("data", "persistent_workers"),
    ("data", "prefetch_factor"),
)


class Run(Section):
    """One checkpoint under one configuration: `spec.json`."""

    schema_version: int = 1
    result_version: int = RESULT_VERSION
    sweep: str
    run_id: str
    checkpoint_name: str
    checkpoint: Checkpoint
    config_name: str
    config: Experiment
    seeds: Annotated[tuple[int, ...], BeforeValidator(_as_tuple)]
    folds: int
    output: str
    cache: str
    notes: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()


def run_identity(
    checkpoint: Checkpoint, config: Experiment, seeds: tuple[int, ...], folds: int
) -> dict[str, Any]:
    """What can change the result, as plain data."""
    data: dict[str, Any] = config.model_dump(mode="json")
    for path in _NOT_IDENTITY:
        section = data
        for key in path[:-1]:
            section = section[key]
        section.pop(path[-1], None)
    return {
        "result_version": RESULT_VERSION,
        "checkpoint": checkpoint.model_dump(mode="json"),
        "config": data,
        "seeds": list(seeds),
        "folds": folds,
    }


def make_run_id(checkpoint_name: str, config_name: str, identity: dict[str, Any]) -> str:
    """`<checkpoint>.<config>-<8 hex digits>`: readable first, unique always."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return f"{checkpoint_name}.{config_name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
