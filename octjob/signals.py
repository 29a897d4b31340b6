"""The signals that ask a process to save its state and stop."""

from __future__ import annotations

import signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """SIGTERM, SIGINT, and SIGHUP (a closed terminal), unless `nohup` had SIGHUP ignored."""
    polite = (signal.SIGTERM, signal.SIGINT)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return polite
    return (*polite, signal.SIGHUP)
