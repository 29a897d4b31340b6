"""A lease in an object store: one worker does the work, the others wait, and a dead worker's lease runs out."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from collections.abc import Callable

from octjob.storage.base import AlreadyExistsError, ObjectNotFoundError, ObjectStore, VersionConflictError

log = logging.getLogger(__name__)

DURATION_S = 120.0


class Lease:
    """A lease held as one object, `{"owner", "expires_at"}`; changed only by create-only and versioned writes.

    An owner of the same name takes over at once: a run started again does not wait for its dead attempt.
    """

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        owner: str,
        duration_s: float = DURATION_S,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.key = key
        self.duration_s = duration_s
        self.clock = clock
        self.monotonic = monotonic
        self.owner = owner
        self._version: str | None = None
        self._renew_at = 0.0
        # The version another worker holds, and when we first saw it.
        self._seen: tuple[str, float] | None = None

    def acquire(self) -> bool:
        """Take the lease if it is free or has run out; False while another worker holds it."""
        try:
            self._version = self.store.put(self.key, self._body(), if_absent=True)
        except AlreadyExistsError:
            return self._take_over()
        self._held()
        return True

    def _take_over(self) -> bool:
        try:
            version = self.store.head(self.key).version
            if self._is_held(version, self.store.get(self.key)):
                return False
            self._version = self.store.put(self.key, self._body(), if_version=version)
        except (VersionConflictError, ObjectNotFoundError):
            return False
        self._held()
        return True

    def _is_held(self, version: str, body: bytes) -> bool:
        """Whether another worker may still hold the version of the lease with this body.

        Clocks differ and jump: one version holds others up for one duration at most, by our monotonic clock,
        whatever expiry it names. What cannot be read is held by nobody.
        """
        record = _parse(body)
        if record is None:
            log.warning("%s is not a lease; taken over", self.store.uri(self.key))
            return False
        owner, expires_at = record
        if owner == self.owner or expires_at <= self.clock():
            return False
        now = self.monotonic()
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
        return now - self._seen[1] < self.duration_s

    def renew(self) -> None:
        """Keep holding it; cheap to call often.

        A holder that was overtaken goes on: what it writes equals what the other writes.
        """
        if self._version is None or 0 < self._renew_at - self.clock() <= self.duration_s:
            return
        try:
            self._version = self.store.put(self.key, self._body(), if_version=self._version)
        except VersionConflictError:
            self._version = None
            return
        self._held()

    def release(self) -> None:
        """Let the next worker in at once."""
        if self._version is None:
            return
        record = {"owner": self.owner, "expires_at": 0.0}
        # A conflict means we were overtaken after it ran out: there is nothing of ours to release.
        with contextlib.suppress(VersionConflictError):
            self.store.put(self.key, json.dumps(record).encode(), if_version=self._version)
        self._version = None

    def _held(self) -> None:
        self._renew_at = self.clock() + self.duration_s / 4

    def _body(self) -> bytes:
        record = {"owner": self.owner, "expires_at": self.clock() + self.duration_s}
        return json.dumps(record).encode()


def _parse(body: bytes) -> tuple[str, float] | None:
    """Owner and expiry, None where it is anything else."""
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("owner"), str):
        return None
    expires_at = record.get("expires_at")
    if (
        isinstance(expires_at, bool)
        or not isinstance(expires_at, int | float)
        or not math.isfinite(expires_at)
    ):
        return None
    return record["owner"], expires_at
