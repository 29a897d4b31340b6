"""A lease in an object store: one worker does the work, the others leave it alone, and a dead worker's runs out.

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


class Holder:
    """Who holds leases, any number of them: while it is open, every process of its machine can see that it lives."""

    def __init__(self, owner: str) -> None:
        self.record = _Record(owner, this_machine(), f"{owner} {uuid.uuid4().hex}")
        self._claim = Claim(self.record.claim)
        self._claim.take()

    def close(self) -> None:
        """Let others take over at once whatever was not released."""
        self._claim.release()


@dataclass(frozen=True)
class _Record:
    """What the lease's object says. machine, claim: where and under which name the holder can be seen to live."""

    owner: str
    machine: str = ""
    claim: str = ""
    released: bool = False

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True)
class _Seen:
    """A version of the lease that is not ours, and when we first saw it, by our monotonic clock."""

    version: str
    record: _Record | None
    at: float


class Lease:
    """A lease held as one object; changed only by create-only and versioned writes.

    One version of it holds others up for `duration_s` at most, from when they first see it. An owner of the same name
    takes over at once: a run started again does not wait for its dead attempt.
    """

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        holder: Holder,
        duration_s: float = DURATION_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.key = key
        self.duration_s = duration_s
        self.monotonic = monotonic
        self.holder = holder
        self._version: str | None = None
        self._renew_at = 0.0
        self._seen: _Seen | None = None

    @property
    def is_held(self) -> bool:
        """Whether it is ours, as far as we know."""
        return self._version is not None

    @property
    def is_due(self) -> bool:
        """Whether it is time to `renew` it."""
        return self.is_held and self.monotonic() >= self._renew_at

    def acquire(self) -> bool:
        """Take the lease if it is free or has run out; False while another worker holds it.

        Raises `StoreFullError` where there is no room for a lease.
        """
        if self._seen is None and self.acquire_listed(None):
            return True
        try:
            version = self.store.head(self.key).version
        except ObjectNotFoundError:
            # Somebody removed the cache; the next look makes it anew.
            self._seen = None
            return False
        return self.acquire_listed(version)

    def acquire_listed(self, version: str | None) -> bool:
        """As `acquire`, where a listing has just said which version is there, None for none.

        What changed meanwhile is another worker's, and the next listing says so.
        """
        body = self.holder.record.encode()
        try:
            if version is None:
                return self._hold(self.store.put(self.key, body, if_absent=True))
            self._look(version)
            return not self._holds_up() and self._hold(self.store.put(self.key, body, if_version=version))
        except (AlreadyExistsError, VersionConflictError):
            return False
        except ObjectNotFoundError:
            self._seen = None
            return False

    def is_known_held(self, version: str | None) -> bool:
        """Whether this version was looked at before and is another worker's: then there is nothing to ask."""
        return self._seen is not None and self._seen.version == version and self._holds_up()

    def _hold(self, version: str) -> bool:
        self._version, self._seen = version, None
        self._renew_at = self.monotonic() + self.duration_s / 4
        return True

    def _look(self, version: str) -> None:
        """What a version says is read once: whoever waits asks often."""
        if self._seen is None or self._seen.version != version:
            self._seen = _Seen(version, _parse(self.store.get(self.key)), self.monotonic())

    def _holds_up(self) -> bool:
        """Whether another worker may still hold what was seen last. What cannot be read is held by nobody."""
        assert self._seen is not None
        record = self._seen.record
        if record is None:
            log.warning("%s is not a lease; taken over", self.store.uri(self.key))
            return False
        if record.released or record.owner == self.holder.record.owner:
            return False
        if record.machine == this_machine() and not is_held(record.claim):
            log.info("%s: its holder %s is dead; taken over", self.store.uri(self.key), record.owner)
            return False
        return self.monotonic() - self._seen.at < self.duration_s

    def renew(self) -> None:
        """Keep holding it, when that `is_due`.

        A holder that was overtaken goes on: what it writes equals what the other writes.
        """
        if not self.is_due:
            return
        try:
            self._version = self.store.put(self.key, self.holder.record.encode(), if_version=self._version)
        except VersionConflictError:
            self._version = None
        except StoreFullError as error:
            log.warning("%s; the lease is not renewed", error.message)
        self._renew_at = self.monotonic() + self.duration_s / 4

    def release(self) -> None:
        """Let the next worker in at once."""
        version, self._version = self._version, None
        if version is not None:
            # A conflict means we were overtaken after it ran out: there is nothing of ours to release.
            # Without room it runs out by itself.
            with contextlib.suppress(VersionConflictError, StoreFullError):
                body = _Record(self.holder.record.owner, released=True).encode()
                self.store.put(self.key, body, if_version=version)


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
