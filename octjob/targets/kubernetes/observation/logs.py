"""The logs of a run's pods, merged as they arrive, through restarts of pods and of the API server.

One thread reads each pod; all write to one bounded queue, so a slow reader of ours makes the pods' logs wait in the
kubelet instead of in memory.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING

from octjob.records.textlog import Line
from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.documents.manifest import CONTAINER
from octjob.targets.kubernetes.observation.pods import (
    container_state,
    has_begun,
    restart,
    worker,
)
from octjob.targets.kubernetes.phase import phase
from octjob.targets.kubernetes.refusal import ClusterError
from octjob.targets.kubernetes.resources import JOBSETS, PODS
from octjob.targets.kubernetes.workloads import by_jobset, list_workloads

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document

POLL_S = 2.0
GRACE_S = 2.0
MAX_LINES_WAITING = 1000
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) ?")
_NAP_S = 0.2
# A refusal that lasts is no server that is starting.
REFUSED_S = 60.0

Say = Callable[[str], None]


@dataclass
class _Reader:
    """What was read of one pod. last: time stamp of its latest line. complete: its container's whole log."""

    pod: Document
    last: bytes = b""
    complete: bool = False
    thread: threading.Thread | None = None
    trouble: str = ""

    @property
    def busy(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


class PodLogs:
    """The merged log of the pods of one JobSet.

    only: this worker's alone. tail: only the last lines of each pod that is there at first. say: hears what the
    reader should know that is not in any log, a line each.
    """

    def __init__(
        self,
        cluster: Cluster,
        jobset: str,
        *,
        only: int | None = None,
        tail: int | None = None,
        say: Say = lambda text: None,
        max_waiting: int = MAX_LINES_WAITING,
    ) -> None:
        self.cluster, self.jobset, self.only, self.tail, self.say = cluster, jobset, only, tail, say
        self._queue: Queue[Line] = Queue(max_waiting)
        self._readers: dict[str, _Reader] = {}
        self._stop = threading.Event()
        self._bare_since: float | None = None
        self._silent_since: float | None = None
        self._described = ""

    def pods(self) -> list[Document]:
        """The pods that have a log, by one list call: of the latest restart that has any."""
        pods = [one for one in self._list() if has_begun(one)]
        latest = max(map(restart, pods), default=0)
        return sorted((one for one in pods if restart(one) == latest), key=worker)

    def lines(self, pods: Sequence[Document]) -> Iterator[Line]:
        """What these pods have said so far.

        Raises `ClusterError` where one cannot be read.
        """
        try:
            for pod in pods:
                self._start(pod, follow=False)
            yield from self._drain(lambda: not self._busy())
            for reader in self._readers.values():
                if reader.trouble:
                    raise ClusterError(reader.trouble, "The same command tries again.")
        finally:
            self._stop.set()

    def follow(self, describe: Callable[[], str]) -> Iterator[Line]:
        """What the pods say until the run has ended, those of later restarts included.

        describe: why there is no pod, in words; asked while there is none.

        Raises `ClusterError` where the cluster goes on refusing.
        """
        restarts: int | None = None
        try:
            while True:
                seen = self._look(describe)
                if seen is not None:
                    jobset, pods = seen
                    restarts = self._announce(jobset, restarts)
                    self._attach([one for one in pods if has_begun(one)])
                    ended = jobset is None or self._has_ended(jobset)
                    if ended and not self._busy() and self._all_read(pods):
                        yield from self._drain(lambda: True)
                        return
                yield from self._drain(_after(POLL_S))
        finally:
            self._stop.set()

    def _look(self, describe: Callable[[], str]) -> tuple[Document | None, list[Document]] | None:
        """The JobSet and its pods; None where the cluster does not answer now."""
        try:
            pods, jobset = self._list(), self.cluster.get(JOBSETS, self.jobset)
            waits = jobset is not None and not any(has_begun(one) for one in pods) and not self._busy()
            if self._has_waited(waits):
                self._describe(describe())
        except ClusterError as error:
            now = time.monotonic()
            self._silent_since = self._silent_since or now
            answers = error.status is not None and error.status < 500
            if answers and now - self._silent_since > REFUSED_S:
                raise
            self._describe(f"no answer from the cluster: {error.message}")
            return None
        self._silent_since = None
        return jobset, pods

    def _has_ended(self, jobset: Document) -> bool:
        """Whether no more pods will come of it."""
        workload = None
        if jobset["spec"].get("suspend") and not self._busy():
            uid = jobset["metadata"]["uid"]
            workload = by_jobset(list_workloads(self.cluster, f"{kueue.JOB_UID_LABEL}={uid}")).get(uid)
        return phase(jobset, workload).ended

    def _has_waited(self, waits: bool) -> bool:
        """Whether there has been nothing to read for a while: finding out why takes calls, in which the pods of a
        restart may come and go."""
        now = time.monotonic()
        self._bare_since = (self._bare_since or now) if waits else None
        return self._bare_since is not None and now - self._bare_since >= GRACE_S

    def _describe(self, text: str) -> None:
        if text and text != self._described:
            self.say(text)
        self._described = text

    def _list(self) -> list[Document]:
        pods = self.cluster.list(PODS, f"{jobset_api.NAME_KEY}={self.jobset}")
        return [one for one in pods if self.only is None or worker(one) == self.only]

    def _attach(self, pods: Sequence[Document]) -> None:
        """Read what is not being read: anew where a connection broke, once more to the end after the pod's end."""
        for pod in pods:
            reader = self._readers.get(pod["metadata"]["uid"])
            if reader is None or not (reader.busy or reader.complete):
                self._start(pod, follow="running" in container_state(pod))

    def _all_read(self, pods: Sequence[Document]) -> bool:
        """Whether nothing is left to read of pods that are still there."""
        uids = {one["metadata"]["uid"] for one in pods}
        return all(reader.complete for uid, reader in self._readers.items() if uid in uids)

    def _start(self, pod: Document, *, follow: bool) -> None:
        reader = self._readers.setdefault(pod["metadata"]["uid"], _Reader(pod))
        reader.thread = threading.Thread(target=self._read, args=(reader, follow), daemon=True)
        reader.thread.start()

    def _read(self, reader: _Reader, follow: bool) -> None:
        """A thread's work: one connection, to its end."""
        since = reader.last
        reader.trouble = ""
        try:
            for raw in self.cluster.logs(
                reader.pod["metadata"]["name"],
                CONTAINER,
                follow=follow,
                tail=None if since else self.tail,
                timestamps=True,
                since=since.decode(),
            ):
                stamp = _STAMP.match(raw)
                if stamp is not None:
                    if since and stamp[1] <= since:
                        continue
                    reader.last = stamp[1]
                    raw = raw[stamp.end() :]
                if not self._put(Line(worker(reader.pod), raw)):
                    return
        except ClusterError as error:
            reader.trouble = error.message
            return
        reader.complete = not follow

    def _put(self, line: Line) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(line, timeout=_NAP_S)
            except Full:
                continue
            return True
        return False

    def _drain(self, done: Callable[[], bool]) -> Iterator[Line]:
        """Lines as they come until `done`, and what lies in the queue by then."""
        while True:
            finished = done()
            try:
                yield self._queue.get_nowait() if finished else self._queue.get(timeout=_NAP_S)
            except Empty:
                if finished:
                    return

    def _busy(self) -> bool:
        return any(reader.busy for reader in self._readers.values())

    def _announce(self, jobset: Document | None, before: int | None) -> int | None:
        restarts: int | None = jobset.get("status", {}).get("restarts", 0) if jobset else before
        if before is not None and restarts is not None and restarts > before:
            self.say(f"restart {restarts}: its log follows")
        return restarts


def _after(seconds: float) -> Callable[[], bool]:
    """Whether that much time has passed since now."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until
