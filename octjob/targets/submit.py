"""Put a plan into the store: the sweep as submitted, one spec per run and encoding; nothing else starts a run."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from octjob.records.layout import finished_runs, write_encoding, write_spec, write_sweep
from octjob.records.schema import RunEntry, SweepRecord
from octjob.spec.expand import Plan
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore

# A spec costs an object store one round trip of some 50 ms.
_NUM_WRITERS = 16


@dataclass(frozen=True)
class Submission:
    """What was found and written: runs with a result already, and runs to carry out."""

    finished: tuple[Run, ...]
    todo: tuple[Run, ...]


def record_of(plan: Plan) -> SweepRecord:
    """The plan as it is stored."""
    classes = plan.runs[0].config.classes
    return SweepRecord(
        name=plan.name,
        baseline=plan.baseline,
        baseline_config=plan.baseline_config,
        class_names=classes.names,
        class_short_names=classes.short,
        runs=tuple(map(_entry, plan.runs)),
        encodings=tuple(map(_entry, plan.encodings)),
    )


def _entry(run: Run) -> RunEntry:
    return RunEntry(
        run_id=run.run_id, checkpoint=run.checkpoint_name, config=run.config_name, control=run.control
    )


def write_plan(
    plan: Plan, store: ObjectStore, *, update: bool, finished: Collection[str] | None = None
) -> Submission:
    """Store the sweep and the specs of its runs; doing it twice changes nothing.

    finished: ids of the runs that have a result, where they were listed already.

    Raises `SpecError` where the sweep or a run is there with a different spec.
    """
    write_sweep(store, record_of(plan), update=update)
    if finished is None:
        finished = finished_runs(store)
    todo = tuple(run for run in plan.runs if run.run_id not in finished)
    with ThreadPoolExecutor(_NUM_WRITERS) as pool:
        for _ in pool.map(lambda run: write_spec(store, run), todo):
            pass
    for encoding in plan.encodings:
        write_encoding(store, encoding)
    return Submission(tuple(run for run in plan.runs if run.run_id in finished), todo)
