"""What the page of many runs says beside the runs that it shows: all values, what is wrong, what is left out."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from octjob.report.charts import MAX_CALIBRATED
from octjob.report.checklist import FilledGuideline
from octjob.report.excerpt import DRAWN, MANY, TABLE, Excerpt, candidates_of, excerpt, kind_of
from octjob.report.methods import Paragraph
from octjob.report.scale import Scale
from octjob.report.view import Json, number

_BINS = 50
# Configurations whose order is drawn, and runs of each.
_PANELS, _IN_PANEL = 24, 6
MAX_CHECKPOINTS = 100
_MAX_CONFIGS = 20
_MAX_LINES = 40
_MAX_CHARACTERS = 1500
_MAX_GROUPS = 30
_NAMED = 5
_SUPPLEMENT, _JSON = "octjob report SWEEP --checklist FILE has all", "leaderboard.json has all"

_SECTIONS = (
    "order", "curves", "calibration", "best", "checkpoints", "remarks", "unfinished", "digests", "configs",
)  # fmt: skip
# Of parts that leave out nothing.
NO_NOTES: Mapping[str, str] = dict.fromkeys(_SECTIONS, "")


@dataclass(frozen=True)
class Histogram:
    """bars: (start, width, height) in per cent, over every run with a value. text: where these lie."""

    bars: tuple[tuple[float, float, float], ...]
    text: str


@dataclass(frozen=True)
class Fault:
    """Runs of one kind without a rank. configs, checkpoints: where most of them are, and how many of how many."""

    kind: str
    count: int
    configs: str
    checkpoints: str


@dataclass(frozen=True)
class Group:
    """Runs that stopped alike. names: the first of them."""

    what: str
    count: int
    names: str


@dataclass(frozen=True)
class Many:
    """table, drawn: the runs of the table, and those drawn one by one. panels: run ids whose order is drawn.
    num_finished: runs with a result.

    notes: by the section, what it leaves out; empty where that is nothing.
    """

    table: Excerpt
    drawn: Excerpt
    panels: frozenset[str]
    num_finished: int
    histogram: Histogram
    faults: tuple[Fault, ...]
    unfinished: tuple[Group, ...]
    notes: Mapping[str, str]


def many_of(document: Json, values: Scale) -> Many | None:
    """None where the page shows every run. values: the axis of the table."""
    rows: list[Json] = document["rows"]
    if len(rows) <= MANY:
        return None
    found = candidates_of([row for row in rows if row["metrics"]])
    ids, panels_text = _panels(rows, document["metric"])
    groups = _groups(rows)
    notes = {**NO_NOTES, **_notes(document), "order": panels_text}
    if len(groups) > _MAX_GROUPS:
        notes["unfinished"] = f"{len(groups) - _MAX_GROUPS:,} kinds more are in leaderboard.csv."
    return Many(
        excerpt(found, TABLE),
        excerpt([one for one in found if one.kind != "controls"], DRAWN),
        ids,
        len(found),
        _histogram(rows, document["metric"], values),
        _faults(rows),
        tuple(groups[:_MAX_GROUPS]),
        notes,
    )


def shortened(document: Json, many: Many) -> Json:
    """The document with the table's runs, the encoders and configurations of the first of them, and the beginnings of
    warnings: for what lists them one by one."""
    methods = document["methods"]
    rows = [row for row in document["rows"] if row["run_id"] in many.table.run_ids]
    configs = set(list(dict.fromkeys(row["config"] for row in rows))[:_MAX_CONFIGS])
    names = set(list(dict.fromkeys(row["checkpoint"] for row in rows))[:MAX_CHECKPOINTS])
    cut = {
        "checkpoints": [one for one in methods["checkpoints"] if one["name"] in names],
        "configurations": [one for one in methods["configurations"] if one["name"] in configs],
    }
    warnings = clipped(document["warnings"], _JSON)
    return {**document, "rows": rows, "warnings": warnings, "methods": {**methods, **cut}}


def shorter_paragraphs(made: Sequence[Paragraph]) -> list[Paragraph]:
    """With the first lines of each."""
    return [replace(one, lines=tuple(clipped(one.lines, _SUPPLEMENT))) for one in made]


def shorter_guidelines(made: Sequence[FilledGuideline]) -> list[FilledGuideline]:
    """With the beginning of each answer."""
    return [
        replace(
            one, rows=tuple(replace(item, text=clipped_text(item.text, _SUPPLEMENT)) for item in one.rows)
        )
        for one in made
    ]


def clipped(texts: Sequence[str], where: str) -> list[str]:
    """The first lines, and of each its beginning; what is left out is counted."""
    kept = [clipped_text(text, where) for text in texts[:_MAX_LINES]]
    more = len(texts) - len(kept)
    return [*kept, f"{more:,} more: {where}"] if more else kept


def clipped_text(text: str, where: str) -> str:
    """Its beginning, where it is long."""
    if len(text) <= _MAX_CHARACTERS:
        return text
    return (
        f"{text[:_MAX_CHARACTERS].rstrip()}\u2026 ({len(text) - _MAX_CHARACTERS:,} characters more: {where})"
    )


def _panels(rows: Sequence[Json], metric: str) -> tuple[frozenset[str], str]:
    by_config: dict[str, list[str]] = {}
    for row in rows:
        if row["metrics"] and not row.get("control") and row["metrics"][metric]["value"] is not None:
            by_config.setdefault(row["config"], []).append(row["run_id"])
    shown = list(by_config.values())[:_PANELS]
    ids = frozenset(run_id for found in shown for run_id in found[:_IN_PANEL])
    text = (
        f"{len(shown):,} of {len(by_config):,} configurations, in the order of their best runs, and of each the first"
        f" {_IN_PANEL} runs of the table."
    )
    return ids, text


def detail_notes(document: Json) -> dict[str, str]:
    """Of a page of any size: what is left out where curves, calibration and best runs are of some runs alone."""
    rows = [row for row in document["rows"] if row["metrics"] and not row.get("control")]
    detailed = len(document["details"])
    ranked = sum(row["rank"] is not None for row in rows)
    calibrated = min(MAX_CALIBRATED, sum(1 for row in rows[:detailed] if row["rank"] is not None))
    notes = dict(NO_NOTES)
    if calibrated < ranked:
        notes["calibration"] = f"{calibrated:,} of {ranked:,} ranked runs, the first."
    if detailed < len(rows):
        best = sum(one["variance"] is not None for one in document["details"])
        checkpoints = len({row["checkpoint"] for row in rows})
        notes["curves"] = (
            f"Of the table\u2019s first {detailed:,} of {len(rows):,} runs; others\u2019 are in history.jsonl."
        )
        notes["best"] = (
            f"{best:,} of {checkpoints:,} checkpoints: those with a ranked run among the table\u2019s first"
            f" {detailed:,}."
        )
    return notes


def _notes(document: Json) -> dict[str, str]:
    loaded, methods = len(document["checkpoints"]["checkpoints"]), document["methods"]
    notes = detail_notes(document) | {
        "remarks": "Of the runs in the table above alone. The reasons of all are in leaderboard.csv.",
        "digests": f"Of the table\u2019s runs and of the first encoders. {_SUPPLEMENT}.",
    }
    if loaded > MAX_CHECKPOINTS:
        notes["checkpoints"] = (
            f"The first {MAX_CHECKPOINTS} of {loaded:,}. The others are in leaderboard.json."
        )
    if len(methods["configurations"]) > _MAX_CONFIGS:
        notes["configs"] = (
            f"The configurations of the first runs, {_MAX_CONFIGS} of {len(methods['configurations']):,}."
            f" {_SUPPLEMENT}."
        )
    return notes


def _histogram(rows: Sequence[Json], metric: str, scale: Scale) -> Histogram:
    found = [row["metrics"][metric]["value"] for row in rows if row["metrics"] and not row.get("control")]
    known = sorted(value for value in found if value is not None)
    if len(known) < 2:
        return Histogram((), "")
    counts = Counter(min(_BINS - 1, math.floor(scale.at(value) * _BINS / 100)) for value in known)
    most, width = max(counts.values()), 100 / _BINS
    low, _, high = statistics.quantiles(known, n=4)
    return Histogram(
        tuple((round(k * width, 2), width, round(100 * counts[k] / most, 1)) for k in sorted(counts)),
        f"All {len(known):,} runs with a value: half lie from {number(low)} to {number(high)}, the lowest at"
        f" {number(known[0])}, the highest at {number(known[-1])}.",
    )


def _faults(rows: Sequence[Json]) -> tuple[Fault, ...]:
    runs = [row for row in rows if not row.get("control")]
    all_configs, all_checkpoints = (Counter(row[key] for row in runs) for key in ("config", "checkpoint"))
    kinds: dict[str, list[Json]] = {}
    for row in runs:
        if row["rank"] is None:
            kinds.setdefault(kind_of(row), []).append(row)
    return tuple(
        Fault(
            kind,
            len(found),
            _where([row["config"] for row in found], all_configs),
            _where([row["checkpoint"] for row in found], all_checkpoints),
        )
        for kind, found in kinds.items()
    )


def _where(names: Sequence[str], of: Mapping[str, int]) -> str:
    """`k0 250 of 250, k1 12 of 250 and 3 more`: those with the largest share first."""
    counts = Counter(names)
    by_share = sorted(counts, key=lambda name: (-counts[name] / of[name], -counts[name]))
    told = [f"{name} {counts[name]:,} of {of[name]:,}" for name in by_share[:_NAMED]]
    more = len(by_share) - len(told)
    return ", ".join(told) + (f" and {more:,} more" if more else "")


def _groups(rows: Sequence[Json]) -> list[Group]:
    found: dict[str, list[str]] = {}
    for row in rows:
        if not row["metrics"]:
            said = row["error"] or (row["reasons"][0] if row["reasons"] else "")
            what = f"{row['state']}: {said}" if said else str(row["state"])
            found.setdefault(what, []).append(f"{row['checkpoint']}.{row['config']}")
    by_size = sorted(found, key=lambda what: -len(found[what]))
    return [
        Group(clipped_text(what, "leaderboard.csv has all"), len(found[what]), _some(found[what]))
        for what in by_size
    ]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
