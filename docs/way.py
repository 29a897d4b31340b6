"""The way from YAML to table in one picture: the demo's own sweep, its runs, and the table that the README shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from docs.problem import ProblemError
from docs.svg import Drawing
from octjob.spec.expand import plan_sweep

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT = 1000, 372
LINE = 17


class WayError(ProblemError):
    """The README has no table to draw."""


@dataclass(frozen=True)
class Row:
    """A row of the printed table: rank (`-` for none), names, state, metric with its interval."""

    rank: str
    checkpoint: str
    config: str
    state: str
    value: float
    low: float
    high: float


_ROW = re.compile(
    r"^ *(?P<rank>[\d-]+)  (?P<checkpoint>\S+(?: \(\d+\))?) +(?P<config>\S+)  .*?  "
    r"(?P<state>ok|control|no signal|collapsed) +(?P<value>\d\.\d+) \[(?P<low>[\d.]+), (?P<high>[\d.]+)\]",
    re.MULTILINE,
)


def table_rows(text: str) -> list[Row]:
    """The rows of the leaderboard in a page. Raises `WayError` where there is none."""
    rows = [
        Row(
            m["rank"],
            m["checkpoint"],
            m["config"],
            m["state"],
            float(m["value"]),
            float(m["low"]),
            float(m["high"]),
        )
        for m in _ROW.finditer(text)
    ]
    if not rows:
        raise WayError("README.md: no table with a column macro AUROC [low, high]")
    return rows


def way_svg(sweep: Path, readme: str) -> str:
    """The picture. Raises `OctjobError` for a sweep that does not plan and `WayError`."""
    planned = plan_sweep(sweep, ROOT).runs
    runs = {(run.checkpoint_name, run.config_name) for run in planned if not run.control}
    controls = list(dict.fromkeys(run.control for run in planned if run.control))
    rows = table_rows(readme)
    checkpoints, configs = (list(dict.fromkeys(names)) for names in zip(*sorted(runs), strict=True))
    drawing = Drawing(WIDTH, HEIGHT, "From a YAML file to a leaderboard: write, plan, submit, collect")
    _written(
        drawing, sweep.name, {"checkpoints": checkpoints, "configs": sorted(configs), "controls": controls}
    )
    drawing.step((232, 168), (276, 168), "plan")
    _planned(drawing, runs, checkpoints, sorted(configs), (len(controls), len(planned) - len(runs)))
    drawing.step((424, 168), (464, 168), "submit")
    _carried_out(drawing)
    drawing.step((650, 168), (706, 168), "collect")
    _collected(drawing, rows)
    return drawing.text()


def _written(drawing: Drawing, name: str, sections: dict[str, list[str]]) -> None:
    drawing.heading(24, 40, "write", f"sweeps/{name}")
    lines = [
        line
        for key, names in sections.items()
        for line in (f"{key}:", *(f"  - {one}" if key == "controls" else f"  {one}: ..." for one in names))
    ]
    drawing.rect(20, 64, 206, 30 + LINE * len(lines), "box")
    for i, line in enumerate(lines):
        drawing.label(34, 88 + LINE * i, line, "code")


def _planned(
    drawing: Drawing,
    runs: set[tuple[str, str]],
    checkpoints: list[str],
    configs: list[str],
    num_controls: tuple[int, int],
) -> None:
    """num_controls: kinds, runs."""
    kinds, num_control_runs = num_controls
    drawing.heading(286, 40, "plan", f"{len(runs) + num_control_runs} runs, a stable id each")
    for i, checkpoint in enumerate(checkpoints):
        for j, config in enumerate(configs):
            kind = "box trainer" if (checkpoint, config) in runs else "none"
            drawing.rect(286 + 34 * j, 104 + 42 * i, 28, 36, kind)
    across = len(configs)
    for j in range(kinds):
        drawing.rect(286 + 34 * (j % across), 104 + 42 * (len(checkpoints) + j // across), 28, 36, "box")
    bottom = 104 + 42 * (len(checkpoints) + -(-kinds // across))
    drawing.label(286, bottom + 16, "a cell: one checkpoint")
    drawing.label(286, bottom + 32, "under one configuration")
    if kinds:
        drawing.label(286, bottom + 48, f"below: controls, {num_control_runs} runs")


def _carried_out(drawing: Drawing) -> None:
    drawing.heading(472, 40, "submit", "octjob train, everywhere alike")
    drawing.box(468, 72, 84, 84, "here", ["processes", "side by side"])
    drawing.box(560, 72, 84, 84, "GKE", ["JobSets on", "TPU slices"])
    drawing.arrow([(510, 156), (532, 196)])
    drawing.arrow([(602, 156), (580, 196)])
    drawing.box(
        468,
        196,
        176,
        84,
        "object store",
        ["features, shared by all runs", "predictions of each run", "result.json, last"],
    )


def _collected(drawing: Drawing, rows: list[Row]) -> None:
    """Each row as in the table, the interval drawn from 0.4 to 1."""
    drawing.heading(724, 40, "collect", "macro AUROC, 95 % intervals")
    left, right, step = 872, 976, min(23, 256 / len(rows))

    def at(value: float) -> float:
        return left + (right - left) * (value - 0.4) / 0.6

    bottom = 72 + step * len(rows)
    drawing.segment((at(0.5), 66), (at(0.5), bottom), "chance")
    for i, row in enumerate(rows):
        y = 72 + step * (i + 0.5)
        ranked = row.state == "ok"
        drawing.label(738, y + 4, row.rank if ranked else "-", "small" if ranked else "faint", "end")
        drawing.label(
            746,
            y + 4,
            _shortened(f"{row.checkpoint} {row.config}"),
            "small" if ranked else "faint",
        )
        drawing.segment((at(row.low), y), (at(row.high), y), "interval" if ranked else "interval unranked")
        drawing.dot(at(row.value), y, "point" if ranked else "point unranked")
    drawing.label(at(0.5), bottom + 16, "chance", "faint", "middle")
    drawing.label(746, bottom + 34, "grey: control, no signal or collapsed", "faint")


def _shortened(name: str) -> str:
    """A run's name in the room that there is beside the intervals."""
    for long, short in (
        ("_domain", ""),
        ("random_init (5)", "untrained"),
        ("_labels-", " "),
        ("control ", ""),
    ):
        name = name.replace(long, short)
    return name
