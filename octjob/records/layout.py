"""What lies where below a sweep's output, and the few typed reads and writes of it.

    <output>/<sweep>/sweep.json              the plan as submitted
                     runs/<run id>/spec.json, progress.json, history.jsonl, predictions.parquet, result.json
                     runs/<run id>/parts/    predictions of models trained on parts (`octjob.records.parts`)
                     runs/<run id>/examples.json   B-scans of a few participants, with `log.images` only
                     runs/<run id>/feature_map.json   features on two axes, for the report
                     runs/<run id>/checkpoint/   resume state and weights
                     runs/<run id>/logs/attempt-<n>.host-<i>.log   what attempt n (from 1) logged on host i of the
                                              slice (from 0): its last 4 MiB, complete when the attempt has ended
                     runs/<run id>/test/     openings of the test split (`octjob.records.openings`)
                     runs/<run id>/retry.json   the JobSet to create, while a retry has deleted the old one
                     leaderboard/             what collect wrote
                     notifications/           whom collect has told what (`octjob.notify.notifier`)

An encoding (`octjob.spec.encoding`) lies beside the runs like one, with spec, heartbeat, logs and, once its features
are there, a result without an evaluation.

`result.json` is written last and create-only: that it exists is the fact that the run is finished.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from octjob.errors import DataError, SpecError
from octjob.records.schema import Progress, Result, SweepRecord
from octjob.spec.run import Run, run_identity
from octjob.storage.base import AlreadyExistsError, ObjectNotFoundError, ObjectStore

M = TypeVar("M", bound=BaseModel)

SWEEP = "sweep.json"
SPEC = "spec.json"
PROGRESS = "progress.json"
HISTORY = "history.jsonl"
PREDICTIONS = "predictions.parquet"
RESULT = "result.json"
LEADERBOARD = "leaderboard"
_ATTEMPT_LOG = re.compile(r"logs/attempt-([1-9]\d*)\.host-(\d+)\.log")


def run_key(run_id: str, name: str) -> str:
    """The key of one of a run's objects below the sweep's output."""
    return f"runs/{run_id}/{name}"


def run_uri(output: str, run_id: str) -> str:
    """The URI of a run of the sweep at `output`; the inverse of `split_run_uri`."""
    return f"{output}/runs/{run_id}"


def split_run_uri(run_uri: str) -> tuple[str, str]:
    """`<sweep output>/runs/<run id>` as (sweep output, run id).

    Raises `SpecError` for anything else.
    """
    root, _, run_id = run_uri.rstrip("/").rpartition("/")
    head, _, runs = root.rpartition("/")
    if runs != "runs" or not head or not run_id:
        raise SpecError(
            f"{run_uri}: not a run", "A run's URI ends in /runs/<run id>; `octjob plan -o json` lists them."
        )
    return head, run_id


def encode(record: BaseModel) -> bytes:
    """A record as readable JSON."""
    return (record.model_dump_json(indent=1) + "\n").encode()


def write_sweep(store: ObjectStore, record: SweepRecord, *, update: bool = False) -> None:
    """Store the plan as submitted; the same plan again is a no-op, but for what classes are called.

    Raises `SpecError` where another plan of this name is there and `update` is off.
    """
    try:
        store.put(SWEEP, encode(record), if_absent=True)
        return
    except AlreadyExistsError:
        there = read_sweep(store)
    if there == record:
        return
    if not (update or there.same_plan(record)):
        raise _other_sweep(store, there, record)
    store.put(SWEEP, encode(record))


def has_sweep(store: ObjectStore, record: SweepRecord, *, update: bool = False) -> bool:
    """Whether this very plan is stored; raises `SpecError` where `write_sweep` would."""
    try:
        there = read_record(store, SWEEP, SweepRecord)
    except ObjectNotFoundError:
        return False
    if not (update or there.same_plan(record)):
        raise _other_sweep(store, there, record)
    return there == record


def _other_sweep(store: ObjectStore, there: SweepRecord, record: SweepRecord) -> SpecError:
    return SpecError(
        f"{store.uri(SWEEP)}: holds a sweep of this name with a different spec ({_differences(there, record)})",
        "Rename the sweep, or add --update to submit the changed runs beside the finished ones.",
    )


def _differences(old: SweepRecord, new: SweepRecord) -> str:
    old_ids, new_ids = {run.run_id for run in old.runs}, {run.run_id for run in new.runs}
    parts = []
    if new_ids - old_ids:
        parts.append(f"{len(new_ids - old_ids)} runs new or changed, e.g. {min(new_ids - old_ids)}")
    if old_ids - new_ids:
        parts.append(f"{len(old_ids - new_ids)} no longer in it, e.g. {min(old_ids - new_ids)}")
    return "; ".join(parts) or "same runs, other settings"


def read_sweep(store: ObjectStore) -> SweepRecord:
    """The plan as submitted."""
    try:
        return read_record(store, SWEEP, SweepRecord)
    except ObjectNotFoundError:
        raise ObjectNotFoundError(
            f"{store.uri(SWEEP)}: not there, so nothing was submitted to {store.root}",
            "Give the sweep's own directory, <output>/<sweep name>, or its YAML file.",
        ) from None


def write_spec(store: ObjectStore, run: Run) -> None:
    """Store a run's spec once.

    Raises `SpecError` where the run exists with a different spec.
    """
    key = run_key(run.run_id, SPEC)
    try:
        store.put(key, encode(run), if_absent=True)
    except AlreadyExistsError:
        there = read_spec(store, run.run_id)
        changed = differing_keys(there.model_dump(mode="json"), run.model_dump(mode="json"))
        if run_identity(there) != run_identity(run):
            raise SpecError(
                f"{store.uri(key)}: exists with a different spec (differs in {', '.join(changed[:5])})",
                "Use another output or sweep name; nothing was overwritten.",
            ) from None


def write_encoding(store: ObjectStore, encoding: Run) -> None:
    """Store an encoding's spec once; what is there under its id makes the same features, perhaps by another run's."""
    with suppress(AlreadyExistsError):
        store.put(run_key(encoding.run_id, SPEC), encode(encoding), if_absent=True)


def differing_keys(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted keys in which two plain mappings differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [prefix.rstrip(".")]
    keys: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        keys += differing_keys(old.get(key), new.get(key), f"{prefix}{key}.")
    return keys


def read_spec(store: ObjectStore, run_id: str) -> Run:
    """A run's spec."""
    return read_record(store, run_key(run_id, SPEC), Run)


def read_progress(store: ObjectStore, run_id: str) -> Progress | None:
    """A run's heartbeat, or None before its first."""
    return _read_optional(store, run_key(run_id, PROGRESS), Progress)


def read_result(store: ObjectStore, run_id: str) -> Result | None:
    """A run's result, or None where it is not finished."""
    return _read_optional(store, run_key(run_id, RESULT), Result)


def finished_runs(store: ObjectStore) -> set[str]:
    """Ids of the runs that have a result, from one listing."""
    return {info.key.split("/")[1] for info in store.list("runs/") if info.key.endswith(f"/{RESULT}")}


@dataclass(frozen=True, order=True)
class StoredLog:
    """The log of one attempt on one host. attempt: from 1. host: from 0, the leader. size: bytes."""

    attempt: int
    host: int
    size: int


def attempt_log_key(run_id: str, attempt: int, host: int) -> str:
    """The key of an attempt's log."""
    return run_key(run_id, f"logs/attempt-{attempt}.host-{host}.log")


def list_attempt_logs(store: ObjectStore, run_id: str) -> list[StoredLog]:
    """The run's logs by attempt and host, from one listing; none before its first attempt."""
    prefix = run_key(run_id, "")
    found = [
        StoredLog(int(match[1]), int(match[2]), info.size)
        for info in store.list(run_key(run_id, "logs/"))
        if (match := _ATTEMPT_LOG.fullmatch(info.key.removeprefix(prefix)))
    ]
    return sorted(found)


def read_attempt_log(store: ObjectStore, run_id: str, attempt: int, host: int = 0) -> str:
    """The text of an attempt's log; its first line says so where the beginning was cut.

    Raises `ObjectNotFoundError` where that attempt left none.
    """
    key = attempt_log_key(run_id, attempt, host)
    try:
        return store.get(key).decode(errors="replace")
    except ObjectNotFoundError:
        known = ", ".join(str(n) for n in sorted({one.attempt for one in list_attempt_logs(store, run_id)}))
        raise ObjectNotFoundError(
            f"{store.uri(key)}: attempt {attempt} left no log of host {host}",
            f"Logs are there of attempt {known}." if known else "No attempt of this run has left a log yet.",
        ) from None


def _read_optional(store: ObjectStore, key: str, model: type[M]) -> M | None:
    try:
        return read_record(store, key, model)
    except ObjectNotFoundError:
        return None


def read_record(store: ObjectStore, key: str, model: type[M]) -> M:
    """A versioned record.

    Raises `DataError` naming the URI where it is damaged or of another schema version.
    """
    data = store.get(key)
    try:
        record = model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{store.uri(key)}: not a {model.__name__} this version reads ({where}: {first['msg']})",
            "It was written by another version of octjob, or damaged.",
        ) from None
    version, readable = _version(record), _version(model)
    if version != readable:
        raise DataError(
            f"{store.uri(key)}: of schema version {version}; this octjob reads version {readable}",
            "Read it with the octjob that wrote it.",
        )
    return record


def _version(record: BaseModel | type[BaseModel]) -> int | None:
    """The schema version of a record, or the one that this version of its model reads; None for those without."""
    if isinstance(record, BaseModel):
        return getattr(record, "schema_version", None)
    field = record.model_fields.get("schema_version")
    return None if field is None else field.default
