"""The status of a sweep to look at: a table in a terminal, plain text in a pipe, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from octjob.results.status import RunStatus, summary
from octjob.results.textgrid import column_widths, fitted_names, grid, num_fitting, shortened, span

if TYPE_CHECKING:
    from rich.text import Text

WIDTH = 110
_NOTHING = "-"
_MAIN = ("CHECKPOINT", "CONFIG", "STATE", "PROGRESS", "BEST", "ETA", "HEARTBEAT")
_WIDE = (*_MAIN, "DURATION", "ATTEMPT", "HOST", "RUN")
_NUM_KEPT = 4
_NAMES = (0, 1)
_STATE = 2
_MESSAGE_WIDTH = 400
_STYLES = {
    "Pending": "dim",
    "Running": "cyan",
    "Interrupted": "yellow",
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


def status_json(sweep: str, statuses: Sequence[RunStatus]) -> str:
    """`{"sweep": URI, "runs": [...]}`."""
    return json.dumps({"sweep": sweep, "runs": [one.to_dict() for one in statuses]}, indent=1) + "\n"


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
        styled.stylize("bold yellow" if one.stalled or one.collapsed else _STYLES[one.state], start, end)
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
    state = f"{one.state} (collapsed)" if one.collapsed else "Stalled?" if one.stalled else one.state
    return [
        one.checkpoint,
        one.config,
        state,
        _progress(one),
        _NOTHING if one.best_metric is None else f"{one.metric_name or 'metric'} {one.best_metric:.3f}",
        duration(one.eta_s),
        _NOTHING if one.heartbeat_age_s is None else f"{duration(one.heartbeat_age_s)} ago",
    ]


def _wide_cells(one: RunStatus) -> list[str]:
    attempt = _NOTHING if one.attempt is None else str(one.attempt)
    return [duration(one.duration_s), attempt, one.host or _NOTHING, one.run_id]


def _progress(one: RunStatus) -> str:
    """`training fold 1 seed 2 epoch 3/50`, `encoding 120/743`."""
    if one.final:
        return _NOTHING
    parts = [one.stage or _NOTHING]
    parts += [
        f"{word} {value}" for word, value in (("fold", one.fold), ("seed", one.seed)) if value is not None
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
    lines = []
    for one in statuses:
        if not one.message:
            continue
        what = "failed" if one.state == "Failed" else "collapsed"
        text = " ".join(one.message.split())
        lines.append(f"{one.checkpoint}.{one.config} {what}: {shortened(text, _MESSAGE_WIDTH)}")
        if one.hint:
            lines.append(f"  {one.hint}")
    return lines
