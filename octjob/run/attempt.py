"""The frame of an attempt: signals, heartbeat, log and tracker, and what they say of its end."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from octjob.errors import Interrupted
from octjob.records.layout import read_progress
from octjob.run.attempt_log import keep_attempt_log
from octjob.run.heartbeat import Heartbeat
from octjob.run.hosts import Host, OnProgress
from octjob.run.peers import WORD_S, among_peers
from octjob.run.resume import ResumeStore
from octjob.run.saving import Saving
from octjob.run.session import Session
from octjob.run.stop import Stop, catch_signals
from octjob.runtime.environment import environment, make_deterministic
from octjob.runtime.select import open_runtime
from octjob.spec.run import Run
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store
from octjob.tracking.tracker import NoTracker, Tracker, open_tracker

log = logging.getLogger(__name__)


@contextmanager
def attempt(run: Run, store: ObjectStore, listener: OnProgress, host: Host, stop: Stop) -> Iterator[Session]:
    """The session of one attempt; how the block ends is written to its log, its heartbeat and W&B."""
    with catch_signals(stop):
        heartbeat = Heartbeat(store, run.run_id, listener, host, silent=not host.is_leader)
        number = heartbeat.progress.attempt if host.is_leader else None
        with keep_attempt_log(store, run.run_id, number, host.index) as kept:
            heartbeat.listeners.append(kept.listen)
            with _session(run, store, heartbeat, stop, host) as session:
                kept.attempt = session.heartbeat.progress.attempt
                log.info("run %s, attempt %d", run.run_id, kept.attempt)
                yield session


@contextmanager
def _session(run: Run, store: ObjectStore, heartbeat: Heartbeat, stop: Stop, host: Host) -> Iterator[Session]:
    tracker: Tracker = NoTracker()

    def wait() -> None:
        if stop.requested:
            raise Interrupted(f"run {run.run_id}: stopped by signal {stop.signal}", "Start it again.")

    try:
        make_deterministic()
        runtime = open_runtime(os.environ, host.index, host.num_processes, wait)
        word_s = WORD_S if host.pod else 0.0
        leads = partial(read_progress, store, run.run_id)
        with among_peers(runtime, stop, leads, word_s), Saving() as saving:
            log.info("computing on %s", _told(environment(runtime)))
            heartbeat.belongs_to(runtime.share(lambda: heartbeat.progress.attempt))
            tracker = open_tracker(run) if host.is_leader else tracker
            yield Session(
                run=run,
                store=store,
                cache=open_store(run.cache),
                heartbeat=heartbeat,
                stop=stop,
                resume=ResumeStore(store, run.run_id),
                tracker=tracker,
                runtime=runtime,
                saving=saving,
            )
    except Interrupted:
        heartbeat.ended("interrupted")
        tracker.finish({}, failed=True)
        raise
    except BaseException as error:
        heartbeat.failed(error)
        tracker.finish({}, failed=True)
        raise
    heartbeat.ended("finished")


def _told(facts: Mapping[str, Any]) -> str:
    """Facts for a line of the log."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())
