"""One run: everything needed to repeat it anywhere, and the id that follows from it."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import Annotated, Any

from pydantic import BeforeValidator

from octjob.spec.control_options import BLIND, WITHOUT_ENCODER, ControlName
from octjob.spec.experiment import Experiment
from octjob.spec.protocol import LeftOut
from octjob.spec.section import Count, Section, as_tuple
from octjob.spec.sweep import Checkpoint

# Raise it when a change of code changes results: old results then no longer count as the same run.
RESULT_VERSION = 2

# Settings that cannot change a result and so are no part of a run's identity.
_NOT_IDENTITY: tuple[tuple[str, ...], ...] = (
    ("project_name",),
    ("s3",),
    ("log",),
    ("seed",),
    ("paths", "checkpoint_path"),
    ("data", "num_workers"),
    ("data", "connections"),
    ("data", "cache_dir"),
    ("data", "cache_limit_gib"),
    ("data", "use_distributed"),
    ("data", "persistent_workers"),
    ("data", "prefetch_factor"),
    ("classes", "short_names"),
    ("model", "attention"),
    ("train", "remat"),
)


# Of `data`, what only `layout: table` reads; runs on AI-READI keep the ids that they had before there were tables.
_OF_TABLES = ("layout", "table", "columns", "axes")

# A seed and a repeat: trainings that together score every participant once.
Pass = tuple[int, int]


class Run(Section):
    """One checkpoint under one configuration, or a control: `spec.json`.

    control: which one this is. `has_encoder` says whether there is a `checkpoint`: a control may have its part of it,
    or something else in its place.
    folds: 0 trains on one split and scores another; else train and val are dealt to so many folds, `repeats` times,
    by `fold_seed`. seed_per_repeat: repeat r trains with the r-th seed alone, else with every seed.
    encodes: of an encoding, which trains nothing, the runs whose features it makes; see `octjob.spec.encoding`.
    leave_out: each site, or device in each fold, of train and val is scored by what was trained on others; none with
    fewer than `min_participants`.
    shares: below 1, of the training participants that are trained on besides all of them, `draws` times.
    """

    schema_version: int = 1
    result_version: int = RESULT_VERSION
    sweep: str
    run_id: str
    checkpoint_name: str
    checkpoint: Checkpoint
    control: ControlName | None = None
    encodes: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    config_name: str
    config: Experiment
    seeds: Annotated[tuple[int, ...], BeforeValidator(as_tuple)]
    folds: int
    repeats: Count = 1
    fold_seed: int = 0
    seed_per_repeat: bool = False
    leave_out: LeftOut | None = None
    min_participants: Count = 1
    shares: Annotated[tuple[float, ...], BeforeValidator(as_tuple)] = ()
    draws: int = 0
    output: str
    cache: str
    notes: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()

    @property
    def has_encoder(self) -> bool:
        """Whether volumes go through an encoder: the checkpoint's, or one that a control has in its place."""
        return self.control not in WITHOUT_ENCODER

    @property
    def reads_volumes(self) -> bool:
        """Whether volumes are read, through an encoder or not."""
        return self.control not in BLIND

    @property
    def passes(self) -> tuple[Pass, ...]:
        """(seed, repeat) of every pass over the participants, in the order in which they are carried out."""
        repeats = range(self.repeats)
        if self.seed_per_repeat:
            return tuple(zip(self.seeds, repeats, strict=True))
        return tuple(itertools.product(self.seeds, repeats))

    @property
    def num_units(self) -> int:
        """How many heads or networks are trained; of each site or device that is left out, so many."""
        return len(self.passes) * (max(1, self.folds) + len(self.shares) * self.draws)

    @property
    def is_pooled(self) -> bool:
        """Whether the participants of train and val are scored together, by what was trained on others of them."""
        return self.folds > 0 or self.leave_out is not None


def run_identity(run: Run) -> dict[str, Any]:
    """What can change the result, as plain data."""
    data: dict[str, Any] = run.config.model_dump(mode="json")
    for path in _NOT_IDENTITY:
        section = data
        for key in path[:-1]:
            section = section[key]
        section.pop(path[-1], None)
    if run.config.data.volume_dtype == "float32":
        # Rounds nothing, so it matters as little as any other place to keep volumes in.
        data["data"].pop("shared_cache", None)
    if not run.config.data.is_table:
        for key in _OF_TABLES:
            data["data"].pop(key)
    # Runs that are none keep the ids that they had before there were controls.
    control = {} if run.control is None else {"control": run.control}
    # Likewise those of before there were these protocols.
    left_out = {} if run.leave_out is None else {"leave_out": run.leave_out}
    parts = {"shares": run.shares, "draws": run.draws} if run.shares else {}
    return {
        **control,
        **left_out,
        **parts,
        "result_version": run.result_version,
        "checkpoint": _checkpoint_identity(run.checkpoint),
        "config": data,
        "passes": run.passes,
        "folds": run.folds,
        "fold_seed": run.fold_seed if run.folds or run.shares else None,
    }


def _checkpoint_identity(checkpoint: Checkpoint) -> dict[str, Any]:
    # Whom it saw in pretraining describes a result, and changes none.
    unsaid = {"pretraining_participants"}
    # What came with controls and with backbones is left out of all runs that it says nothing of: they keep their ids.
    nothing: dict[str, Any] = {
        "untrained_seed": None,
        "other_encoder": False,
        "backbone": None,
        "options": {},
    }
    unsaid |= {name for name, value in nothing.items() if getattr(checkpoint, name) == value}
    return checkpoint.model_dump(mode="json", exclude=unsaid)


def make_run_id(run: Run) -> str:
    """`<checkpoint>.<config>-<8 hex digits>`: readable first, unique always."""
    text = json.dumps(run_identity(run), sort_keys=True, separators=(",", ":"))
    return f"{run.checkpoint_name}.{run.config_name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
