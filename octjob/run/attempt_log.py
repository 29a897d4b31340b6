"""An attempt's log in the store, because Kubernetes deletes a pod's log when it restarts the run.

Log lines collect in memory and the whole log is written anew: at every change of stage, at the end, and at most
once a minute between.
"""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from octjob.errors import Interrupted, OctjobError
from octjob.records.layout import attempt_log_key
from octjob.records.schema import ENDED, Progress
from octjob.redact import Redactor
from octjob.storage.base import ObjectStore

log = logging.getLogger(__name__)

MAX_BYTES = 4 * 2**20
INTERVAL_S = 60.0
LINE_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class AttemptLog(logging.Handler):
    """Keeps the last `max_bytes` of what is logged.

    attempt: number of the attempt, from 1; while it is None nothing is written.
    """

    def __init__(
        self,
        store: ObjectStore,
        run_id: str,
        attempt: int | None,
        host: int,
        *,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
        redact: Callable[[str], str] = str,
    ) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter(LINE_FORMAT))
        self.store, self.run_id, self.attempt, self.host = store, run_id, attempt, host
        self.max_bytes, self.clock, self.redact = max_bytes, clock, redact
        self._lines: deque[bytes] = deque()
        self._num_bytes = self._num_cut = 0
        self._changed = self._warned = False
        self._stage = ""
        self._written_at = clock()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record; see `logging.Handler`."""
        self.write(self.format(record))

    def write(self, text: str) -> None:
        """Keep a line, or several."""
        line = (self.redact(text) + "\n").encode(errors="replace")[-self.max_bytes :]
        self.acquire()
        try:
            self._lines.append(line)
            self._num_bytes += len(line)
            while self._num_bytes > self.max_bytes:
                cut = len(self._lines.popleft())
                self._num_bytes -= cut
                self._num_cut += cut
            self._changed = True
        finally:
            self.release()

    def listen(self, progress: Progress) -> None:
        """Hears every heartbeat; writes where it is time to."""
        if progress.stage in ENDED:
            return  # `ended` writes then, with the last words.
        entered = progress.stage != self._stage
        self._stage = progress.stage
        if entered or self.clock() - self._written_at >= INTERVAL_S:
            self.upload()

    def upload(self) -> None:
        """Write the log as it stands. A store that refuses is a warning, once: the run itself goes on."""
        if self.attempt is None or not self._changed:
            return
        key = attempt_log_key(self.run_id, self.attempt, self.host)
        self._written_at = self.clock()
        try:
            self.store.put(key, self._content())
        except OctjobError as error:
            self._changed = True
            if not self._warned:
                self._warned = True
                log.warning("this attempt's log cannot be kept: %s", error.message)

    def ended(self, error: BaseException | None) -> None:
        """The last words of an attempt, and the last write."""
        if isinstance(error, OctjobError):
            kind = "interrupted" if isinstance(error, Interrupted) else "error"
            self.write(f"{kind}: {error.message}")
            if error.hint:
                self.write(f"hint: {error.hint}")
        elif error is not None:
            self.write("".join(traceback.format_exception(error)).rstrip("\n"))
        self.upload()

    def _content(self) -> bytes:
        self.acquire()
        try:
            self._changed = False
            header = f"(the first {self._num_cut} bytes of this log were cut)\n" if self._num_cut else ""
            return header.encode() + b"".join(self._lines)
        finally:
            self.release()


@contextmanager
def keep_attempt_log(store: ObjectStore, run_id: str, attempt: int | None, host: int) -> Iterator[AttemptLog]:
    """Keep what any logger says in the block, and how the block ended."""
    kept = AttemptLog(store, run_id, attempt, host, redact=Redactor(os.environ))
    root = logging.getLogger()
    root.addHandler(kept)
    try:
        yield kept
    except BaseException as error:
        kept.ended(error)
        raise
    else:
        kept.ended(None)
    finally:
        root.removeHandler(kept)
        kept.close()
