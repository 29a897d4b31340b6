"""The leaderboard as files: flat CSV and Parquet, nested JSON, Markdown to read.

CSV, JSON and Parquet hold the numbers in full; Markdown holds the cells of the terminal's table,
of over 300 runs those that the report's table has.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from octjob.errors import one_line
from octjob.leaderboard.board import SCHEMA_VERSION, Leaderboard
from octjob.leaderboard.columns import cells, main_columns
from octjob.leaderboard.flat import Scalar, class_labels, flat_fields
from octjob.leaderboard.rows import Row
from octjob.report.excerpt import ELSEWHERE, MANY, TABLE, Candidate, excerpt, kind

# As `schema_version`, which older readers know.
LEADERBOARD_SCHEMA = f"octjob.leaderboard/{SCHEMA_VERSION}"
_KINDS = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}


def to_files(leaderboard: Leaderboard) -> dict[str, bytes]:
    """Every form of the leaderboard by its file's ending, in the order to store them: the JSON is last.

    It names the SHA-256 of the others, so that files of two collections never pass for one.
    """
    beside = _beside_json(leaderboard)
    return {**beside, "json": _json(leaderboard, beside).encode()}


def _beside_json(leaderboard: Leaderboard) -> dict[str, bytes]:
    return {
        "csv": to_csv(leaderboard).encode(),
        "md": to_markdown(leaderboard).encode(),
        "parquet": to_parquet(leaderboard),
    }


def to_json(leaderboard: Leaderboard) -> str:
    """Everything, nested. `sha256`: of the other files, by their endings."""
    return _json(leaderboard, _beside_json(leaderboard))


def _json(leaderboard: Leaderboard, beside: Mapping[str, bytes]) -> str:
    digests = {ending: hashlib.sha256(data).hexdigest() for ending, data in beside.items()}
    return (
        json.dumps({"schema": LEADERBOARD_SCHEMA, **leaderboard.to_dict(), "sha256": digests}, indent=1)
        + "\n"
    )


def to_csv(leaderboard: Leaderboard) -> str:
    """One line per row, numbers in full, an empty cell where there is none.

    A text that a spreadsheet would take for a formula gets an apostrophe in front, as OWASP recommends against CSV
    injection; numbers, negative ones too, stay as they are.
    """
    labels = class_labels(leaderboard.class_names, leaderboard.rows)
    names = [name for name, _ in flat_fields(labels)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    for flat in leaderboard.flat_rows(labels):
        writer.writerow({name: _harmless(value) for name, value in flat.items()})
    return buffer.getvalue()


_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\n")


def _harmless(value: Scalar) -> Scalar:
    if not isinstance(value, str):
        return value
    # The csv module does not quote a lone CR, which readers take for the end of the row.
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def to_parquet(leaderboard: Leaderboard) -> bytes:
    """The columns of the CSV, typed."""
    labels = class_labels(leaderboard.class_names, leaderboard.rows)
    schema = pa.schema([(name, _KINDS[kind]) for name, kind in flat_fields(labels)])
    rows = leaderboard.flat_rows(labels)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer)
    return buffer.getvalue()


def to_markdown(leaderboard: Leaderboard) -> str:
    """The table with its warnings and footnotes; of many runs an excerpt, which says so."""
    columns = main_columns(leaderboard)
    lines = [
        f"# {_escaped(leaderboard.sweep)}: leaderboard by {leaderboard.metric}",
        "",
        _escaped(leaderboard.headline.text),
        "",
        _escaped(leaderboard.caption),
        "",
    ]
    lines.append(_markdown_line([column.header for column in columns]))
    lines.append(_markdown_line(["---:" if column.right else "---" for column in columns]))
    rows, left_out = _shown(leaderboard.rows)
    lines += [_markdown_line(cells(row, columns)) for row in rows]
    if left_out:
        lines += ["", _escaped(left_out)]
    for title, texts in (
        ("Read with it", leaderboard.warnings),
        ("Rows", [text for row in rows for text in remarks(row)]),
        ("Methods", leaderboard.footnotes),
    ):
        if texts:
            lines += ["", f"## {title}", "", *(f"- {_escaped(text)}" for text in texts)]
    return "\n".join(lines) + "\n"


def _shown(rows: Sequence[Row]) -> tuple[Sequence[Row], str]:
    """Those that a text for people has, and what it leaves out; empty where that is nothing."""
    if len(rows) <= MANY:
        return rows, ""
    found = [
        Candidate(row.run_id, row.checkpoint, "" if row.rank else kind(row.control, row.verdict, row.state))
        for row in rows
    ]
    made = excerpt(found, TABLE, "runs")
    return [row for row in rows if row.run_id in made.run_ids], f"{made.text} {ELSEWHERE}"


def remarks(row: Row, *, every_reason: bool = False) -> list[str]:
    """Why a row has no rank, or its rank is to be doubted: the failure or the reasons.

    Of a collapsed row the first reason says enough, unless every one is wanted.
    """
    name = f"{row.checkpoint}.{row.config}"
    if row.error:
        return [f"{name}: failed: {row.error}"]
    reasons = row.reasons if every_reason or row.verdict != "collapsed" else row.reasons[:1]
    return [f"{name}: {reason}" for reason in reasons]


def _markdown_line(texts: list[str]) -> str:
    return f"| {' | '.join(_escaped(text) for text in texts)} |"


# What would begin an element, a code, a link, another cell or emphasis; brackets alone are intervals.
_ACTIVE = re.compile(r"([\\`*<|]|(?<=\])\()")


def _escaped(text: str) -> str:
    """A text that means itself in a cell: on one line, with unprintable characters spelled out."""
    return _ACTIVE.sub(r"\\\1", one_line(text))
