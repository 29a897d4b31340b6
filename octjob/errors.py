"""The errors a user can cause. One line, one hint, one exit code; `octjob.cli` alone prints them."""

from __future__ import annotations


class OctjobError(Exception):
    """What went wrong (`message`, naming the file, key, line or URI) and what to do (`hint`).

    Raised anywhere, turned into output only by the command line. The exit codes are a contract
    with users and with Kubernetes (docs/exit-codes.md).
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SpecError(OctjobError):
    """Wrong usage or an invalid sweep or config file."""

    exit_code = 2


class DataError(OctjobError):
    """Input data or a checkpoint that cannot be used as it is."""

    exit_code = 3


class AccessError(OctjobError):
    """A store or cluster refused: no permission, or the thing named is not there."""

    exit_code = 4


class UnavailableError(AccessError):
    """A store could not be reached, or its replies were broken, for as long as it was tried.

    Not a refusal: nothing needs mending but the connection, so the exit code is one after which runs are started
    again, a bounded number of times.
    """

    exit_code = 1


class FailedRunsError(OctjobError):
    """The command finished, but some runs failed."""

    exit_code = 5


class Interrupted(OctjobError):
    """Stopped by a signal after the state was saved; the same command continues."""

    exit_code = 75
