"""Runs that wait for features: what becomes of the encoding that makes them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from octjob.records.state import FAILED
from octjob.records.status import RunStatus
from octjob.targets.kubernetes.documents.manifest import FEATURES

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document


def awaited(jobsets: Iterable[Document]) -> dict[str, str]:
    """The id of the encoding that a run's JobSet waits for, by the run's id."""
    notes = (one["metadata"].get("annotations", {}) for one in jobsets)
    return {each["octjob.dev/run"]: each[FEATURES] for each in notes if FEATURES in each}


def with_features(
    runs: Sequence[RunStatus], of: Mapping[str, str], sweep: str, flags: str = ""
) -> list[RunStatus]:
    """The same, those that wait for features saying how these come along. of: as `awaited` gives it."""
    known = {one.run_id: one for one in runs}
    return [
        _waiting(replace(one, waits_for=of[one.run_id]), known.get(of[one.run_id]), sweep, flags)
        if one.run_id in of and one.state == "Running" and one.stage == "waiting"
        else one
        for one in runs
    ]


def _waiting(one: RunStatus, encoding: RunStatus | None, sweep: str, flags: str) -> RunStatus:
    if encoding is None:
        return replace(
            one,
            reason=f"waits for its features, which {one.waits_for} makes",
            hint=f"`octjob status {sweep}{flags}` shows how far that is.",
        )
    text = f"waits for its features: {encoding.run_id} {_stands(encoding)}"
    if encoding.state in FAILED:
        hint = f"Once what it says is mended, `octjob retry {sweep}{flags}` makes them."
        return replace(one, reason=text, stuck=True, hint=hint)
    if not encoding.jobset and not encoding.has_result:
        return replace(one, reason=text, stuck=True, hint=encoding.hint)
    return replace(one, reason=text)


def _stands(encoding: RunStatus) -> str:
    if encoding.state == "Succeeded":
        return "has made them"
    if encoding.state == "Running" and encoding.total:
        return f"has encoded {encoding.done} of {encoding.total} volumes"
    if encoding.position is not None:
        return f"is {encoding.position} of {encoding.queue_length} in queue {encoding.queue}"
    return f"is {encoding.state}"
