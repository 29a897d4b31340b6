"""What a host says to the others of its run when it fails, and what it makes of one that is gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from octjob.errors import Interrupted, OctjobError
from octjob.records.schema import Failure, Progress
from octjob.run.heartbeat import failure_of
from octjob.run.stop import Stop
from octjob.runtime.base import LostPeerError, Runtime

log = logging.getLogger(__name__)

# How long a kubelet may take to tell how another pod of the Job ended. Then that end is the Job's, which decides
# whether a restart is counted, and not that of those who merely lost it; of a node that is gone nobody tells.
WORD_S = 30.0
_NAP_S = 0.25


@contextmanager
def among_peers(
    runtime: Runtime, stop: Stop, heartbeat: Callable[[], Progress | None], word_s: float = 0.0
) -> Iterator[None]:
    """The block's own failure is told to the others; a lost connection becomes what it was lost by.

    heartbeat: reads the run's, of the attempt that this process belongs to. word_s: where a host is gone without a
    word, how long to wait to be stopped for it.

    Raises:
        OctjobError: another host failed; with its message, hint and exit code, so that the run ends as one.
        Interrupted: this host or the leading one was asked to stop.
        LostPeerError: another host is gone without a word.
    """
    try:
        yield
    except LostPeerError as error:
        reason = _reason(runtime, stop, heartbeat())
        if reason is None:
            log.warning("%s", error.message)
            _wait_for_stop(stop, word_s)
        raise reason or error from None
    except Interrupted:
        raise
    except Exception as error:
        _tell(runtime, failure_of(error))
        raise
    finally:
        runtime.close()


def _wait_for_stop(stop: Stop, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not stop.requested and time.monotonic() < deadline:
        time.sleep(_NAP_S)


def _tell(runtime: Runtime, failure: Failure) -> None:
    try:
        runtime.tell(failure.model_dump_json())
    except LostPeerError:
        """Nobody is left to hear it; the failure itself is raised."""


def _reason(runtime: Runtime, stop: Stop, leads: Progress | None) -> OctjobError | None:
    failures = [Failure.model_validate_json(words) for words in runtime.told()]
    if leads is not None and leads.failure is not None and runtime.index != 0:
        failures.append(leads.failure)
    for failure in failures:
        error = OctjobError(f"another host failed: {failure.message}", failure.hint)
        error.exit_code = failure.exit_code
        return error
    if stop.requested or (leads is not None and leads.stage == "interrupted"):
        return Interrupted("stopped with the other hosts", "Start all hosts again to continue.")
    return None
