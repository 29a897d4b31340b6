"""docs/benchmarks.md and its picture, from what `make bench` measured."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, table
from docs.svg import Drawing

_WIDTH, _ROW, _LEFT, _RIGHT, _TOP = 1000, 24, 470, 930, 84

_HEAD = """\
# Benchmarks

Each table is what one script in `benchmarks/` printed: octjob's figure, a peer's from the same run, and what could
not be beaten at all, in one unit. CPU seconds and ratios, since wall time says more about a machine's other work.
`make bench` measures all of it anew but the 10,000 runs, in 20 minutes on two cores with other work;
`python -m benchmarks NAME` one part. What was asked for and is not reached stands here all the same.

![How many times better than the peer, on a logarithmic scale](pictures/benchmarks.svg)
"""

_TAIL = """\
## By hand

These take longer, or need a control plane; their figures stand in the changelog and the decisions that use them:

| script | shows |
| --- | --- |
| `benchmarks.kubernetes_scale` | 1,000 runs beside `kubectl apply` (`make programs` first) |
| `benchmarks.shared_encoding` | what several runs gain by encoding together |
| `benchmarks.lift` | false lifts, coverage and power of the lift over untrained encoders |
| `benchmarks.verdicts` | error rates of verdicts, ranks and intervals, by simulation |
| `benchmarks.resampled_t` | the corrected resampled t-test under the null |
| `benchmarks.secondary` | coverage of the intervals of the secondary questions |
| `benchmarks.early_stopping_metric` | which metric early stopping should watch |
| `benchmarks.seed_replay` | what the original pipeline's situation gives here (`make replay`) |
| `benchmarks.bundle` | probes that share a process |
| `benchmarks.frames`, `benchmarks.structure` | the call stack of a step; the order of the house |
"""


def read_record(path: Path) -> dict[str, Any]:
    """What was measured, by script; empty before anything was."""
    scripts: dict[str, Any] = json.loads(path.read_text())["scripts"] if path.exists() else {}
    return scripts


def benchmarks_page(scripts: dict[str, Any]) -> str:
    """The page."""
    return "\n".join([_HEAD, *(_section(name, facts) for name, facts in scripts.items()), _TAIL])


def _section(name: str, facts: dict[str, Any]) -> str:
    notes = "".join(f"{note}\n\n" for note in facts["notes"])
    versions = ", ".join(f"{package} {number}" for package, number in facts["versions"].items())
    return (
        f"## {facts['title']}\n\n{table(_figures(facts))}\n\n{notes}"
        f"`python -m benchmarks.{name}`, {facts['seconds']} s, {facts['date']}: {facts['machine']}; {versions}.\n"
    )


def _figures(facts: dict[str, Any]) -> list[Figure]:
    return [Figure(**figure) for figure in facts["figures"]]


def benchmarks_svg(scripts: dict[str, Any]) -> str:
    """A bar for every figure with a peer: how many times better, on a logarithmic scale from 0.5."""
    rows = [
        (facts["title"] if number == 0 else "", figure)
        for facts in scripts.values()
        for number, figure in enumerate(f for f in _figures(facts) if f.ratio is not None)
    ]
    most = max((figure.ratio or 1 for _, figure in rows), default=10)
    decades = max(1, math.ceil(math.log10(most)))

    def at(ratio: float) -> float:
        low = math.log10(0.5)
        share = (max(math.log10(ratio), low) - low) / (decades - low)
        return _LEFT + (_RIGHT - _LEFT) * share

    headings = sum(1 for title, _ in rows if title)
    height = _TOP + _ROW * (len(rows) + headings) + 24
    drawing = Drawing(_WIDTH, height, "How many times better than the peer each part of octjob is")
    drawing.heading(24, 40, "times better than the peer", "logarithmic; left of the line: worse")
    for decade in range(decades + 1):
        drawing.segment((at(10**decade), 60), (at(10**decade), height - 16), "chance")
        drawing.label(at(10**decade), 54, f"{10**decade} x", "faint", "middle")
    y = float(_TOP)
    for title, figure in rows:
        if title:
            drawing.label(24, y + 12, title, "small")
            y += _ROW
        ratio = figure.ratio or 1.0
        drawing.label(_LEFT - 14, y + 12, _short(figure), "faint", "end")
        start, end = sorted((at(1), at(ratio)))
        drawing.rect(
            start, y + 2, max(end - start, 1), _ROW - 10, "box launcher" if ratio >= 1 else "box trainer"
        )
        drawing.label(at(max(ratio, 1)) + 8, y + 13, f"{ratio:.3g} x", "small")
        y += _ROW
    return drawing.text()


def _short(figure: Figure) -> str:
    text = f"{figure.what} / {figure.peer_name}" if figure.peer_name else figure.what
    return text if len(text) <= 66 else f"{text[:63]}..."
