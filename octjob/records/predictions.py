"""A run's predictions as Parquet: one row per volume and pass, verified when read.

Suffixes: N rows, K classes.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from octjob.errors import DataError
from octjob.evaluate import Predictions
from octjob.evaluate.predictions import NUMBERS, TEXTS
from octjob.records.layout import PREDICTIONS, run_key
from octjob.storage.base import ObjectStore

# The columns of each version before the logits. Version 1 had neither `site` nor `repeat`.
Columns = tuple[tuple[str, ...], tuple[str, ...]]
SCHEMA_VERSION = 2
_READABLE: dict[str, Columns] = {"1": (TEXTS[:-1], NUMBERS[:-1]), "2": (TEXTS, NUMBERS)}
_VERSION_KEY, _DIGEST_KEY = b"octjob.schema_version", b"octjob.sha256"
_HINT = "Delete the run's predictions.parquet and result.json and run it again; other runs are not touched."


def write_predictions(store: ObjectStore, run_id: str, predictions: Predictions) -> None:
    """Store the predictions, sorted; the same rows in any order give the same bytes.

    Volumes that agree in seed, repeat, participant, eye, device, split and fold stay in their order.
    """
    store.put(run_key(run_id, PREDICTIONS), encode_predictions(predictions))


def read_predictions(store: ObjectStore, run_id: str) -> Predictions:
    """The predictions as written, in the order they were sorted to.

    Raises:
        DataError: naming the URI, for a file that is damaged or not one of ours.
        ObjectNotFoundError: there is none.
    """
    key = run_key(run_id, PREDICTIONS)
    data = store.get(key)
    try:
        return decode_predictions(data)
    except DataError as error:
        raise DataError(f"{store.uri(key)}: {error.message}", error.hint) from None


def encode_predictions(predictions: Predictions) -> bytes:
    """As Parquet: participant, eye, device, split, site, fold, seed, label, repeat, logit_0 ... logit_<K-1>."""
    rows = _sorted(predictions)
    columns = {name: pa.array(getattr(rows, name).tolist(), pa.string()) for name in TEXTS}
    columns |= {name: pa.array(getattr(rows, name), pa.int64()) for name in NUMBERS}
    for k in range(rows.num_classes):
        columns[f"logit_{k}"] = pa.array(rows.logits_NK[:, k], pa.float64())
    metadata = {
        _VERSION_KEY: str(SCHEMA_VERSION).encode(),
        _DIGEST_KEY: _digest(rows, (TEXTS, NUMBERS)).encode(),
    }
    buffer = io.BytesIO()
    pq.write_table(
        pa.table(columns).replace_schema_metadata(metadata),
        buffer,
        compression="zstd",
        write_page_checksum=True,
    )
    return buffer.getvalue()


def decode_predictions(data: bytes) -> Predictions:
    """The inverse of `encode_predictions`; page checksums, schema and a digest of the content are verified.

    Raises:
        DataError: not Parquet, damaged, another schema version or other columns.
    """
    try:
        predictions, columns, digest = _parsed(data)
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"damaged or not a Parquet file ({reason})", _HINT) from None
    if _digest(predictions, columns).encode() != digest:
        raise DataError("damaged: the content does not match its recorded digest", _HINT)
    return predictions


def _parsed(data: bytes) -> tuple[Predictions, Columns, bytes | None]:
    """The predictions, their version's columns, and the digest that was recorded with them."""
    # `pq.read_table` would import pyarrow.dataset, which takes longer than all the rest.
    table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read(use_threads=False)
    metadata = table.schema.metadata or {}
    version = metadata.get(_VERSION_KEY, b"none").decode(errors="replace")
    if version not in _READABLE:
        raise DataError(
            f"predictions of schema version {version}; this octjob reads versions {' and '.join(_READABLE)}",
            "Read it with the octjob that wrote it, or run the run again.",
        )
    columns = _READABLE[version]
    return _from_table(table, *columns), columns, metadata.get(_DIGEST_KEY)


def _from_table(table: pa.Table, texts: tuple[str, ...], numbers: tuple[str, ...]) -> Predictions:
    num_classes = table.num_columns - len(texts) - len(numbers)
    logits = [f"logit_{k}" for k in range(num_classes)]
    expected = pa.schema(
        [(name, pa.string()) for name in texts]
        + [(name, pa.int64()) for name in numbers]
        + [(name, pa.float64()) for name in logits]
    )
    if not logits or not table.schema.equals(expected):
        raise DataError(f"predictions with unexpected columns: {', '.join(table.column_names)}", _HINT)
    if any(column.null_count for column in table.columns):
        raise DataError("damaged: predictions with empty cells", _HINT)
    columns: dict[str, Any] = {
        name: np.asarray(table.column(name).to_pylist(), dtype=np.str_) for name in texts
    }
    # Without `to_numpy`, which would import pandas.
    columns |= {name: np.from_dlpack(table.column(name).combine_chunks()) for name in numbers}
    logits_KN = [np.from_dlpack(table.column(name).combine_chunks()) for name in logits]
    columns["logits_NK"] = np.stack(logits_KN, axis=1)
    return Predictions(**columns)


def _sorted(predictions: Predictions) -> Predictions:
    # The last is the first to sort by.
    keys = ("fold", "split", "device", "eye", "participant", "repeat", "seed")
    return predictions.rows(np.lexsort([getattr(predictions, name) for name in keys]))


def _digest(predictions: Predictions, columns: Columns) -> str:
    """sha256 of the content, whatever library or compression carried it."""
    texts, numbers = columns
    digest = hashlib.sha256()
    for name in texts:
        digest.update(json.dumps(getattr(predictions, name).tolist()).encode())
    for name in numbers:
        digest.update(getattr(predictions, name).astype("<i8").tobytes())
    digest.update(str(predictions.logits_NK.shape).encode())
    digest.update(np.ascontiguousarray(predictions.logits_NK, dtype="<f8").tobytes())
    return digest.hexdigest()
