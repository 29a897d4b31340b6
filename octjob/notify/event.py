"""That a run or a sweep has ended, as a CloudEvents 1.0 event.

An event's id is made of what happened and of nothing else: no clock, no collector. Whoever sees the same end gives it
the same id.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field

from octjob.records.layout import LEADERBOARD, run_uri
from octjob.records.schema import Record
from octjob.records.state import FAILED, RunState
from octjob.records.status import RunStatus
from octjob.redact import Redactor

RUN_ENDED = "dev.octjob.run.ended"
SWEEP_ENDED = "dev.octjob.sweep.ended"
# A webhook's receivers bound what they take, Slack a text at 40,000 characters.
_MAX_TEXT = 1000
_MAX_NAMED = 20
# What stays as it is in the URI-reference that a source must be.
_URI = "/:?#[]@!$&'()*+,;=%"


class RunData(Record):
    """How one run ended. state, message, hint: as `octjob status` says them. duration_s: seconds."""

    kind: Literal["run"] = "run"
    sweep: str
    run: str
    uri: str
    checkpoint: str
    config: str
    state: RunState
    attempt: int | None
    collapsed: bool
    metric_name: str | None
    best_metric: float | None
    duration_s: float | None
    message: str
    hint: str


class SweepData(Record):
    """How a sweep ended: runs by number; the ids of the first that failed, or that nothing will come of.

    headline: the leaderboard's first sentence. report: URI of its page.
    """

    kind: Literal["sweep"] = "sweep"
    sweep: str
    uri: str
    num_runs: int
    num_results: int
    num_failed: int
    num_gone: int
    without_result: tuple[str, ...]
    headline: str
    report: str


class Event(Record):
    """A CloudEvents 1.0 event in JSON; `source` and `id` together are its own for ever."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: Literal["application/json"] = "application/json"
    data: Annotated[RunData | SweepData, Field(discriminator="kind")]


def run_events(sweep: str, output: str, runs: Iterable[RunStatus]) -> list[Event]:
    """One event of each run that has ended. output: URI of the sweep's results.

    A result is told once; a failure once for each attempt, since a run may be tried again.
    """
    redact = Redactor(os.environ)
    return [
        _event(
            _run_id(one),
            output,
            RUN_ENDED,
            one.run_id,
            RunData(
                sweep=sweep,
                run=one.run_id,
                uri=run_uri(output, one.run_id),
                checkpoint=one.checkpoint,
                config=one.config,
                state=one.state,
                attempt=one.attempt,
                collapsed=one.collapsed,
                metric_name=one.metric_name,
                best_metric=one.best_metric,
                duration_s=one.duration_s,
                message=_short(redact(one.message or one.reason)),
                hint=_short(redact(one.hint)),
            ),
        )
        for one in runs
        if has_ended(one)
    ]


def sweep_event(sweep: str, output: str, runs: Sequence[RunStatus], *, headline: str) -> Event:
    """The event of a sweep of which nothing more will come, and whose leaderboard is stored.

    Its id follows from how the runs ended: tried again with another end, it is another event.
    """
    runs = [one for one in runs if not one.superseded]
    ends = "\n".join(sorted(_run_id(one) if has_ended(one) else f"gone.{one.run_id}" for one in runs))
    failed = [one.run_id for one in runs if has_ended(one) and not one.has_result]
    gone = [one.run_id for one in runs if not has_ended(one)]
    return _event(
        f"sweep.{hashlib.sha256(ends.encode()).hexdigest()[:16]}",
        output,
        SWEEP_ENDED,
        sweep,
        SweepData(
            sweep=sweep,
            uri=output,
            num_runs=len(runs),
            num_results=len(runs) - len(failed) - len(gone),
            num_failed=len(failed),
            num_gone=len(gone),
            without_result=tuple([*failed, *gone][:_MAX_NAMED]),
            headline=_short(headline),
            report=f"{output}/{LEADERBOARD}/report.html",
        ),
    )


def in_words(event: Event) -> str:
    """The event as a person reads it, in one or a few lines."""
    data = event.data
    if isinstance(data, SweepData):
        parts = [f"{data.num_results} of {data.num_runs} runs have a result"]
        parts += [f"{data.num_failed} failed"] if data.num_failed else []
        parts += [f"{data.num_gone} are gone"] if data.num_gone else []
        lines = [f"Sweep {data.sweep} has ended: {', '.join(parts)}.", data.headline, data.report]
        return "\n".join(line for line in lines if line)
    state = f"{data.state} (collapsed)" if data.collapsed else data.state
    metric = ""
    if data.best_metric is not None and data.state == "Succeeded":
        metric = f", {data.metric_name or 'metric'} {data.best_metric:.3f}"
    head = f"{data.sweep}: {data.checkpoint}.{data.config} {state}{metric}"
    return "\n".join(line for line in (head, data.message, data.uri) if line)


def has_ended(one: RunStatus) -> bool:
    """Whether there is something to tell of a run: its result, or that it failed."""
    return not one.superseded and (one.has_result or one.state in FAILED)


def _run_id(one: RunStatus) -> str:
    if one.has_result:
        return f"run.{one.run_id}.{one.state.lower()}"
    return f"run.{one.run_id}.{one.state.lower()}.{one.attempt or 0}"


def _event(id_: str, output: str, kind: str, subject: str, data: RunData | SweepData) -> Event:
    return Event(
        id=id_,
        source=quote(output, safe=_URI),
        type=kind,
        subject=subject,
        time=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        data=data,
    )


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 4]} ..."
