"""The metric by how many participants were trained on, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octjob.report.view import Json, Line, number


@dataclass(frozen=True)
class LearningRow:
    """cells: (value, range) at each share; a dash and nothing where there is none."""

    line: Line
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Learning:
    """headers: (share in per cent, participants)."""

    headers: tuple[tuple[str, str], ...]
    draws: int
    rows: tuple[LearningRow, ...]


def learning_of(document: Json, lines: Sequence[Line]) -> Learning | None:
    """None where no run was trained on parts."""
    curves = document["label_efficiency"]
    if not curves:
        return None
    by_run = {line.run_id: line for line in lines}
    people: dict[float, set[int]] = {}
    for curve in curves:
        for point in curve["points"]:
            people.setdefault(point["share"], set()).add(point["participants"])
    shares = sorted(people)
    rows = []
    for curve in curves:
        at = {point["share"]: point for point in curve["points"]}
        rows.append(LearningRow(by_run[curve["run_id"]], tuple(_cell(at.get(share)) for share in shares)))
    headers = tuple((f"{100 * share:g} %", _range(people[share])) for share in shares)
    draws = max(point["draws"] for curve in curves for point in curve["points"])
    return Learning(headers, draws, tuple(rows))


def _range(counts: set[int]) -> str:
    return str(min(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


def _cell(point: Json | None) -> tuple[str, str]:
    if point is None:
        return "\u2013", ""
    several = point["draws"] > 1
    spread = f"({number(point['lowest'], 2)} to {number(point['highest'], 2)})" if several else ""
    return number(point["value"]), spread
