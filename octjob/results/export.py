"""The leaderboard as files: flat CSV and Parquet, nested JSON, Markdown to read.

CSV, JSON and Parquet hold the numbers in full; Markdown holds the cells of the terminal's table.
"""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

from octjob.results.columns import cells, main_columns
from octjob.results.leaderboard import Leaderboard, Row
from octjob.results.outcome import METRICS

Scalar = str | int | float | None

_KINDS = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}


def to_json(leaderboard: Leaderboard) -> str:
    """Everything, nested."""
    return json.dumps(leaderboard.to_dict(), indent=1) + "\n"


def to_csv(leaderboard: Leaderboard) -> str:
    """One line per row, numbers in full, an empty cell where there is none."""
    names = [name for name, _ in flat_fields(leaderboard)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat_row(row, leaderboard) for row in leaderboard.rows)
    return buffer.getvalue()


def to_parquet(leaderboard: Leaderboard) -> bytes:
    """The columns of the CSV, typed."""
    schema = pa.schema([(name, _KINDS[kind]) for name, kind in flat_fields(leaderboard)])
    rows = [flat_row(row, leaderboard) for row in leaderboard.rows]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer)
    return buffer.getvalue()


def to_markdown(leaderboard: Leaderboard) -> str:
    """The table with its warnings and footnotes."""
    columns = main_columns(leaderboard)
    lines = [f"# {leaderboard.sweep}: leaderboard by {leaderboard.metric}", ""]
    lines.append(_markdown_line([column.header for column in columns]))
    lines.append(_markdown_line(["---:" if column.right else "---" for column in columns]))
    lines += [_markdown_line(cells(row, columns)) for row in leaderboard.rows]
    for title, texts in (
        ("Read with it", leaderboard.warnings),
        ("Rows", [text for row in leaderboard.rows for text in remarks(row)]),
        ("Methods", leaderboard.footnotes),
    ):
        if texts:
            lines += ["", f"## {title}", "", *(f"- {_escaped(text)}" for text in texts)]
    return "\n".join(lines) + "\n"


def remarks(row: Row, *, every_reason: bool = False) -> list[str]:
    """Why a row has no rank, or its rank is to be doubted: the failure or the reasons.

    Of a collapsed row the first reason says enough, unless every one is wanted.
    """
    name = f"{row.checkpoint}.{row.config}"
    if row.error:
        return [f"{name}: failed: {row.error}"]
    reasons = row.reasons if every_reason or row.state != "collapsed" else row.reasons[:1]
    return [f"{name}: {reason}" for reason in reasons]


def _markdown_line(texts: list[str]) -> str:
    return f"| {' | '.join(_escaped(text) for text in texts)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("*", "\\*")


def flat_fields(leaderboard: Leaderboard) -> list[tuple[str, str]]:
    """Names and kinds (str, int, float) of the flat columns."""
    names = class_labels(leaderboard)
    return [
        ("rank", "int"),
        *((name, "str") for name in ("checkpoint", "config", "run_id", "state", "flags")),
        ("n", "int"),
        *((f"{name}{bound}", "float") for name in METRICS for bound in ("", "_low", "_high")),
        ("train_val_gap", "float"),
        ("best_constant_accuracy", "float"),
        ("baseline_run", "str"),
        *((name, "float") for name in _COMPARISON),
        *((f"f1_{name}", "float") for name in names),
        *((f"predicted_{name}", "int") for name in names),
        ("reasons", "str"),
        ("error", "str"),
    ]


_COMPARISON = {
    "difference": "difference",
    "difference_low": "low",
    "difference_high": "high",
    "p_value": "p_value",
    "p_holm": "p_holm",
}


def class_labels(leaderboard: Leaderboard) -> list[str]:
    """The sweep's class names, and numbers for classes beyond them."""
    most = max((len(row.per_class_f1) for row in leaderboard.rows), default=0)
    extra = [f"class_{k}" for k in range(len(leaderboard.class_names), most)]
    return [*leaderboard.class_names, *extra]


def flat_row(row: Row, leaderboard: Leaderboard) -> dict[str, Scalar]:
    """The values of `flat_fields`."""
    values: dict[str, Scalar] = {
        "rank": row.rank,
        "checkpoint": row.checkpoint,
        "config": row.config,
        "run_id": row.run_id,
        "state": row.state,
        "flags": ";".join(row.flags),
        "n": row.n,
        "train_val_gap": row.train_val_gap,
        "best_constant_accuracy": row.best_constant_accuracy,
        "baseline_run": row.comparison.baseline_run if row.comparison else None,
        "reasons": "; ".join(row.reasons),
        "error": row.error,
    }
    for name in METRICS:
        estimate = row.metric(name)
        values[name] = estimate.value if estimate else None
        values[f"{name}_low"] = estimate.low if estimate else None
        values[f"{name}_high"] = estimate.high if estimate else None
    for name, attribute in _COMPARISON.items():
        values[name] = getattr(row.comparison, attribute) if row.comparison else None
    for k, label in enumerate(class_labels(leaderboard)):
        values[f"f1_{label}"] = row.per_class_f1[k] if k < len(row.per_class_f1) else None
        values[f"predicted_{label}"] = row.prediction_counts[k] if k < len(row.prediction_counts) else None
    return values
