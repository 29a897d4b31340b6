"""The records that lie in the store, typed and versioned."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from octjob.spec.experiment import short_class_names

SCHEMA_VERSION = 1

# waiting: for features that an encoding makes.
Stage = Literal[
    "starting", "waiting", "data", "encoding", "training", "evaluating", "finished", "failed", "interrupted"
]
# The stages after which an attempt says nothing more.
ENDED: tuple[Stage, ...] = ("finished", "failed", "interrupted")


class Record(BaseModel):
    """A stored record: immutable, and tolerant of keys that a later version adds."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class RunEntry(Record):
    """One run of a submitted sweep. control: which one it is, where it is one."""

    run_id: str
    checkpoint: str
    config: str
    control: str | None = None


class SweepRecord(Record):
    """`sweep.json`: what was submitted. encodings: what is carried out besides its runs, to make their features."""

    schema_version: int = SCHEMA_VERSION
    name: str
    baseline: str | None
    baseline_config: str | None = None
    class_names: tuple[str, ...]
    class_short_names: tuple[str, ...] = ()
    runs: tuple[RunEntry, ...]
    encodings: tuple[RunEntry, ...] = ()

    @property
    def shown_classes(self) -> tuple[str, ...]:
        """What tables call the classes, also where the record was written before there were short names."""
        return self.class_short_names or short_class_names(self.class_names)

    def same_plan(self, other: SweepRecord) -> bool:
        """Whether both mean the same runs; what classes are called in tables, and where encoding is done, is no part
        of it."""
        same = {"class_short_names": other.class_short_names, "encodings": other.encodings}
        return self.model_copy(update=same) == other


class Failure(Record):
    """Why an attempt ended without a result."""

    message: str
    hint: str = ""
    exit_code: int = 1


class Progress(Record):
    """`progress.json`: a run's heartbeat. Times are seconds since the epoch, UTC.

    attempt: counts every start of the run, from 1. restart: JobSet's own count, from 0, with the pod and the node
    that this attempt runs on; on Kubernetes only. repeat: of the folds, where there are several.
    """

    run_id: str
    stage: Stage
    attempt: int
    host: str
    pid: int
    pod: str | None = None
    node: str | None = None
    restart: int | None = None
    started_at: float
    updated_at: float
    done: int = 0
    total: int = 0
    seed: int | None = None
    repeat: int | None = None
    fold: int | None = None
    epoch: int | None = None
    num_epochs: int | None = None
    best_metric: float | None = None
    metric_name: str | None = None
    eta_s: float | None = None
    failure: Failure | None = None


class Result(Record):
    """`result.json`: a finished run.

    evaluation: metrics, intervals, constant baseline and collapse verdict on the evaluated participants.
    train: the same metrics on the training samples.
    data: counts after filtering, coverage by site and split, quarantined volumes; `flow`, from listed to used;
    `groups` of the scored participants; `feature_map` and `examples`, their keys, or why there are none.
    control: which one this is; None for a checkpoint's run.
    checkpoint_report: what was loaded and how completely, with fingerprint, digests and sketch; empty without
    an encoder.
    training: every value really used: class weights, learning rates, epochs, samples.
    environment: versions, device, threads.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    sweep: str
    checkpoint: str
    config: str
    mode: Literal["probe", "finetune"]
    control: str | None = None
    evaluation: dict[str, Any]
    train: dict[str, Any]
    data: dict[str, Any]
    checkpoint_report: dict[str, Any]
    training: dict[str, Any]
    environment: dict[str, Any]
    notes: tuple[str, ...]
    started_at: float
    finished_at: float
    duration_s: float
    attempts: int


# Flags that older results gave for what is a constant, among others for what is not.
_CONSTANT_FLAGS = {"dominant_class", "equals_constant", "low_entropy", "constant_output"}


def is_constant(result: Result) -> bool:
    """Whether the run answers one class whatever it sees; people read *collapsed*. Of a control it says nothing."""
    if result.control is not None:
        return False
    verdict = result.evaluation.get("verdict")
    if not isinstance(verdict, dict):
        return False
    return bool(verdict.get("constant", _CONSTANT_FLAGS & set(verdict.get("flags", ()))))
