"""One attempt at a run at a time, as far as one machine can see."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from octjob.errors import AccessError
from octjob.storage.claim import Claim

log = logging.getLogger(__name__)

_POLL_S = 0.2


@contextmanager
def only_attempt(run_uri: str, run_id: str, *, patient: bool) -> Iterator[None]:
    """Hold the run while the block runs. patient: wait for another process that holds it.

    Two attempts side by side would overwrite each other's resume state. On other machines it is for whoever
    starts attempts (Kubernetes, the user) to start one at a time.

    Raises `AccessError` where another living process of this machine carries the run out, unless `patient`.
    """
    claim = Claim(run_uri)
    if not claim.take():
        pid = claim.holder()
        if not patient:
            raise _refusal(run_id, pid)
        log.info("run %s is being carried out by process %s; waiting for its end", run_id, pid or "?")
        while not claim.take():
            time.sleep(_POLL_S)
    try:
        yield
    finally:
        claim.release()


def _refusal(run_id: str, pid: int | None) -> AccessError:
    if pid is None:
        return AccessError(f"run {run_id} is being carried out by another process", "Wait for it.")
    return AccessError(
        f"run {run_id} is being carried out by process {pid}",
        f"Wait for it, or stop it with `kill {pid}`: it saves its state, and this command continues.",
    )
