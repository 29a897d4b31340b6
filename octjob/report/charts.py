"""What has two axes or belongs to single runs: curves, calibration, subgroups, sources of variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from octjob.report.scale import Scale, scale_over
from octjob.report.view import Json, Line, Mark, number, whole_mark

# Beyond so many runs calibration is a matter for the files.
MAX_CALIBRATED = 12
# The share of fewer answers jumps.
_MIN_IN_BIN = 5


@dataclass(frozen=True)
class Trace:
    """A line through points in per cent of a panel, x to the right and y upwards; `text` holds its numbers."""

    line: Line
    points: str
    dashed: bool
    text: str


@dataclass(frozen=True)
class CurvePanel:
    """The curves of one configuration."""

    config: str
    traces: tuple[Trace, ...]
    last_epoch: int


@dataclass(frozen=True)
class CalibrationPanel:
    """One run: bins as (x, y, radius) in per cent and pixels, and its calibration error."""

    line: Line
    bins: tuple[tuple[float, float, float], ...]
    points: str
    error: str
    text: str


@dataclass(frozen=True)
class SubgroupRow:
    """One subgroup of one run; mark is None where a class is missing there."""

    field: str
    name: str
    n: int
    mark: Mark | None


@dataclass(frozen=True)
class BestRun:
    """The best run of a checkpoint, with what is known of it alone."""

    line: Line
    whole: Mark | None
    subgroups: tuple[SubgroupRow, ...]
    groupings: tuple[str, ...]
    participants: str
    seeds: str
    training_sets: str


def curve_scale(document: Json) -> Scale:
    """Of balanced accuracy, over all curves and chance."""
    chance = 1 / max(1, len(document["class_names"]))
    found = [
        value
        for detail in document["details"]
        if detail["curve"]
        for value in (*detail["curve"]["evaluated"], *detail["curve"]["held_out"])
    ]
    return scale_over(found, chance, chance + 0.1)


def curve_panels(document: Json, lines: Sequence[Line]) -> list[CurvePanel]:
    """A panel a configuration that has epochs, in the order of the table."""
    scale, by_run = curve_scale(document), _by_run(lines)
    by_config: dict[str, list[Json]] = {}
    for detail in document["details"]:
        if detail["curve"]:
            by_config.setdefault(by_run[detail["run_id"]].config, []).append(detail)
    panels = []
    for config, found in by_config.items():
        last = max(max(detail["curve"]["epoch"]) for detail in found)
        traces: list[Trace] = []
        for detail in found:
            traces += _traces(detail["curve"], by_run[detail["run_id"]], scale, last)
        panels.append(CurvePanel(config, tuple(traces), last))
    return panels


def _traces(curve: Json, line: Line, scale: Scale, last: int) -> list[Trace]:
    traces = []
    for key, dashed in (("evaluated", False), ("held_out", True)):
        values = curve[key]
        if not values:
            continue
        points = " ".join(
            f"{100 * epoch / max(last, 1):.1f},{100 - scale.at(value):.1f}"
            for epoch, value in zip(curve["epoch"], values, strict=False)
        )
        traces.append(Trace(line, points, dashed, " ".join(number(value, 2) for value in values)))
    return traces


def calibration_panels(document: Json, lines: Sequence[Line]) -> list[CalibrationPanel]:
    """The ranked runs, the best first."""
    by_run = _by_run(lines)
    ranked = [one for one in document["details"] if by_run[one["run_id"]].ranked]
    return [
        _calibration(detail["calibration"], by_run[detail["run_id"]]) for detail in ranked[:MAX_CALIBRATED]
    ]


def _calibration(found: Json, line: Line) -> CalibrationPanel:
    bins = [one for one in found["bins"] if one["count"] >= _MIN_IN_BIN]
    most = max((one["count"] for one in bins), default=1.0)
    at = [(100 * one["confidence"], 100 - 100 * one["right"]) for one in bins]
    return CalibrationPanel(
        line,
        tuple(
            (round(x, 1), round(y, 1), round(2 + 6 * (one["count"] / most) ** 0.5, 1))
            for (x, y), one in zip(at, bins, strict=True)
        ),
        " ".join(f"{x:.1f},{y:.1f}" for x, y in at),
        number(found["error"], 2),
        "; ".join(
            f"of {one['count']:.0f} answers with confidence {one['confidence']:.2f} {one['right']:.0%} are right"
            for one in bins
        ),
    )


def best_runs(document: Json, lines: Sequence[Line], scale: Scale) -> list[BestRun]:
    """The best run of each checkpoint, in the order of the table."""
    by_run = _by_run(lines)
    found = []
    for detail in document["details"]:
        variance = detail["variance"]
        if variance is None:
            continue
        line = by_run[detail["run_id"]]
        rows = tuple(
            SubgroupRow(one["field"], one["name"], one["n"], whole_mark(one, scale))
            for one in detail["subgroups"]
        )
        both = variance["seeds_and_training_sets"]
        seeds, sets = (_source(variance, key) for key in ("seeds", "training_sets"))
        if both is not None:
            seeds = sets = f"{number(both)} (both at once)"
        apart = {one["name"] for one in detail["subgroups"]}
        told = tuple(text for one in detail["groupings"] if (text := _grouping(one, apart)))
        found.append(BestRun(line, line.value, rows, told, number(variance["participants"]), seeds, sets))
    return found


def _grouping(one: Json, apart: Set[str]) -> str:
    """Why a field's groups are not among the rows, `apart`; empty where all of them are."""
    if one["unknown"]:
        return f"{one['field'].capitalize()}: {one['unknown']}."
    small = [name for name in one["sizes"] if name not in apart]
    sizes = ", ".join(f"{count} {name}" for name, count in one["sizes"].items())
    return f"Too few to score apart, or all alike: {sizes}." if small else ""


def _source(variance: Json, key: str) -> str:
    value = variance[key]
    return number(value) if value is not None else str(variance["reasons"].get(key, "not known"))


def _by_run(lines: Sequence[Line]) -> Mapping[str, Line]:
    return {line.run_id: line for line in lines}
