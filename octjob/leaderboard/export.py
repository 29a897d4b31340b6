"""The leaderboard as files: flat CSV and Parquet, nested JSON, Markdown to read.

CSV, JSON and Parquet hold the numbers in full; Markdown holds the cells of the terminal's table.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

from octjob.catalog import RANKING
from octjob.leaderboard.board import SCHEMA_VERSION, Leaderboard
from octjob.leaderboard.columns import cells, main_columns
from octjob.leaderboard.rows import Row

Scalar = str | int | float | None

# As `schema_version`, which older readers know.
LEADERBOARD_SCHEMA = f"octjob.leaderboard/{SCHEMA_VERSION}"
_KINDS = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}


def to_files(leaderboard: Leaderboard) -> dict[str, bytes]:
    """Every form of the leaderboard by its file's ending, in the order to store them: the JSON is last.

    It names the SHA-256 of the others, so that files of two collections never pass for one.
    """
    return {**_beside_json(leaderboard), "json": to_json(leaderboard).encode()}


def _beside_json(leaderboard: Leaderboard) -> dict[str, bytes]:
    return {
        "csv": to_csv(leaderboard).encode(),
        "md": to_markdown(leaderboard).encode(),
        "parquet": to_parquet(leaderboard),
    }


def to_json(leaderboard: Leaderboard) -> str:
    """Everything, nested. `sha256`: of the other files, by their endings."""
    digests = {ending: hashlib.sha256(data).hexdigest() for ending, data in _beside_json(leaderboard).items()}
    return (
        json.dumps({"schema": LEADERBOARD_SCHEMA, **leaderboard.to_dict(), "sha256": digests}, indent=1)
        + "\n"
    )


def to_csv(leaderboard: Leaderboard) -> str:
    """One line per row, numbers in full, an empty cell where there is none.

    A text that a spreadsheet would take for a formula gets an apostrophe in front, as OWASP recommends against CSV
    injection; numbers, negative ones too, stay as they are.
    """
    names = [name for name, _ in flat_fields(leaderboard)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    for row in leaderboard.rows:
        writer.writerow({name: _harmless(value) for name, value in flat_row(row, leaderboard).items()})
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
    schema = pa.schema([(name, _KINDS[kind]) for name, kind in flat_fields(leaderboard)])
    rows = [flat_row(row, leaderboard) for row in leaderboard.rows]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer)
    return buffer.getvalue()


def to_markdown(leaderboard: Leaderboard) -> str:
    """The table with its warnings and footnotes."""
    columns = main_columns(leaderboard)
    lines = [
        f"# {leaderboard.sweep}: leaderboard by {leaderboard.metric}",
        "",
        _escaped(leaderboard.caption),
        "",
    ]
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
        *((name, "int") for name in ("rank_best", "rank_worst")),
        ("letters", "str"),
        ("p_best", "float"),
        *((name, "str") for name in ("checkpoint", "config", "run_id", "state", "flags", "weights")),
        *((name, "int") for name in ("n", "num_models")),
        *((f"{name}{bound}", "float") for name in RANKING for bound in ("", "_low", "_high")),
        *((name, "float") for name in ("p_signal", "p_signal_holm", *_OF_ROW)),
        *(
            (f"{family}_{name}", kind)
            for family in _FAMILIES
            for name, kind in (("run", "str"), *((number, "float") for number in _NUMBERS))
        ),
        *((f"f1_{name}", "float") for name in names),
        *((f"auprc_{name}", "float") for name in names),
        *((f"prevalence_{name}", "float") for name in names),
        *((f"predicted_{name}", "int") for name in names),
        ("reasons", "str"),
        ("error", "str"),
    ]


_OF_ROW = ("train_val_gap", "best_constant_accuracy", "prior_corrected_balanced_accuracy")
_FAMILIES = ("vs_checkpoint", "vs_config")
_NUMBERS = ("difference", "low", "high", "p_value", "p_holm")
_PER_CLASS = {
    "f1": "per_class_f1",
    "auprc": "per_class_auprc",
    "prevalence": "prevalence",
    "predicted": "prediction_counts",
}


def class_labels(leaderboard: Leaderboard) -> list[str]:
    """The sweep's class names, and numbers for classes beyond them."""
    most = max((len(row.per_class_f1) for row in leaderboard.rows), default=0)
    extra = [f"class_{k}" for k in range(len(leaderboard.class_names), most)]
    return [*leaderboard.class_names, *extra]


def flat_row(row: Row, leaderboard: Leaderboard) -> dict[str, Scalar]:
    """The values of `flat_fields`."""
    values: dict[str, Scalar] = {
        "rank_best": row.rank.best if row.rank else None,
        "rank_worst": row.rank.worst if row.rank else None,
        "letters": row.rank.letters if row.rank else None,
        "p_best": row.rank.p_best if row.rank else None,
        "flags": ";".join(row.flags),
        "p_signal": row.signal.p_value if row.signal else None,
        "p_signal_holm": row.signal.p_holm if row.signal else None,
        "reasons": "; ".join(row.reasons),
    }
    own = ("checkpoint", "config", "run_id", "state", "weights", "n", "num_models", "error", *_OF_ROW)
    values |= {name: getattr(row, name) for name in own}
    for name in RANKING:
        estimate = row.metric(name)
        for bound, attribute in (("", "value"), ("_low", "low"), ("_high", "high")):
            values[f"{name}{bound}"] = getattr(estimate, attribute) if estimate else None
    for family in _FAMILIES:
        one = getattr(row, family)
        values[f"{family}_run"] = one.reference_run if one else None
        values |= {f"{family}_{name}": getattr(one, name) if one else None for name in _NUMBERS}
    for k, label in enumerate(class_labels(leaderboard)):
        for prefix, attribute in _PER_CLASS.items():
            per_class = getattr(row, attribute)
            values[f"{prefix}_{label}"] = per_class[k] if k < len(per_class) else None
    return values
