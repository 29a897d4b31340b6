"""Looking again and again at runs, past short failures of whoever is asked."""

from __future__ import annotations

import time
from collections.abc import Callable

from octjob.errors import AccessError
from octjob.records.status import RunStatus

# The sweep's URI, and its runs.
Read = Callable[[], tuple[str, list[RunStatus]]]
# The runs as last seen, and a line on why they are not seen now, empty if they are.
Show = Callable[[list[RunStatus], str], None]

# No answer may be a lost network or a server that restarts; a refusal is seldom more than a starting one.
NO_ANSWER_S = 1800.0
REFUSED_S = 60.0


def watch(
    read: Read,
    show: Show,
    interval_s: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[RunStatus]:
    """Show the runs every `interval_s` seconds until all are final; returns them.

    Raises what the first look raises; later an `AccessError` only after it has lasted: `NO_ANSWER_S` without any
    answer, `REFUSED_S` of refusals.
    """
    _, statuses = read()
    show(statuses, "")
    answered = clock()
    while not all(one.final for one in statuses):
        sleep(interval_s)
        try:
            _, statuses = read()
        except AccessError as error:
            silent_s = clock() - answered
            if silent_s > (NO_ANSWER_S if error.no_answer else REFUSED_S):
                raise
            show(statuses, f"no answer since {silent_s:.0f} s: {error.message}")
            continue
        answered = clock()
        show(statuses, "")
    return statuses
