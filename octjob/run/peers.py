"""What a host says to the others of its run when it fails, and what it makes of one that is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from octjob.errors import Interrupted, OctjobError
from octjob.records.schema import Failure, Progress
from octjob.run.heartbeat import failure_of
from octjob.run.stop import Stop
from octjob.runtime.base import LostPeerError, Runtime


@contextmanager
def among_peers(runtime: Runtime, stop: Stop, heartbeat: Callable[[], Progress | None]) -> Iterator[None]:
    """The block's own failure is told to the others; a lost connection becomes what it was lost by.

    heartbeat: reads the run's, of the attempt that this process belongs to.

    Raises:
        OctjobError: another host failed; with its message, hint and exit code, so that the run ends as one.
        Interrupted: this host or the leading one was asked to stop.
        LostPeerError: another host is gone without a word.
    """
    try:
        yield
    except LostPeerError as error:
        raise _reason(runtime, stop, heartbeat()) or error from None
    except Interrupted:
        raise
    except Exception as error:
        _tell(runtime, failure_of(error))
        raise
    finally:
        runtime.close()


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
