"""The intervals of the metric ranked by, drawn in characters, all rows on one scale."""

from __future__ import annotations

from dataclasses import dataclass, replace

from octjob.catalog import METRICS
from octjob.leaderboard.board import Leaderboard
from octjob.leaderboard.columns import Column
from octjob.leaderboard.rows import Estimate, Row
from octjob.report.scale import Scale, scale_over

MIN_WIDTH, MAX_WIDTH = 15, 24


@dataclass(frozen=True)
class Glyphs:
    """One character each. dotted, hollow: of rows without a rank. crossed: chance inside an interval."""

    start: str
    end: str
    line: str
    dotted: str
    point: str
    hollow: str
    chance: str
    crossed: str


ASCII = Glyphs("|", "|", "-", ".", "o", "o", ":", "+")
BOX = Glyphs("├", "┤", "─", "╌", "●", "○", "┊", "┼")


def forest(leaderboard: Leaderboard, width: int, glyphs: Glyphs) -> Column:
    """The column, `width` characters wide, under the ends of its scale."""
    metric = METRICS[leaderboard.metric]
    chance = metric.chance(len(leaderboard.class_names))
    estimates = [row.metric(leaderboard.metric) for row in leaderboard.rows]
    known = [one for estimate in estimates if estimate for one in _bounds(estimate)]
    centre = chance if chance is not None else min(known, default=0.0)
    scale = scale_over(known, centre, centre + 0.1)
    scale = replace(scale, low=max(scale.low, metric.lowest), high=min(scale.high, 1.0))
    low, high = f"{scale.low:.2f}", f"{scale.high:.2f}"

    def cell(row: Row) -> str:
        return _drawn(
            row.metric(leaderboard.metric), chance, scale, width, glyphs, ranked=row.rank is not None
        )

    return Column(low + high.rjust(width - len(low)), cell, drawn=True)


def legend(leaderboard: Leaderboard) -> str:
    """What is drawn."""
    metric = METRICS[leaderboard.metric]
    chance = metric.chance(len(leaderboard.class_names))
    marked = "" if chance is None else f", over the line of chance ({chance:.3g})"
    return f"Drawn: {metric.label} and its interval{marked}; dotted: of rows without a rank."


def _bounds(estimate: Estimate) -> list[float]:
    return [bound for bound in (estimate.value, estimate.low, estimate.high) if bound is not None]


def _drawn(
    estimate: Estimate | None, chance: float | None, scale: Scale, width: int, glyphs: Glyphs, *, ranked: bool
) -> str:
    def place(value: float) -> int:
        return round(scale.at(value) / 100 * (width - 1))

    text = [" "] * width
    if chance is not None:
        text[place(chance)] = glyphs.chance
    if estimate is None or estimate.value is None:
        return "".join(text)
    if estimate.low is not None and estimate.high is not None:
        low, high = place(estimate.low), place(estimate.high)
        for k in range(low, high + 1):
            inside = glyphs.line if ranked else glyphs.dotted
            text[k] = glyphs.crossed if text[k] == glyphs.chance else inside
        text[low], text[high] = glyphs.start, glyphs.end
    text[place(estimate.value)] = glyphs.point if ranked else glyphs.hollow
    return "".join(text)
