"""Writing while the next steps run: a thread of its own, and one write at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

log = logging.getLogger(__name__)


class Saving:
    """Carries out writes behind the caller's back; what one raises is raised at the next call.

    As a context: its end waits for the write under way. Where the block failed, that failure is the one raised.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="saving")
        self._write: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a write is under way."""
        return self._write is not None and not self._write.done()

    def start(self, write: Callable[[], None]) -> None:
        """Begin a write, after the one under way. What it writes must not change any more."""
        self.wait()
        self._write = self._pool.submit(write)

    def check(self) -> None:
        """Raise what the last write raised, if it has ended."""
        if not self.busy:
            self.wait()

    def wait(self) -> None:
        """Until nothing is under way. Raises what the write raised, once."""
        write, self._write = self._write, None
        if write is not None:
            write.result()

    def __enter__(self) -> Saving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if error is None:
            self.wait()
        elif self._write is not None and (failed := self._write.exception()) is not None:
            log.warning("the last state was not saved: %s", failed)


def told_bytes(number: int) -> str:
    """A size for people: `1.3 GiB`."""
    size, units = float(number), ["bytes", "KiB", "MiB", "GiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{number} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
