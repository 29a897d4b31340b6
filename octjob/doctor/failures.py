"""Runs that ended with an error."""

from __future__ import annotations

from collections.abc import Sequence

from octjob.doctor.case import Planned
from octjob.doctor.gates.runs import Failed
from octjob.leaderboard.outcome import Outcome


def failed_runs(outcomes: Sequence[Outcome]) -> list[tuple[Planned, Failed]]:
    """Those without a result whose last attempt ended with an error, controls left out."""
    return [pair for one in outcomes if (pair := _failed(one)) is not None]


def _failed(one: Outcome) -> tuple[Planned, Failed] | None:
    failure = None if one.progress is None or one.scored is not None else one.progress.failure
    if failure is None or one.entry.control:
        return None
    name = f"{one.entry.checkpoint}.{one.entry.config}"
    spec = None if one.spec is None else one.spec.run
    failed = Failed(name, failure.message, failure.hint, failure.exit_code)
    return Planned(name, one.entry.checkpoint, spec, run_id=one.entry.run_id), failed
