"""SIGTERM, SIGINT and SIGHUP as a request: noticed after the step under way, answered once the state is saved."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from octjob.signals import stop_signals


class Stop:
    """Whether a signal has asked the run to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def requested(self) -> bool:
        """True from the first signal on."""
        return self.signal is not None

    def request(self, number: int, frame: FrameType | None = None) -> None:
        """The signal handler."""
        self.signal = number


@contextmanager
def catch_signals(stop: Stop) -> Iterator[None]:
    """Route the stop signals to `stop`; the previous handlers come back afterwards."""
    before = {number: signal.signal(number, stop.request) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
