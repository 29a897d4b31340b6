"""Wait until nothing more will come of a sweep's runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from octjob.errors import Interrupted
from octjob.records.state import FAILED
from octjob.records.status import RunStatus, sweep_status
from octjob.storage.base import ObjectStore

LOOK_EVERY_S = 15.0
# A run that is just being submitted or retried has no JobSet for a moment.
_NUM_LOOKS_GONE = 3


@dataclass(frozen=True)
class Standings:
    """Ids of the runs, in four groups of what one who waits may expect of them.

    results: have one. open: may still get one. failed: gave up. gone: have none, and nothing is on the cluster that
    could still bring it.
    """

    results: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = (
            (self.results, "have a result"),
            (self.open, "to come"),
            (self.failed, "failed"),
            (self.gone, "without a JobSet"),
        )
        total = sum(len(ids) for ids, _ in words)
        return f"{total} runs: {', '.join(f'{len(ids)} {word}' for ids, word in words if ids)}"


Look = Callable[[], Standings]


def standings(runs: Iterable[RunStatus], gone: Callable[[RunStatus], bool] = lambda one: False) -> Standings:
    """The groups that these runs are in, encodings left out. gone: whether a run without a result has nothing on its
    cluster.

    A result that cannot be read is one: nothing more comes of that run by itself. A damaged heartbeat says nothing,
    the next one replaces it.
    """
    found: dict[str, list[str]] = {"results": [], "open": [], "failed": [], "gone": []}
    for one in (one for one in runs if not one.encoding):
        if one.has_result:
            group = "results"
        elif gone(one):
            group = "gone"
        else:
            group = "failed" if one.state in FAILED else "open"
        found[group].append(one.run_id)
    return Standings(**{group: tuple(ids) for group, ids in found.items()})


def look_in_store(store: ObjectStore) -> Standings:
    """The groups by the store alone; a run that has failed may be tried again by its target.

    Raises `ObjectNotFoundError`: no sweep here.
    """
    return standings(sweep_status(store))


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
        if not seen.open:
            looks_gone += 1
            if not seen.gone or looks_gone >= _NUM_LOOKS_GONE:
                return seen
        else:
            looks_gone = 0
        if clock() >= deadline:
            raise Interrupted(
                f"not all there in time: {said}", "The runs go on; the same command goes on waiting."
            )
        sleep(min(LOOK_EVERY_S, max(0.0, deadline - clock())))
