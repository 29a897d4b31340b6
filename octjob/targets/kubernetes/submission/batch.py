"""Many API calls at once or in waves, all or as many as went well before the first that did not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Generic, TypeVar

from octjob.errors import OctjobError

T = TypeVar("T")
U = TypeVar("U")

# As many as `Cluster` keeps connections.
NUM_THREADS = 16

# What is being done, how often it was done, out of how often.
OnBatch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Outcome(Generic[U]):
    """results: of the calls that succeeded, in order. problem: what ended the rest; None where all succeeded.

    A `KeyboardInterrupt` is a problem too, so that the caller can say what was done before.
    """

    results: list[U]
    problem: OctjobError | KeyboardInterrupt | None


def in_parallel(call: Callable[[T], U], items: Sequence[T], what: str, listener: OnBatch) -> Outcome[U]:
    """`call(item)` for all items on a few threads; after a problem no further call is begun."""
    problem: OctjobError | KeyboardInterrupt | None = None
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        futures = [pool.submit(call, item) for item in items]
        try:
            for count, future in enumerate(as_completed(futures), 1):
                future.result()
                listener(what, count, len(items))
        except (OctjobError, KeyboardInterrupt) as error:
            problem = error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    ended = [future for future in futures if not future.cancelled()]
    failures = [failure for future in ended if isinstance(failure := future.exception(), OctjobError)]
    if failures and isinstance(problem, OctjobError):
        # The first in the order of the items, so that the same fault is reported the same way each time.
        problem = failures[0]
    return Outcome([future.result() for future in ended if future.exception() is None], problem)


# Kueue queues by the second in which a Workload was made, and by its random uid within it.
WAVE_S = 1.1
# So many seconds at most are spent on order; of larger sweeps several runs are made in each.
MAX_WAVES = 30


def in_waves(
    call: Callable[[T], U],
    items: Sequence[T],
    what: str,
    listener: OnBatch,
    wave_s: float = WAVE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome[U]:
    """Like `in_parallel`, but in the order of the items as far as whole seconds can tell: at most `MAX_WAVES` waves,
    a new one every `wave_s` seconds.
    """
    size = -(-len(items) // MAX_WAVES)
    results: list[U] = []
    for start in range(0, len(items), size or 1):
        begun = time.monotonic()
        outcome = in_parallel(call, items[start : start + size], what, _counting_from(start, items, listener))
        results += outcome.results
        if outcome.problem is not None:
            return Outcome(results, outcome.problem)
        if start + size < len(items):
            try:
                sleep(max(0.0, wave_s - (time.monotonic() - begun)))
            except KeyboardInterrupt as interrupt:
                return Outcome(results, interrupt)
    return Outcome(results, None)


def _counting_from(start: int, items: Sequence[object], listener: OnBatch) -> OnBatch:
    return lambda what, done, _: listener(what, start + done, len(items))
