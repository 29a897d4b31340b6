"""Which volumes a run encodes next, where other runs need the same ones.

The volumes of a feature key fall into 256 parts by a hash of their UID, so that runs whose cohorts differ mean the
same by a part. Who holds a part's lease encodes what is missing of it. Nobody waits for one while holding another.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import defaultdict, deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from octjob.storage.base import ObjectStore, StoreFullError
from octjob.storage.lease import Holder, Lease

log = logging.getLogger(__name__)

# A bucket takes 50 ms for an answer, and gives so many at once without complaint.
_NUM_THREADS = 16
# Parts that turn out to be others' before a run stops looking for now: among many runs there are many of them.
_MOST_REFUSED = 16


def part_of(uid: str) -> str:
    """The part that a volume belongs to: two hex digits."""
    return hashlib.sha256(uid.encode()).hexdigest()[:2]


class Claims:
    """The parts that one run holds, each by a lease at `<prefix><part>.json`; leaving the block lets them all go."""

    def __init__(self, store: ObjectStore, prefix: str, owner: str) -> None:
        self._store = store
        self._prefix = prefix
        self._owner = owner
        self._holder = Holder(owner)
        self._pool = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="claims")
        self._leases: dict[str, Lease] = {}
        self._is_full = False
        self._telling = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error requests may be under way; what they win is let go too.
        self._pool.shutdown(cancel_futures=True)
        try:
            for lease in self._held:
                lease.release()
        finally:
            self._holder.close()

    def take(self, uids: Iterable[str], num_volumes: int) -> list[str]:
        """Claim parts until they hold `num_volumes` of `uids`, and return those; fewer where others hold the rest, or
        so many parts that the next call looks further.

        One request lists the leases that there are. It spares one for each that is still what it was when it was seen
        to be another's, and parts that nobody ever claimed come first.
        """
        parts: dict[str, list[str]] = defaultdict(list)
        for uid in uids:
            parts[part_of(uid)].append(uid)
        there = {info.key: info.version for info in self._store.list(self._prefix)}
        waiting = (part for part in parts if not self._lease(part).is_known_held(there.get(self._key(part))))
        left = deque(sorted(waiting, key=lambda part: (self._key(part) in there, self._turn(part))))
        taken: list[str] = []
        refused = 0
        while left and len(taken) < num_volumes and refused < _MOST_REFUSED:
            batch: list[str] = []
            while left and len(taken) + sum(len(parts[part]) for part in batch) < num_volumes:
                batch.append(left.popleft())
            acquired = self._pool.map(lambda part: self._acquire(part, there.get(self._key(part))), batch)
            for part, is_ours in zip(batch, acquired, strict=True):
                taken += parts[part] if is_ours else []
                refused += not is_ours
        return taken

    def renew(self) -> None:
        """Keep holding what is held; cheap to call often."""
        list(self._pool.map(lambda lease: lease.renew(), [lease for lease in self._held if lease.is_due]))

    def release(self) -> None:
        """Let others have at once what is held."""
        list(self._pool.map(lambda lease: lease.release(), self._held))

    @property
    def _held(self) -> list[Lease]:
        return [lease for lease in self._leases.values() if lease.is_held]

    def _turn(self, part: str) -> str:
        """Each run goes through the parts in an order of its own, so that two seldom want the same one."""
        return hashlib.sha256(f"{self._owner}/{part}".encode()).hexdigest()

    def _key(self, part: str) -> str:
        return f"{self._prefix}{part}.json"

    def _lease(self, part: str) -> Lease:
        if part not in self._leases:
            self._leases[part] = Lease(self._store, self._key(part), self._holder)
        return self._leases[part]

    def _acquire(self, part: str, version: str | None) -> bool:
        if self._is_full:
            return True
        try:
            return self._lease(part).acquire_listed(version)
        except StoreFullError as error:
            with self._telling:
                if not self._is_full:
                    log.warning("%s; encoding without claims, perhaps as another run does", error.message)
                self._is_full = True
            return True
