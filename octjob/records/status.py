"""Where each run of a sweep stands, from one listing and one small read per run that has started."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

from octjob.errors import DataError
from octjob.records.layout import PROGRESS, RESULT, read_progress, read_result, read_sweep
from octjob.records.schema import Progress, Result, RunEntry, is_constant
from octjob.records.state import FINAL, STATES, RunState, state_at
from octjob.storage.base import ObjectStore

NUM_THREADS = 16
# A heartbeat comes every epoch or batch of volumes; a run silent for longer may have lost its machine.
STALLED_AFTER_S = 600.0


@dataclass(frozen=True)
class RunStatus:
    """One run, as far as the store knows it and, where one was asked, the cluster.

    best_metric: the best so far while it runs, balanced accuracy once it has succeeded.
    heartbeat_age_s: seconds since its last sign of life. stalled: it runs, but was silent for ten minutes.
    message: why it failed, why a finished run has collapsed, or which object of it cannot be read.
    restart: JobSet's restart that the heartbeat is of.

    Of a cluster: reason: why it is in this state. stuck: waiting does not mend that. position, queue_length: its
    place among those that wait in its queue, from 1. restarts: so many, of which restarts_counted count towards
    max_restarts. exit_code: of the container that failed first. nodes: of its pods, by worker. jobset: its name,
    empty where it has none. flavor: the ResourceFlavor that it was admitted to. superseded: a later submission of the
    sweep no longer has this run.

    encoding: it is no run, but makes features for some. waits_for: the id of the one that this run waits for.
    """

    run_id: str
    checkpoint: str
    config: str
    state: RunState
    stage: str = ""
    attempt: int | None = None
    host: str = ""
    seed: int | None = None
    repeat: int | None = None
    fold: int | None = None
    epoch: int | None = None
    num_epochs: int | None = None
    done: int = 0
    total: int = 0
    metric_name: str | None = None
    best_metric: float | None = None
    eta_s: float | None = None
    heartbeat_age_s: float | None = None
    stalled: bool = False
    collapsed: bool = False
    duration_s: float | None = None
    message: str = ""
    hint: str = ""
    restart: int | None = None
    reason: str = ""
    stuck: bool = False
    queue: str = ""
    position: int | None = None
    queue_length: int | None = None
    restarts: int = 0
    restarts_counted: int = 0
    max_restarts: int | None = None
    exit_code: int | None = None
    nodes: tuple[str, ...] = ()
    jobset: str = ""
    flavor: str = ""
    superseded: bool = False
    encoding: bool = False
    waits_for: str = ""

    @property
    def final(self) -> bool:
        """Nothing more happens without a new submission."""
        return self.state in FINAL

    @property
    def has_result(self) -> bool:
        """Whether a result is there, though perhaps not readable."""
        return self.state == "Succeeded" or (self.state == "Unreadable" and self.stage == "finished")

    def put(self, state: RunState, **changes: object) -> RunStatus:
        """The run in a state that its cluster says, without what the heartbeat said of another."""
        cleared: dict[str, object] = {
            "stalled": False,
            "eta_s": None,
            "message": "",
            "hint": "",
            "exit_code": None,
        }
        return replace(self, state=state, **{**cleared, **changes})  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def sweep_status(
    store: ObjectStore,
    now: float | None = None,
    before: Sequence[RunStatus] = (),
    only: Collection[str] | None = None,
    also: Sequence[RunEntry] = (),
) -> list[RunStatus]:
    """The status of every encoding and run, in the sweep's order.

    now: seconds since the epoch, default the clock's.
    before: an earlier look, of which what cannot change any more is taken instead of read.
    only: ids of the runs to look at. also: runs that may not be the sweep's any more, which come last.

    Raises:
        ObjectNotFoundError: no sweep here.
        DataError: naming the URI of a damaged sweep record.
    """
    sweep = read_sweep(store)
    present = {info.key for info in store.list("runs/")}
    moment = time.time() if now is None else now
    finished = {one.run_id: one for one in before if one.state == "Succeeded"}
    encodings = {entry.run_id for entry in sweep.encodings}
    recorded = (*sweep.encodings, *sweep.runs)
    own = {entry.run_id for entry in recorded}
    entries = [entry for entry in recorded if only is None or entry.run_id in only]
    entries += [entry for entry in also if entry.run_id not in own]

    def look(entry: RunEntry) -> RunStatus:
        try:
            one = finished.get(entry.run_id) or _status(store, entry, present, moment)
        except DataError as error:
            one = unreadable(entry, error, has_result=f"runs/{entry.run_id}/{RESULT}" in present)
        return replace(one, superseded=entry.run_id not in own, encoding=entry.run_id in encodings)

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(pool.map(look, entries))


def _status(store: ObjectStore, entry: RunEntry, present: set[str], now: float) -> RunStatus:
    prefix = f"runs/{entry.run_id}"
    if f"{prefix}/{RESULT}" in present and (result := read_result(store, entry.run_id)):
        return succeeded(entry, result)
    if f"{prefix}/{PROGRESS}" in present and (progress := read_progress(store, entry.run_id)):
        return unfinished(entry, progress, now)
    return RunStatus(entry.run_id, entry.checkpoint, entry.config, "Pending")


def unreadable(entry: RunEntry, error: DataError, *, has_result: bool) -> RunStatus:
    """The status of a run whose result, or else heartbeat, is damaged or of another version."""
    stage = "finished" if has_result else ""
    return RunStatus(
        entry.run_id,
        entry.checkpoint,
        entry.config,
        "Unreadable",
        stage=stage,
        message=error.message,
        hint=error.hint,
    )


def succeeded(entry: RunEntry, result: Result) -> RunStatus:
    """The status of a run with a result."""
    verdict, metrics = (_part(result.evaluation, name) for name in ("verdict", "metrics"))
    collapsed = is_constant(result)
    reasons = verdict.get("reasons") or [""]
    value = metrics.get("balanced_accuracy")
    return RunStatus(
        entry.run_id,
        entry.checkpoint,
        entry.config,
        "Succeeded",
        stage="finished",
        attempt=result.attempts,
        metric_name="balanced_accuracy",
        best_metric=float(value) if isinstance(value, int | float) else None,
        collapsed=collapsed,
        duration_s=result.duration_s,
        message=str(reasons[0]) if collapsed else "",
    )


def _part(evaluation: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of a stored evaluation; empty where another version wrote something else, as `collect` says."""
    part = evaluation.get(name)
    return part if isinstance(part, dict) else {}


def unfinished(entry: RunEntry, progress: Progress, now: float) -> RunStatus:
    """The status of a run that has begun and has no result."""
    state = state_at(progress.stage)
    # Clocks differ between machines: an age is never negative.
    age_s = max(0.0, now - progress.updated_at)
    failure = progress.failure if state == "Failed" else None
    return RunStatus(
        entry.run_id,
        entry.checkpoint,
        entry.config,
        state,
        stage=progress.stage,
        attempt=progress.attempt,
        host=progress.host,
        seed=progress.seed,
        repeat=progress.repeat,
        fold=progress.fold,
        epoch=progress.epoch,
        num_epochs=progress.num_epochs,
        done=progress.done,
        total=progress.total,
        metric_name=progress.metric_name,
        best_metric=progress.best_metric,
        eta_s=progress.eta_s if state == "Running" else None,
        heartbeat_age_s=age_s,
        stalled=state == "Running" and age_s > STALLED_AFTER_S,
        duration_s=max(0.0, progress.updated_at - progress.started_at),
        message=failure.message if failure else "",
        hint=failure.hint if failure else "",
        restart=progress.restart,
        exit_code=failure.exit_code if failure else None,
    )


def summary(statuses: Sequence[RunStatus]) -> str:
    """`3 Succeeded (1 collapsed), 1 Running (1 stalled?), 2 Pending; 1 encoding: 1 Running`."""
    runs, encodings = ([one for one in statuses if one.encoding is apart] for apart in (False, True))
    if not encodings:
        return _counts(runs)
    many = "encoding" if len(encodings) == 1 else "encodings"
    return f"{_counts(runs)}; {len(encodings)} {many}: {_counts(encodings)}"


def _counts(statuses: Sequence[RunStatus]) -> str:
    parts = []
    for state in STATES:
        of_state = [one for one in statuses if one.state == state]
        notes = [
            f"{sum(flags)} {word}"
            for word, flags in (
                ("collapsed", [one.collapsed for one in of_state]),
                ("stalled?", [one.stalled for one in of_state]),
                ("stuck", [one.stuck for one in of_state]),
                ("superseded", [one.superseded for one in of_state]),
            )
            if any(flags)
        ]
        if of_state:
            parts.append(f"{len(of_state)} {state}" + (f" ({', '.join(notes)})" if notes else ""))
    return ", ".join(parts) or "no runs"
