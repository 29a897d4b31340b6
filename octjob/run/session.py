"""One attempt's connections to the outside, and the rule of when state is saved."""

from __future__ import annotations

import json
import logging
import time
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
from octjob.train.loop import Loop, State
from octjob.train.units import Unit

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
    _saved_at: float = 0.0
    _save_took_s: float = 0.0

    @property
    def leads(self) -> bool:
        """Whether this process writes; the others of the runtime compute with it."""
        return self.runtime.index == 0

    def continue_from_saved(self) -> None:
        """Take up the state an earlier attempt saved, if there is one."""
        state = self.runtime.share(self.resume.load)
        if state is None:
            return
        self.done, self.facts, self.current = state["done"], state["facts"], state["current"]
        self.history = [json.loads(line) for line in state["history"]]
        torch.set_num_threads(state["num_threads"])
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

    def begin_unit(self, unit: Unit) -> State | None:
        """See `octjob.train.trainers.Watch`."""
        repeat = unit.repeat if self.run.repeats > 1 else None
        self.heartbeat.tick(0, 0, seed=unit.seed, repeat=repeat, fold=unit.fold)
        if self.current is None or self.current["unit"] != unit.name:
            return None
        state: State = self.current["state"]
        return state

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

    def after_step(self, loop: Loop) -> None:
        """See `octjob.train.loop.Hooks`."""
        done, total = loop.epoch * loop.steps_per_epoch + loop.step, self._total_steps(loop)
        self.heartbeat.tick(done, total)
        self.saving.check()
        if self.runtime.agree(self.stop.requested):
            self.save(loop)
            self.saving.wait()
            raise self._interrupted()

    def after_epoch(self, loop: Loop, record: dict[str, Any]) -> None:
        """See `octjob.train.loop.Hooks`."""
        self.history.append(record)
        self.tracker.log(self._named(loop, record))
        self.heartbeat.tick(
            loop.epoch * loop.steps_per_epoch,
            self._total_steps(loop),
            epoch=loop.epoch,
            num_epochs=self.run.config.train.epochs,
            best_metric=loop.best_metric,
            metric_name=self.run.config.train.early_stopping.metric if loop.best_metric is not None else None,
        )
        log.info(
            "epoch %d: train loss %.4f accuracy %.3f; eval balanced accuracy %.3f, largest predicted share %.2f; "
            "waited for data: %.1f %% of the training",
            record["epoch"],
            record["train/loss"],
            record["train/accuracy"],
            record["eval/balanced_accuracy"],
            record["eval/top_class_share"],
            100 * loop.waited,
        )
        due = not self.saving.busy and time.monotonic() - self._saved_at >= self._save_took_s / _SAVE_SHARE
        stopped = self.runtime.agree(self.stop.requested)
        if due or stopped:
            self.save(loop)
        if stopped:
            self.saving.wait()
            raise self._interrupted()

    def _named(self, loop: Loop, record: dict[str, Any]) -> dict[str, Any]:
        """The record, its curves named by unit where there are several, each with epochs of its own."""
        if self.run.num_units == 1:
            return record
        return {f"{loop.task.unit.name}/{k}" if "/" in k else k: value for k, value in record.items()}

    def _total_steps(self, loop: Loop) -> int:
        return self.run.config.train.epochs * loop.steps_per_epoch

    def finish_unit(self, name: str, outcome: dict[str, Any]) -> None:
        """Keep a finished unit's outcome (tensors and plain values)."""
        self.done[name] = outcome
        self.current = None
        self.save(None)
        # Small, without a network's state; and what the result speaks of is then written.
        self.saving.wait()
        self.check_stop()

    def save(self, loop: Loop | None) -> None:
        """Copy resume state and history, and begin to write them, the leading process for all.

        Waits for the write before it, and raises what that raised. `saving.wait()` waits for this one.
        """
        if not self.leads:
            return
        self.saving.wait()
        start = time.monotonic()
        self.current = None if loop is None else {"unit": loop.task.unit.name, "state": loop.state()}
        state = {
            "done": dict(self.done),
            "facts": dict(self.facts),
            "current": self.current,
            "history": [json.dumps(record) for record in self.history],
            "num_threads": torch.get_num_threads(),
        }
        history = list(self.history)
        self.saving.start(lambda: self._write(state, history, start))

    def _write(self, state: dict[str, Any], history: list[dict[str, Any]], start: float) -> None:
        """In a thread, while the next steps run: nothing that it is given changes."""
        self.require_spec()
        num_bytes = self.resume.save(state)
        write_history(self.store, self.run.run_id, history)
        self._saved_at = time.monotonic()
        self._save_took_s = self._saved_at - start
        log.info("saved state: %s in %.1f s", told_bytes(num_bytes), self._save_took_s)
