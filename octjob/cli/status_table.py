"""The status of a sweep to look at: a table in a terminal, plain text in a pipe, JSON for programs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from octjob.records.state import ENDED, RunState
from octjob.records.status import RunStatus, summary
from octjob.textgrid import column_widths, fitted_names, grid, num_fitting, shortened, span

if TYPE_CHECKING:
    from rich.text import Text

# Raised where a key of `-o json` goes away or means something else (docs/output.md).
STATUS_SCHEMA = "octjob.status/2"
WIDTH = 110
_NOTHING = "-"
_MAIN = ("CHECKPOINT", "CONFIG", "STATE", "PROGRESS", "BEST", "ETA", "HEARTBEAT")
_WIDE = (*_MAIN, "DURATION", "ATTEMPT", "HOST", "FLAVOR", "NODES", "RUN", "REASON")
_NUM_KEPT = 4
_NAMES = (0, 1)
_STATE = 2
_MESSAGE_WIDTH = 400
_REASON_WIDTH = 120
_NUM_NAMED = 8
_STYLES: dict[RunState, str] = {
    "Pending": "dim",
    "Queued": "dim",
    "Paused": "yellow",
    "PutOut": "yellow",
    "Held": "yellow",
    "Ending": "dim",
    "Starting": "blue",
    "Running": "cyan",
    "Restarting": "yellow",
    "Interrupted": "yellow",
    "Invalid": "bold red",
    "Unreadable": "bold red",
    "OutOfTime": "bold red",
    "NoResult": "bold red",
    "Failed": "bold red",
    "Succeeded": "green",
}


def status_text(statuses: Sequence[RunStatus], *, wide: bool = False) -> str:
    """Aligned ASCII, the same for the same statuses; messages of failed and collapsed runs below."""
    headers, rows = _table(statuses, wide, WIDTH)
    lines = [summary(statuses), "", *grid(headers, rows)]
    messages = _messages(statuses)
    if messages:
        lines += ["", *messages]
    return "\n".join(lines) + "\n"


def status_json(sweep: str, statuses: Sequence[RunStatus], more: Mapping[str, object] | None = None) -> str:
    """`{"schema": STATUS_SCHEMA, "sweep": URI, "runs": [...]}`. more: what a cluster adds."""
    document = {
        "schema": STATUS_SCHEMA,
        "sweep": sweep,
        "runs": [one.to_dict() for one in statuses],
        **(more or {}),
    }
    return json.dumps(document, indent=1) + "\n"


def status_rich(statuses: Sequence[RunStatus], width: int, *, wide: bool = False) -> Text:
    """The same in colour, fitted to `width`, for a console or a live display."""
    from rich.text import Text

    headers, rows = _table(statuses, wide, width)
    heading, rule, *lines = grid(headers, rows)
    start, end = span(headers, rows, _STATE)
    text = Text(no_wrap=True, overflow="ignore").append(f"{summary(statuses)}\n\n", "bold")
    text.append(f"{heading}\n{rule}\n", "dim")
    for one, line in zip(statuses, lines, strict=True):
        styled = Text(f"{line}\n")
        doubtful = one.stalled or one.collapsed or one.stuck or one.superseded
        styled.stylize("bold yellow" if doubtful else _STYLES[one.state], start, end)
        text.append(styled)
    return text.append("\n".join(["", *_messages(statuses)]))


def _table(statuses: Sequence[RunStatus], wide: bool, width: int) -> tuple[list[str], list[list[str]]]:
    if wide:
        return list(_WIDE), [[*_main_cells(one), *_wide_cells(one)] for one in statuses]
    rows = [_main_cells(one) for one in statuses]
    num_columns = num_fitting(column_widths(_MAIN, rows), width, _NUM_KEPT)
    headers = list(_MAIN[:num_columns])
    return headers, fitted_names(headers, [row[:num_columns] for row in rows], _NAMES, width)


def _main_cells(one: RunStatus) -> list[str]:
    return [
        one.checkpoint,
        one.config,
        _state(one),
        _progress(one),
        _NOTHING if one.best_metric is None else f"{one.metric_name or 'metric'} {one.best_metric:.3f}",
        duration(one.eta_s),
        _NOTHING if one.heartbeat_age_s is None else f"{duration(one.heartbeat_age_s)} ago",
    ]


def _wide_cells(one: RunStatus) -> list[str]:
    attempt = _NOTHING if one.attempt is None else str(one.attempt)
    nodes = ",".join(one.nodes) or _NOTHING
    reason = shortened(" ".join((one.reason or one.message).split()), _REASON_WIDTH) or _NOTHING
    return [
        duration(one.duration_s),
        attempt,
        one.host or _NOTHING,
        one.flavor or _NOTHING,
        nodes,
        one.run_id,
        reason,
    ]


def _state(one: RunStatus) -> str:
    return f"{_own_state(one)} (superseded)" if one.superseded else _own_state(one)


def _own_state(one: RunStatus) -> str:
    if one.collapsed:
        return f"{one.state} (collapsed)"
    if one.stalled:
        return "Stalled?"
    if one.stuck:
        return f"{one.state} (stuck)"
    if one.state == "Restarting":
        return f"{one.state} {one.restarts_counted} of {one.max_restarts or 0}"
    return one.state


def _progress(one: RunStatus) -> str:
    """`training fold 1 seed 2 epoch 3/50`, `encoding 120/743`, `2 of 7 in queue tpu`."""
    if one.final:
        return _NOTHING
    if one.position is not None:
        return f"{one.position} of {one.queue_length} in queue {one.queue}"
    parts = [one.stage or _NOTHING]
    parts += [
        f"{word} {value}"
        for word, value in (("repeat", one.repeat), ("fold", one.fold), ("seed", one.seed))
        if value is not None
    ]
    if one.epoch is not None:
        parts.append(f"epoch {one.epoch}" + (f"/{one.num_epochs}" if one.num_epochs is not None else ""))
    elif one.total:
        parts.append(f"{one.done}/{one.total}")
    return " ".join(parts)


def duration(seconds: float | None) -> str:
    """`42s`, `3m10s`, `2h05m`, `1d04h`."""
    if seconds is None:
        return _NOTHING
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def _messages(statuses: Sequence[RunStatus]) -> list[str]:
    """Why runs failed or collapsed, one by one; then what the others wait for, runs of one reason together."""
    lines = []
    for one in statuses:
        if not one.message:
            continue
        what = "collapsed" if one.collapsed else "failed" if one.state in ENDED else one.state.lower()
        text = " ".join(one.message.split())
        lines.append(f"{one.checkpoint}.{one.config} {what}: {shortened(text, _MESSAGE_WIDTH)}")
        if one.hint:
            lines.append(f"  {one.hint}")
    waiting: dict[tuple[str, str], list[RunStatus]] = {}
    for one in statuses:
        if one.reason and not one.final:
            waiting.setdefault((one.state, " ".join(one.reason.split())), []).append(one)
    for (state, reason), runs in waiting.items():
        who = f"{runs[0].checkpoint}.{runs[0].config}" if len(runs) == 1 else f"{len(runs)} runs"
        lines.append(f"{who} {state}: {shortened(reason, _MESSAGE_WIDTH)}")
        if hint := _shared_hint([one for one in runs if not one.message]):
            lines.append(f"  {hint}")
    flavors = Counter(one.flavor for one in statuses if one.flavor)
    if len(flavors) > 1:
        lines.append("admitted to: " + ", ".join(f"{name} ({count})" for name, count in flavors.items()))
    return lines


def _shared_hint(runs: Sequence[RunStatus]) -> str:
    """What leads on for all of them: where commands name the run, those for the whole sweep, which do the same.

    To cancel a sweep would do more, so then the runs are named, as many as a line has room for.
    """
    hints = {one.hint: one for one in runs if one.hint}
    if not hints:
        return ""
    hint, first = next(iter(hints.items()))
    named = re.search(rf"(\S+/){re.escape(first.run_id)}", hint)
    if len(hints) == 1 or named is None:
        return hint
    if "octjob cancel" in hint:
        targets = " ".join(f"{named[1]}{one.run_id}" for one in runs[:_NUM_NAMED])
        return hint.replace(named[0], targets)
    return hint.replace(f"/{first.run_id}", "")
