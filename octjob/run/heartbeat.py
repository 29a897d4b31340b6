"""A run's heartbeat: `progress.json`, written at most every two seconds, and a listener for the terminal.

Its times are the wall clock's, for people. What is measured is measured by the monotonic clock: the other one jumps.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from octjob.errors import OctjobError
from octjob.records.layout import PROGRESS, encode, read_progress, run_key
from octjob.records.schema import Failure, Progress, Stage
from octjob.redact import Redactor
from octjob.run.hosts import Host, OnProgress
from octjob.storage.base import ObjectStore

log = logging.getLogger(__name__)

_INTERVAL_S = 2.0


class Heartbeat:
    """Knows where a run stands and says so, in the store and to its listeners.

    silent: for a host whose run has its heartbeat from another: it says so to its listeners only.
    """

    def __init__(
        self,
        store: ObjectStore,
        run_id: str,
        listener: OnProgress,
        host: Host | None = None,
        *,
        silent: bool = False,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        before = None if silent else read_progress(store, run_id)
        where = host or Host()
        self.store = store
        self.silent = silent
        self.listeners = [listener]
        self.clock = clock
        self.monotonic = monotonic
        self._started_at = self._stage_at = self._written_at = monotonic()
        now = clock()
        self.progress = Progress(
            run_id=run_id,
            stage="starting",
            attempt=before.attempt + 1 if before else 1,
            host=socket.gethostname(),
            pid=os.getpid(),
            pod=where.pod,
            node=where.node,
            restart=where.restart,
            started_at=now,
            updated_at=now,
        )
        self._write()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the attempt began."""
        return self.monotonic() - self._started_at

    def stage(self, stage: Stage, **values: Any) -> None:
        """Enter a stage; written at once."""
        self._stage_at = self.monotonic()
        self._update(stage=stage, done=0, total=0, eta_s=None, **values)
        self._write()

    def belongs_to(self, attempt: int) -> None:
        """This is attempt number `attempt`, as the host knows that has the run's heartbeat."""
        self._update(attempt=attempt)

    def tick(self, done: int, total: int, **values: Any) -> None:
        """Work done in this stage; written now and then."""
        elapsed = self.monotonic() - self._stage_at
        eta = elapsed / done * (total - done) if done else None
        self._update(done=done, total=total, eta_s=eta, **values)
        if self.monotonic() - self._written_at >= _INTERVAL_S:
            self._write()

    def ended(self, stage: Stage, **values: Any) -> None:
        """The last heartbeat. A store that refuses it does not change how the attempt ended."""
        try:
            self.stage(stage, **values)
        except OctjobError as error:
            log.warning("the last heartbeat (%s) cannot be written: %s", stage, error.message)

    def failed(self, error: BaseException) -> None:
        """The last heartbeat of an attempt that ends in an error."""
        self.ended("failed", failure=failure_of(error))

    def _update(self, **values: Any) -> None:
        self.progress = self.progress.model_copy(update={**values, "updated_at": self.clock()})
        for listener in self.listeners:
            listener(self.progress)

    def _write(self) -> None:
        self._written_at = self.monotonic()
        if self.silent:
            return
        self.store.put(run_key(self.progress.run_id, PROGRESS), encode(self.progress))


def failure_of(error: BaseException) -> Failure:
    """An error as records keep it, without secrets."""
    if isinstance(error, OctjobError):
        failure = Failure(message=error.message, hint=error.hint, exit_code=error.exit_code)
    else:
        failure = Failure(message=f"{type(error).__name__}: {error}", hint="A bug; see the run's log.")
    redact = Redactor(os.environ)
    return failure.model_copy(update={"message": redact(failure.message), "hint": redact(failure.hint)})
