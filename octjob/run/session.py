"""One attempt's connections to the outside, and the rule of when state is saved."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from octjob.errors import DataError, Interrupted
from octjob.records.history import write_history
from octjob.records.layout import SPEC, run_key
from octjob.run.heartbeat import Heartbeat
from octjob.run.resume import ResumeStore
from octjob.run.saving import Saving, told_bytes
from octjob.run.stop import Stop
from octjob.runtime.base import Runtime
from octjob.spec.run import Run
from octjob.storage.base import ObjectNotFoundError, ObjectStore
from octjob.tracking.tracker import Tracker
from octjob.train.loop import State, Training
from octjob.train.units import Unit, unit_name

log = logging.getLogger(__name__)

# Saving may take at most about this share of the time; a slow store or a large network is saved less often.
_SAVE_SHARE = 0.1


@dataclass
class Session:
    """Implements a loop's hooks: heartbeat, history, tracking, saving, stopping."""

    run: Run
    store: ObjectStore
    cache: ObjectStore
    heartbeat: Heartbeat
    stop: Stop
    resume: ResumeStore
    tracker: Tracker
    runtime: Runtime
    saving: Saving
    done: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    current: dict[str, Any] | None = None
    # Of the attempt: heads that train together take one for that time.
    num_threads: int = field(default_factory=torch.get_num_threads)
    _saved_at: float = 0.0
    _save_took_s: float = 0.0

    @property
    def leads(self) -> bool:
        """Whether this process writes; the others of the runtime compute with it."""
        return self.runtime.index == 0

    @property
    def is_new(self) -> bool:
        """Whether nothing of the training was there when the attempt began, or since."""
        return not self.done and self.current is None

    def continue_from_saved(self) -> None:
        """Take up the state an earlier attempt saved, if there is one."""
        state = self.runtime.share(self.resume.load)
        if state is None:
            return
        self.done, self.facts, self.current = state["done"], state["facts"], state["current"]
        self.history = [json.loads(line) for line in state["history"]]
        self.num_threads = state["num_threads"]
        torch.set_num_threads(self.num_threads)
        log.info("continuing after %d finished units and %d epochs", len(self.done), len(self.history))

    def require_same(self, name: str, value: str) -> None:
        """Note a fact of the first attempt; a later attempt that sees another value must not continue."""
        seen = self.runtime.collect(value)
        if len(set(seen)) > 1:
            raise DataError(
                f"run {self.run.run_id}: its hosts read different {name} ({', '.join(v[:12] for v in seen)})",
                "The inputs were replaced while the hosts read them. Restore them, or start the run again.",
            )
        before = self.facts.setdefault(name, value)
        if before != value:
            raise DataError(
                f"run {self.run.run_id}: {name} changed since an earlier attempt ({before[:12]} -> {value[:12]})",
                "The inputs were replaced under a running sweep. Restore them, or submit under a new sweep name.",
            )

    def begin(self, units: Sequence[Unit], name: str) -> State | None:
        """See `octjob.train.trainers.Watch`."""
        seed, repeat, fold = (
            _only({getattr(unit, part) for unit in units}) for part in ("seed", "repeat", "fold")
        )
        self.heartbeat.tick(0, 0, seed=seed, repeat=repeat if self.run.repeats > 1 else None, fold=fold)
        if self.current is None:
            return None
        if self.current["unit"] == name:
            state: State = self.current["state"]
            return state
        # What another octjob left, which trained other units together: these begin anew, and so do their lines.
        names = {unit.name for unit in units}
        self.history = [record for record in self.history if _unit_name(record) not in names]
        return None

    def check_stop(self) -> None:
        """Raise `Interrupted`, in every process alike, if a signal came to any; for work that is kept elsewhere."""
        if self.runtime.agree(self.stop.requested):
            raise self._interrupted()

    def _interrupted(self) -> Interrupted:
        by = f"signal {self.stop.signal}" if self.stop.requested else "a signal to another host"
        return Interrupted(
            f"run {self.run.run_id}: stopped by {by}, state saved",
            "Start the same command again to continue.",
        )

    def require_spec(self) -> None:
        """Raise `ObjectNotFoundError` where the run was removed from the store: nobody wants its result."""
        key = run_key(self.run.run_id, SPEC)
        if not self.store.exists(key):
            raise ObjectNotFoundError(
                f"{self.store.uri(key)}: gone: the run was removed while it was carried out",
                "Submit the sweep again to carry it out anew.",
            )

    def tick(self, done: int, total: int) -> None:
        """Progress of a stage that is not a loop, which all processes go through alike."""
        self.heartbeat.tick(done, total)
        self.check_stop()

    def tick_alone(self, done: int, total: int) -> None:
        """Progress of what each process does at a pace of its own."""
        self.heartbeat.tick(done, total)
        if self.stop.requested:
            raise self._interrupted()

    def after_step(self, training: Training) -> None:
        """See `octjob.train.loop.Hooks`."""
        self.heartbeat.tick(*self._steps(training))
        self.saving.check()
        if self.runtime.agree(self.stop.requested):
            self.save(training)
            self.saving.wait()
            raise self._interrupted()

    def note(self, records: Sequence[dict[str, Any]]) -> None:
        """Lines of history: keep them, track them, and say them in the log."""
        self.history += records
        for record in records:
            self.tracker.log(self._named(record))
            log.info(
                "%s: epoch %d: train loss %.4f accuracy %.3f; eval balanced accuracy %.3f, "
                "largest predicted share %.2f",
                _unit_name(record),
                record["epoch"],
                record["train/loss"],
                record["train/accuracy"],
                record["eval/balanced_accuracy"],
                record["eval/top_class_share"],
            )

    def after_epoch(self, training: Training, records: Sequence[dict[str, Any]]) -> None:
        """See `octjob.train.loop.Hooks`."""
        best = training.best_metric
        self.heartbeat.tick(
            *self._steps(training),
            epoch=training.epoch,
            num_epochs=self.run.config.train.epochs,
            best_metric=best,
            metric_name=self.run.config.train.early_stopping.metric if best is not None else None,
        )
        self.note(records)
        if training.waited:
            log.info("waited for data: %.1f %% of the training of the epoch", 100 * training.waited)
        due = not self.saving.busy and time.monotonic() - self._saved_at >= self._save_took_s / _SAVE_SHARE
        stopped = self.runtime.agree(self.stop.requested)
        if due or stopped:
            self.save(training)
        if stopped:
            self.saving.wait()
            raise self._interrupted()

    def _named(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record, its curves named by unit where there are several, each with epochs of its own."""
        if self.run.num_units == 1 and self.run.leave_out is None:
            return record
        return {f"{_unit_name(record)}/{k}" if "/" in k else k: value for k, value in record.items()}

    def _steps(self, training: Training) -> tuple[int, int]:
        """Those taken, and those there are."""
        done = training.epoch * training.steps_per_epoch + training.step
        return done, self.run.config.train.epochs * training.steps_per_epoch

    def finish(self, outcomes: dict[str, dict[str, Any]]) -> None:
        """Keep the outcomes of units that are finished (tensors and plain values), by the units' names."""
        self.done |= outcomes
        self.current = None
        self.save(None)
        # Small, without a network's state; and what the result speaks of is then written.
        self.saving.wait()
        self.check_stop()

    def save(self, training: Training | None) -> None:
        """Copy resume state and history, and begin to write them, the leading process for all.

        Waits for the write before it, and raises what that raised. `saving.wait()` waits for this one.
        """
        if not self.leads:
            return
        self.saving.wait()
        start = time.monotonic()
        self.current = None if training is None else {"unit": training.name, "state": training.state()}
        state = {
            "done": dict(self.done),
            "facts": dict(self.facts),
            "current": self.current,
            "history": [json.dumps(record) for record in self.history],
            "num_threads": self.num_threads,
        }
        history = list(self.history)
        self.saving.start(lambda: self._write(state, history, start))

    def _write(self, state: dict[str, Any], history: list[dict[str, Any]], start: float) -> None:
        """In a thread, while the next steps run: nothing that it is given changes."""
        self.require_spec()
        # Before the state: an attempt that takes up a finished training writes no history any more.
        write_history(self.store, self.run.run_id, history)
        num_bytes = self.resume.save(state)
        self._saved_at = time.monotonic()
        self._save_took_s = self._saved_at - start
        log.info("saved state: %s in %.1f s", told_bytes(num_bytes), self._save_took_s)


def _only(values: set[int]) -> int | None:
    """The one value there is."""
    return values.pop() if len(values) == 1 else None


def _unit_name(record: dict[str, Any]) -> str:
    return unit_name(record["seed"], record["repeat"], record["fold"])
