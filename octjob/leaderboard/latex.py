"""The leaderboard as a LaTeX table for a paper: booktabs, nothing else needed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from octjob.catalog import METRICS
from octjob.leaderboard.stored import sentence
from octjob.report.excerpt import ELSEWHERE, MANY, PAPER, candidates_of, excerpt
from octjob.report.view import has_lifts, shown_checkpoint

Json = Mapping[str, Any]

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
_HEAD = r"""% Needs \usepackage{booktabs}.
\begin{table}
\centering
\caption{CAPTION}
\begin{tabular}{COLUMNS}
\toprule"""


def to_latex(document: Json) -> str:
    """Ranks, the metric ranked by and the difference to the baseline; the sentence is the caption.

    Of many runs an excerpt, which says so.

    document: `leaderboard.json`.
    """
    header = [
        "rank",
        "checkpoint",
        "configuration",
        f"{METRICS[document['metric']].label} [95\\,\\% interval]",
    ]
    lifts = has_lifts(document)
    header += ["lift"] if lifts else []
    header.append(f"vs {escaped(document['baseline'])}" if document["baseline"] else "")
    rows, left_out = _shown(document["rows"])
    ranked = [_cells(document, row, lifts) for row in rows if row["rank"] is not None]
    others = [_cells(document, row, lifts) for row in rows if row["rank"] is None]
    lines = [
        _HEAD.replace("COLUMNS", "r" + "l" * (len(header) - 1)).replace(
            "CAPTION", escaped(sentence(document))
        ),
        _line(header),
        r"\midrule",
        *map(_line, ranked),
    ]
    if ranked and others:
        lines.append(r"\midrule")
    note = [rf"\par\smallskip {escaped(left_out)}"] if left_out else []
    end = [r"\bottomrule", r"\end{tabular}", *note, r"\end{table}", ""]
    return "\n".join([*lines, *map(_line, others), *end])


def _shown(rows: Sequence[Json]) -> tuple[Sequence[Json], str]:
    """Those that the table has, and what it leaves out; empty where that is nothing."""
    if len(rows) <= MANY:
        return rows, ""
    made = excerpt(candidates_of(rows), PAPER, "runs")
    return [row for row in rows if row["run_id"] in made.run_ids], f"{made.text} {ELSEWHERE}"


def _cells(document: Json, row: Json, lifts: bool) -> list[str]:
    rank = row["rank"]
    if rank is None:
        place = escaped(row["verdict"].replace("_", " ") or row["state"])
    else:
        place = str(rank["best"]) if rank["best"] == rank["worst"] else f"{rank['best']}--{rank['worst']}"
    estimate = row["metrics"][document["metric"]] if row["metrics"] else None
    return [
        place,
        escaped(shown_checkpoint(row)),
        escaped(row["config"]),
        _number(estimate, "value", "%.3f"),
        *([_number(row["lift"], "value", "%+.2f")] if lifts else []),
        _number(row["vs_checkpoint"], "difference", "%+.2f"),
    ]


def _number(estimate: Json | None, key: str, form: str) -> str:
    if estimate is None or estimate[key] is None:
        return "--"
    text = f"${form % estimate[key]}$"
    if estimate["low"] is not None and estimate["high"] is not None:
        text += f" [${estimate['low']:.2f}$, ${estimate['high']:.2f}$]"
    return text + ("*" if (estimate.get("p_holm") or 1.0) < 0.05 else "")


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def escaped(text: str) -> str:
    """Any text as LaTeX prints it; what has no glyph for certain (control characters) is left out."""
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]", " ", text)
    plain = plain.replace("\u2212", "-")
    return "".join(_SPECIAL.get(character, character) for character in plain)
