"""The signals that ask a process to save its state and stop, a terminal's, a user's or an orphan's."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def stop_signals() -> tuple[signal.Signals, ...]:
    """SIGTERM, SIGINT, and SIGHUP (a closed terminal), unless `nohup` had SIGHUP ignored."""
    polite = (signal.SIGTERM, signal.SIGINT)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return polite
    return (*polite, signal.SIGHUP)


def stop_with(parent: int) -> bool:
    """Have the kernel send SIGTERM once process `parent`, which started this one, dies, however it dies.

    False where it is dead already.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    return os.getppid() == parent
