"""Where a JobSet stands, coarsely, from the JobSet alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document

Phase = Literal["queued", "running", "ending", "finished", "failed"]
_TERMINAL: dict[str, Phase] = {"Completed": "finished", "Failed": "failed"}


def phase(jobset: Document) -> Phase:
    """queued: suspended, so waiting for quota or paused. running: may start pods. ending: being deleted."""
    if "deletionTimestamp" in jobset["metadata"]:
        return "ending"
    status = jobset.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] in _TERMINAL and condition["status"] == "True":
            return _TERMINAL[condition["type"]]
    if jobset["spec"].get("suspend"):
        return "queued"
    return "running"
