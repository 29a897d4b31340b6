"""Where a run stands: the one vocabulary, for the store, the local target and a cluster. Pure."""

from __future__ import annotations

from typing import Literal, get_args

from octjob.records.schema import Stage

# A store alone knows Pending, Running, Interrupted, Unreadable, Failed and Succeeded, the local target Restarting as
# well; a cluster knows the others.
RunState = Literal[
    "Succeeded",
    "Running",
    "Restarting",
    "Starting",
    "Interrupted",
    "Queued",
    "Paused",
    "PutOut",
    "Held",
    "Pending",
    "Ending",
    "Invalid",
    "Unreadable",
    "OutOfTime",
    "NoResult",
    "Failed",
]
STATES: tuple[RunState, ...] = get_args(RunState)

# Over without a result, with which it may be tried again.
ENDED: tuple[RunState, ...] = ("Failed", "NoResult", "OutOfTime")
# No result, and none will come by itself.
FAILED: tuple[RunState, ...] = (*ENDED, "Invalid")
# Nothing more happens without a new submission.
FINAL: tuple[RunState, ...] = (*FAILED, "Succeeded", "Unreadable")


def state_at(stage: Stage) -> RunState:
    """Where a run without a result stands whose last heartbeat was at this stage."""
    if stage == "failed":
        return "Failed"
    return "Interrupted" if stage == "interrupted" else "Running"
