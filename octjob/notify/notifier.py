"""Sends each event to each receiver until it was taken, over the deaths of those who send.

    <output>/<sweep>/notifications/events/<id>.json              an event, create-only: every sending has its bytes
                     notifications/taken/<receiver>/<id>.json    create-only: this receiver answered 2xx
                     notifications/<receiver>.lease.json         who sends to it at present

An event is stored before it is sent and called taken after. Whoever dies in between leaves it to the next, who sends
the same bytes again: a receiver hears of each event at least once, and knows it by `source` and `id`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from octjob.errors import AccessError, UnavailableError
from octjob.notify.event import Event
from octjob.notify.receiver import NotTakenError, Receiver, RefusedError
from octjob.records.layout import encode
from octjob.storage.base import AlreadyExistsError, ObjectStore
from octjob.storage.lease import DURATION_S, Holder, Lease
from octjob.storage.patience import persist

_EVENTS = "notifications/events/"
_TAKEN = "notifications/taken/"
# For how long the last attempt is patient with a receiver.
PATIENCE_S = 120.0
_LOOK_EVERY_S = 2.0


class BusyError(UnavailableError):
    """Another collector sends to the receiver at present."""


class _LostError(Exception):
    """Somebody else sends by now."""


class _Outlet:
    """One receiver of a sweep's events, as this process knows it."""

    def __init__(self, store: ObjectStore, receiver: Receiver, holder: Holder, lease_s: float) -> None:
        self.store = store
        self.receiver = receiver
        self.lease = Lease(store, f"notifications/{receiver.digest}.lease.json", holder, lease_s)
        self.refusal: RefusedError | None = None

    def waiting(self) -> list[str]:
        """Ids of the events that it has not taken, those of runs before those of the sweep."""
        taken = f"{_TAKEN}{self.receiver.digest}/"
        events = _ids(self.store, _EVENTS) - _ids(self.store, taken)
        return sorted(events, key=lambda one: (not one.startswith("run."), one))

    def send(self, patience_s: float) -> AccessError | None:
        """Send what waits, if nobody else does; what keeps it from being taken, None where nothing does."""
        if self.refusal is not None:
            return self.refusal
        if not self.waiting():
            return None
        if not self.lease.acquire():
            return _busy(self.receiver)
        try:
            # Again: whoever held the lease before has sent some of them.
            for id_ in self.waiting():
                self._send(id_, patience_s)
        except RefusedError as error:
            self.refusal = error
            return error
        except _LostError:
            return _busy(self.receiver)
        except NotTakenError as error:
            return error
        finally:
            self.lease.release()
        return None

    def _send(self, id_: str, patience_s: float) -> None:
        event = self.store.get(f"{_EVENTS}{id_}.json")

        def post() -> None:
            self.lease.renew()
            if not self.lease.is_held:
                raise _LostError
            self.receiver.post(event)

        persist(post, lambda error: error.pause_s if isinstance(error, NotTakenError) else None, patience_s)
        record = {"schema_version": 1, "id": id_, "at": time.time()}
        with contextlib.suppress(AlreadyExistsError):
            key = f"{_TAKEN}{self.receiver.digest}/{id_}.json"
            self.store.put(key, json.dumps(record).encode(), if_absent=True)


class Notifier:
    """Tells receivers what has ended; used by one collector, a context manager.

    say: hears what is in the way while there is time to mend it.
    """

    def __init__(
        self,
        store: ObjectStore,
        receivers: Iterable[Receiver],
        say: Callable[[str], None] = lambda line: None,
        *,
        lease_s: float = DURATION_S,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        # No two collectors are of one name, or the second would take the first's lease from it.
        self._holder = Holder(f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
        self._outlets = [_Outlet(store, one, self._holder, lease_s) for one in dict.fromkeys(receivers)]
        self._lease_s = lease_s
        self._patience_s = patience_s
        self._sleep = sleep
        self._say = say
        self._said: set[str] = set()
        self._known: set[str] | None = None
        self._problem: AccessError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder.close()

    def tell(self, events: Iterable[Event]) -> None:
        """Keep the events and try once to send what waits. Raises nothing for what a store or a receiver does."""
        try:
            self._keep(events)
            for outlet in self._outlets:
                self._mention(outlet.send(0.0))
            self._problem = None
        except AccessError as error:
            self._problem = error
            self._mention(error)

    def finish(self) -> list[AccessError]:
        """Send what waits, patiently; what could not be sent and why, one error for each receiver at most.

        Where another collector sends, it is waited for until it has, or its lease has run out.
        """
        if self._problem is not None:
            return [self._problem]
        problems = []
        for outlet in self._outlets:
            try:
                problem = self._finish(outlet)
            except AccessError as error:
                problem = error
            if problem is not None:
                problems.append(problem)
        return problems

    def _mention(self, problem: AccessError | None) -> None:
        if problem is None or isinstance(problem, BusyError) or problem.message in self._said:
            return
        self._said.add(problem.message)
        self._say(f"Not notified yet: {problem.message}")

    def _finish(self, outlet: _Outlet) -> AccessError | None:
        deadline = time.monotonic() + 2 * self._lease_s
        while True:
            problem = outlet.send(self._patience_s)
            if not isinstance(problem, BusyError) or time.monotonic() > deadline:
                return problem
            self._sleep(_LOOK_EVERY_S)

    def _keep(self, events: Iterable[Event]) -> None:
        """Store those that nobody has stored. The first to store one decides what it says."""
        if self._known is None:
            self._known = _ids(self._store, _EVENTS)
        for event in events:
            if event.id in self._known:
                continue
            with contextlib.suppress(AlreadyExistsError):
                self._store.put(f"{_EVENTS}{event.id}.json", encode(event), if_absent=True)
            self._known.add(event.id)


def _busy(receiver: Receiver) -> BusyError:
    return BusyError(
        f"{receiver.shown}: another collector sends to it", "It sends what waits; else collect again later."
    )


def _ids(store: ObjectStore, prefix: str) -> set[str]:
    return {info.key.removeprefix(prefix).removesuffix(".json") for info in store.list(prefix)}
