"""The errors a user can cause. One line, one hint, one exit code; `octjob.cli` alone prints them."""

from __future__ import annotations

import re


def one_line(text: str) -> str:
    """`text` on one line of printable characters: names of files and keys may hold line breaks and escape sequences,
    which must not act on a terminal or forge a second line."""
    parts = (part.strip() for part in re.split(r"[\n\r\t\v\f\x85\u2028\u2029]+", text))
    joined = " ".join(filter(None, parts))
    return joined if joined.isprintable() else "".join(map(_printable, joined))


def _printable(char: str) -> str:
    return char if char.isprintable() else ascii(char)[1:-1]


class OctjobError(Exception):
    """What went wrong (`message`, naming the file, key, line or URI) and what to do (`hint`).

    Raised anywhere, turned into output only by the command line. The exit codes are a contract
    with users and with Kubernetes (docs/exit-codes.md).
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = one_line(message)
        self.hint = one_line(hint)
        super().__init__(self.message)
        if self.hint:
            self.add_note(f"hint: {self.hint}")  # A notebook shows notes below the error.


class SpecError(OctjobError):
    """Wrong usage or an invalid sweep or config file."""

    exit_code = 2


class DataError(OctjobError):
    """Input data or a checkpoint that cannot be used as it is."""

    exit_code = 3


class AccessError(OctjobError):
    """A store or cluster refused: no permission, or the thing named is not there.

    no_answer: it did not refuse but did not answer, or could not: a lost network, a server that restarts.
    """

    exit_code = 4
    no_answer = False


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
    """Stopped, by a signal after the state was saved or with another host; the same command continues."""

    exit_code = 75
