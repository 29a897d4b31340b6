"""Runs that ended with an error, or left what cannot be read."""

from __future__ import annotations

from collections.abc import Sequence

from octjob.doctor.case import Planned
from octjob.doctor.gates.runs import Failed
from octjob.leaderboard.outcome import Outcome

# The exit code of data that cannot be used.
_DATA = 3


def failed_runs(outcomes: Sequence[Outcome]) -> list[tuple[Planned, Failed]]:
    """Those without a result whose last attempt ended with an error, or whose result or predictions are damaged;
    controls left out."""
    return [pair for one in outcomes if (pair := _failed(one)) is not None]


def _failed(one: Outcome) -> tuple[Planned, Failed] | None:
    if one.scored is not None or one.entry.control:
        return None
    name = f"{one.entry.checkpoint}.{one.entry.config}"
    spec = None if one.spec is None else one.spec.run
    if one.unreadable:
        hint = f"restore it, or remove the folder runs/{one.entry.run_id} and submit the sweep again"
        failed = Failed(name, one.unreadable, hint, _DATA)
    elif one.progress is not None and (failure := one.progress.failure) is not None:
        failed = Failed(name, failure.message, failure.hint, failure.exit_code)
    else:
        return None
    return Planned(name, one.entry.checkpoint, spec, run_id=one.entry.run_id), failed
