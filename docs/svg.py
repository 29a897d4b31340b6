"""The few shapes that the pictures of the documentation need, in the fonts that the reader has."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape

Point = tuple[float, float]

# A card of its own, so that it reads on a light page and on a dark one.
_STYLE = """\
.card { fill: #fbfbfd; stroke: #d5d9e2 }
.box { fill: #eef0f4; stroke: #8b93a5 }
.launcher { fill: #e3f4ea; stroke: #3f9163 }
.trainer { fill: #e5edfb; stroke: #4a72c2 }
.name { font: 600 15px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1c2333 }
.text { font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #465066 }
.code { font: 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1c2333; white-space: pre }
.small { font: 11px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1c2333 }
.faint { font: 11px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #8b93a5 }
.none { fill: none; stroke: #b9c0cd; stroke-dasharray: 3 3 }
.interval { stroke: #3f9163; stroke-width: 2 }
.interval.unranked { stroke: #b9c0cd }
.point { fill: #3f9163 }
.point.unranked { fill: #b9c0cd }
.chance { stroke: #b9c0cd; stroke-dasharray: 2 3 }
.arrow { fill: none; stroke: #6d7588; stroke-width: 1.4; marker-end: url(#head) }
"""


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters."""
    return textwrap.wrap(text, width)


class Drawing:
    """A drawing in pixels, of a light card with rounded corners."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width = width
        self.height = height
        self.title = title
        self.parts: list[str] = []

    def box(
        self, x: float, y: float, width: float, height: float, name: str, lines: Sequence[str], side: str = ""
    ) -> None:
        """A named box with lines of text below the name."""
        kind = f"box {side}".strip()
        self.parts.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7"/>'
        )
        top = y + (height - 18 - 15 * len(lines)) / 2
        self.label(x + width / 2, top + 14, name, "name", "middle")
        for i, line in enumerate(lines):
            self.label(x + width / 2, top + 31 + 15 * i, line, "text", "middle")

    def label(self, x: float, y: float, text: str, kind: str = "text", anchor: str = "start") -> None:
        """One line of text on the baseline `y`."""
        where = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
        self.parts.append(f'<text class="{kind}" {where}>{escape(text)}</text>')

    def key(self, x: float, y: float, side: str, text: str) -> None:
        """A line of the legend."""
        kind = f"box {side}".strip()
        self.parts.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="16" height="12" rx="3"/>')
        self.label(x + 23, y + 10.5, text)

    def arrow(self, points: Sequence[Point]) -> None:
        """A smooth line that leaves and arrives vertically at each point."""
        (x, y), *rest = points
        path = f"M{x:g} {y:g}"
        for to_x, to_y in rest:
            half = (y + to_y) / 2
            path += f" C{x:g} {half:g} {to_x:g} {half:g} {to_x:g} {to_y:g}"
            x, y = to_x, to_y
        self.parts.append(f'<path class="arrow" d="{path}"/>')

    def step(self, start: Point, end: Point, command: str) -> None:
        """A straight arrow to what the command does."""
        self.parts.append(f'<path class="arrow" d="M{start[0]:g} {start[1]:g} L{end[0]:g} {end[1]:g}"/>')
        self.label((start[0] + end[0]) / 2, start[1] - 8, command, "code", "middle")

    def heading(self, x: float, y: float, name: str, text: str) -> None:
        """A column's name, with a line below it."""
        self.label(x, y - 8, name, "name")
        self.label(x, y + 9, text)

    def rect(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """A rectangle without text."""
        self.parts.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5"/>'
        )

    def segment(self, start: Point, end: Point, kind: str) -> None:
        """A line without a head."""
        ends = f'x1="{start[0]:g}" y1="{start[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}"'
        self.parts.append(f'<line class="{kind}" {ends}/>')

    def dot(self, x: float, y: float, kind: str) -> None:
        """A point of a plot."""
        self.parts.append(f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="3.5"/>')

    def text(self) -> str:
        """The document."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img">'
        )
        marker = (
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0.5 L8 4 L0 7.5 z" fill="#6d7588"/></marker></defs>'
        )
        card = f'<rect class="card" x="0.5" y="0.5" width="{self.width - 1}" height="{self.height - 1}" rx="12"/>'
        lines = [head, f"<title>{escape(self.title)}</title>", f"<style>\n{_STYLE}</style>", marker, card]
        return "\n".join([*lines, *self.parts, "</svg>", ""])
