"""Many API calls at once, all or as many as went well before the first that did not."""

from __future__ import annotations

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
Listener = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Outcome(Generic[U]):
    """results: of the calls that succeeded, in order. problem: what ended the rest; None where all succeeded.

    A `KeyboardInterrupt` is a problem too, so that the caller can say what was done before.
    """

    results: list[U]
    problem: OctjobError | KeyboardInterrupt | None


def in_parallel(call: Callable[[T], U], items: Sequence[T], what: str, listener: Listener) -> Outcome[U]:
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
