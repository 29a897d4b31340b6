"""Wait until nothing more will come of a sweep's runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from octjob.errors import Interrupted
from octjob.records.status import sweep_status
from octjob.storage.base import ObjectStore

# A run stands in one of these; the last three are final.
Standing = Literal["open", "result", "failed", "gone"]
LOOK_EVERY_S = 15.0
# A run that is just being submitted or retried has no JobSet for a moment.
_NUM_LOOKS_GONE = 3


@dataclass(frozen=True)
class Standings:
    """How many runs stand where, by run id.

    failed: gave up. gone: no result, and nothing on the cluster that could still bring one.
    """

    of: dict[str, Standing]

    def ids(self, standing: Standing) -> list[str]:
        """Runs that stand there."""
        return [run for run, one in self.of.items() if one == standing]

    def __str__(self) -> str:
        words: tuple[tuple[Standing, str], ...] = (
            ("result", "have a result"),
            ("open", "to come"),
            ("failed", "failed"),
            ("gone", "without a JobSet"),
        )
        parts = [f"{len(self.ids(key))} {word}" for key, word in words if self.ids(key)]
        return f"{len(self.of)} runs: {', '.join(parts)}"


Look = Callable[[], Standings]


def look_in_store(store: ObjectStore) -> Standings:
    """Where the runs stand by the store alone; a run that has failed may be tried again by its target.

    A result that cannot be read is one: nothing more comes of that run by itself.

    Raises `ObjectNotFoundError`: no sweep here.
    """
    return Standings(
        {
            one.run_id: "result" if one.has_result else "failed" if one.state == "Failed" else "open"
            for one in sweep_status(store)
        }
    )


def wait_for_results(
    look: Look,
    timeout_s: float,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Standings:
    """Look until no run is open; returns what was seen last.

    say: gets a line whenever something has changed.

    Raises `Interrupted` after `timeout_s`.
    """
    deadline = clock() + timeout_s
    said = ""
    looks_gone = 0
    while True:
        seen = look()
        if str(seen) != said:
            said = str(seen)
            say(said)
        if not seen.ids("open"):
            looks_gone += 1
            if not seen.ids("gone") or looks_gone >= _NUM_LOOKS_GONE:
                return seen
        else:
            looks_gone = 0
        if clock() >= deadline:
            raise Interrupted(
                f"not all there in time: {said}", "The runs go on; the same command goes on waiting."
            )
        sleep(min(LOOK_EVERY_S, max(0.0, deadline - clock())))
