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

from octjob.results.columns import cells, main_columns
from octjob.results.leaderboard import SCHEMA_VERSION, Leaderboard
from octjob.results.outcome import METRICS
from octjob.results.rows import Row

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
