"""A run's heartbeat: `progress.json`, written at most every two seconds, and a listener for the terminal."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

from octjob.errors import AccessError, OctjobError
from octjob.records.layout import PROGRESS, encode, read_progress, run_key
from octjob.records.schema import ENDED, Failure, Progress, Stage
from octjob.run.hosts import Host, Listener
from octjob.run.redact import Redactor
from octjob.storage.base import ObjectStore

_INTERVAL_S = 2.0
_STALE_S = 600.0


def refuse_if_running(progress: Progress | None, clock: Callable[[], float] = time.time) -> None:
    """Raise `AccessError` where another live process of this machine is carrying the run out.

    Two attempts side by side would overwrite each other's resume state. On other machines it is for whoever
    starts attempts (Kubernetes, the user) to start one at a time.
    """
    if progress is None or progress.stage in ENDED or progress.host != socket.gethostname():
        return
    recent = clock() - progress.updated_at < _STALE_S
    if recent and progress.pid != os.getpid() and _is_alive(progress.pid):
        raise AccessError(
            f"run {progress.run_id} is being carried out by process {progress.pid} (attempt {progress.attempt})",
            f"Wait for it, or stop it with `kill {progress.pid}`: it saves its state, and this command continues.",
        )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Heartbeat:
    """Knows where a run stands and says so, in the store and to its listeners."""

    def __init__(
        self,
        store: ObjectStore,
        run_id: str,
        listener: Listener,
        host: Host | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        before = read_progress(store, run_id)
        where = host or Host()
        self.store = store
        self.listeners = [listener]
        self.clock = clock
        self._stage_at = self._written_at = now = clock()
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

    def stage(self, stage: Stage, **values: Any) -> None:
        """Enter a stage; written at once."""
        self._stage_at = self.clock()
        self._update(stage=stage, done=0, total=0, eta_s=None, **values)
        self._write()

    def tick(self, done: int, total: int, **values: Any) -> None:
        """Work done in this stage; written now and then."""
        elapsed = self.clock() - self._stage_at
        eta = elapsed / done * (total - done) if done else None
        self._update(done=done, total=total, eta_s=eta, **values)
        if self.clock() - self._written_at >= _INTERVAL_S:
            self._write()

    def failed(self, error: BaseException) -> None:
        """The last heartbeat of an attempt that ends in an error."""
        if isinstance(error, OctjobError):
            failure = Failure(message=error.message, hint=error.hint, exit_code=error.exit_code)
        else:
            failure = Failure(message=f"{type(error).__name__}: {error}", hint="A bug; see the run's log.")
        redact = Redactor(os.environ)
        safe = {"message": redact(failure.message), "hint": redact(failure.hint)}
        self.stage("failed", failure=failure.model_copy(update=safe))

    def _update(self, **values: Any) -> None:
        self.progress = self.progress.model_copy(update={**values, "updated_at": self.clock()})
        for listener in self.listeners:
            listener(self.progress)

    def _write(self) -> None:
        self._written_at = self.clock()
        self.store.put(run_key(self.progress.run_id, PROGRESS), encode(self.progress))
