"""Who was scored, and what runs answer beside the truth: counts, confusion and scores class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octjob.report.training import counted
from octjob.report.view import Json, Line, number, runs_of


@dataclass(frozen=True)
class Bar:
    """What a run predicts: a count and its start and width in per cent, class by class."""

    name: str
    config: str
    colour: int
    ranked: bool
    parts: tuple[tuple[int, int, float, float], ...]
    text: str


@dataclass(frozen=True)
class Matrix:
    """Rows truth, columns prediction; cells (count, share of the row in per cent, shade 0 to 9)."""

    line: Line
    rows: tuple[tuple[tuple[int, int, int], ...], ...]


@dataclass(frozen=True)
class ClassScores:
    """F1 and AUPRC of one run, class by class, as text."""

    line: Line
    f1: tuple[str, ...]
    auprc: tuple[str, ...]


def bars_of(document: Json, lines: Sequence[Line]) -> list[Bar]:
    """The truth, then what each run predicts, mean over its passes."""
    rows = {row["run_id"]: row for row in document["rows"]}
    names = document["class_short_names"]
    bars = []
    for line in lines:
        counts = _for_all(rows[line.run_id])
        bars.append(_bar(line.checkpoint, line.config, line.colour, counts, names, ranked=line.ranked))
    return bars


def truth_of(document: Json) -> Bar | None:
    """The labels of the ranked runs' participants; None without a result."""
    row = next((row for row in document["rows"] if row["metrics"]), None)
    if row is None:
        return None
    counts = [round(share * row["n"]) for share in row["prevalence"]]
    return _bar("Truth", "", 0, counts, document["class_short_names"], ranked=True)


def _for_all(row: Json) -> list[int]:
    """What is predicted for as many as were scored: counts are summed over passes."""
    total = sum(row["prediction_counts"]) or 1
    return [round(count * row["n"] / total) for count in row["prediction_counts"]]


def _bar(
    name: str, config: str, colour: int, counts: Sequence[int], classes: Sequence[str], *, ranked: bool
) -> Bar:
    total, start, parts = sum(counts) or 1, 0.0, []
    for k, count in enumerate(counts):
        width = 100 * count / total
        parts.append((k, count, round(start, 2), round(width, 2)))
        start += width
    text = ", ".join(f"{count} {classes[k]}" for k, count in enumerate(counts))
    return Bar(name, config, colour, ranked, tuple(parts), text)


def matrices_of(document: Json, lines: Sequence[Line]) -> list[Matrix]:
    """The confusion of each run that has one."""
    rows = {row["run_id"]: row for row in document["rows"]}
    return [
        Matrix(line, tuple(_shares(counts) for counts in rows[line.run_id]["confusion"]))
        for line in lines
        if rows[line.run_id]["confusion"]
    ]


def _shares(counts: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    total = sum(counts)
    shares = [100 * count / total if total else 0.0 for count in counts]
    return tuple(
        (count, round(share), min(9, int(share // 10))) for count, share in zip(counts, shares, strict=True)
    )


def class_scores_of(document: Json, lines: Sequence[Line]) -> list[ClassScores]:
    """F1 and AUPRC by class."""
    rows = {row["run_id"]: row for row in document["rows"]}
    return [
        ClassScores(
            line,
            tuple(number(value, 2) for value in rows[line.run_id]["per_class_f1"]),
            tuple(number(value, 2) for value in rows[line.run_id]["per_class_auprc"]),
        )
        for line in lines
    ]


def prevalence_of(document: Json) -> list[float]:
    """Share of each class among the scored, by the first run with a result."""
    row = next((row for row in runs_of(document) if row["metrics"]), None)
    return list(row["prevalence"]) if row else []


def scope_of(document: Json) -> str:
    """`3 checkpoints x 4 configurations, 65 participants (17 / 17 / 20 / 11)`."""
    rows = runs_of(document)
    checkpoints = len({row["checkpoint"] for row in rows})
    configs = len({row["config"] for row in rows})
    text = f"{counted(checkpoints, 'checkpoint')} \u00d7 {counted(configs, 'configuration')}"
    truth = truth_of(document)
    if truth is None:
        return text
    counts = [count for _, count, _, _ in truth.parts]
    return f"{text} \u00b7 {sum(counts)} scored ({' / '.join(map(str, counts))})"
