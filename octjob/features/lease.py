"""A lease in an object store: one worker does the work, the others wait, and a dead worker's lease runs out.

No two clocks are compared. Whoever waits measures by its own monotonic clock for how long nothing has changed; on the
holder's machine the kernel says at once whether it lives.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass

from octjob.storage.base import (
    AlreadyExistsError,
    ObjectNotFoundError,
    ObjectStore,
    StoreFullError,
    VersionConflictError,
)
from octjob.storage.claim import Claim, is_held, this_machine

log = logging.getLogger(__name__)

DURATION_S = 120.0


@dataclass(frozen=True)
class _Record:
    """What the lease's object says. machine, claim: where and under which name the holder can be seen to live."""

    owner: str
    machine: str = ""
    claim: str = ""
    released: bool = False

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class Lease:
    """A lease held as one object; changed only by create-only and versioned writes.

    One version of it holds others up for `duration_s` at most, from when they first see it. An owner of the same name
    takes over at once: a run started again does not wait for its dead attempt.
    """

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        owner: str,
        duration_s: float = DURATION_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.key = key
        self.duration_s = duration_s
        self.monotonic = monotonic
        self.owner = owner
        self._record = _Record(owner, this_machine(), f"{store.uri(key)} {uuid.uuid4().hex}")
        self._claim = Claim(self._record.claim)
        self._version: str | None = None
        self._renew_at = 0.0
        # The version another worker holds, and when we first saw it.
        self._seen: tuple[str, float] | None = None

    def acquire(self) -> bool:
        """Take the lease if it is free or has run out; False while another worker holds it."""
        self._claim.take()
        try:
            try:
                self._version = self.store.put(self.key, self._record.encode(), if_absent=True)
            except AlreadyExistsError:
                self._version = self._take_over()
        except StoreFullError as error:
            log.warning("%s; working without a lease, perhaps beside another worker", error.message)
            return True
        finally:
            if self._version is None:
                self._claim.release()
        self._renew_at = self.monotonic() + self.duration_s / 4
        return self._version is not None

    def _take_over(self) -> str | None:
        """The version that is ours now, or None."""
        with contextlib.suppress(VersionConflictError, ObjectNotFoundError):
            version = self.store.head(self.key).version
            if not self._is_held(version, self.store.get(self.key)):
                return self.store.put(self.key, self._record.encode(), if_version=version)
        return None

    def _is_held(self, version: str, body: bytes) -> bool:
        """Whether another worker may still hold the version of the lease with this body.

        What cannot be read is held by nobody.
        """
        record = _parse(body)
        if record is None:
            log.warning("%s is not a lease; taken over", self.store.uri(self.key))
            return False
        if record.released or record.owner == self.owner:
            return False
        if record.machine == this_machine() and not is_held(record.claim):
            log.info("%s: its holder %s is dead; taken over", self.store.uri(self.key), record.owner)
            return False
        now = self.monotonic()
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
        return now - self._seen[1] < self.duration_s

    def renew(self) -> None:
        """Keep holding it; cheap to call often.

        A holder that was overtaken goes on: what it writes equals what the other writes.
        """
        if self._version is None or self.monotonic() < self._renew_at:
            return
        try:
            self._version = self.store.put(self.key, self._record.encode(), if_version=self._version)
        except VersionConflictError:
            self._version = None
        except StoreFullError as error:
            log.warning("%s; the lease is not renewed", error.message)
        self._renew_at = self.monotonic() + self.duration_s / 4

    def release(self) -> None:
        """Let the next worker in at once."""
        version, self._version = self._version, None
        try:
            if version is not None:
                # A conflict means we were overtaken after it ran out: there is nothing of ours to release.
                # Without room it runs out by itself.
                with contextlib.suppress(VersionConflictError, StoreFullError):
                    self.store.put(self.key, _Record(self.owner, released=True).encode(), if_version=version)
        finally:
            self._claim.release()


def _parse(body: bytes) -> _Record | None:
    """The record, None where it is anything else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("owner"), str):
        return None
    texts = {name: str(found.get(name, "")) for name in ("owner", "machine", "claim")}
    return _Record(**texts, released=found.get("released") is True)
