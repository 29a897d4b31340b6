"""CSV, TSV and Parquet files as rows of text, read strictly: each row whole, each cell with a place for messages."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from octjob.errors import DataError
from octjob.storage.base import ObjectStore

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ROWS = 1_000_000
MAX_BYTES = 2**28
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_MAX_CELL = 2000
_NUM_NAMED = 30


@dataclass(frozen=True)
class Sheet:
    """names: the columns that were asked for and are there, by the asker's names. rows: (number, a cell of each of
    them). unread: the file's other columns.

    A row's number is the line on which it begins, in Parquet, which has no lines, its place from 1 on.
    """

    uri: str
    names: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    unread: tuple[str, ...]
    is_text: bool

    def at(self, number: int) -> str:
        """Where a row is, for messages."""
        return f"{self.uri}:{number}" if self.is_text else f"{self.uri}: row {number}"


def read_sheet(
    store: ObjectStore, key: str, required: Sequence[str], optional: Sequence[str], called: Mapping[str, str]
) -> Sheet:
    """The columns `required`, and of `optional` those that are there. called: the file's names for some of them.

    Empty lines are passed over. Raises `DataError` naming file, line and column where a row has another number of
    cells than the header, a name stands twice, a column is missing that is required or in `called`, a cell is no
    printable text, or the file is none of its kind or too large.
    """
    uri, size = store.uri(key), store.head(key).size
    if size > MAX_BYTES:
        raise DataError(
            f"{uri}: {size} bytes, more than {MAX_BYTES}", "Leave out columns that octjob does not read."
        )
    data = store.get(key)
    wanted = _Wanted(uri, tuple(required), tuple(optional), called)
    suffix = f".{key.rpartition('.')[2].lower()}"
    if suffix in _DELIMITERS:
        return _text(data, wanted, _DELIMITERS[suffix])
    return _parquet(data, wanted)


@dataclass(frozen=True)
class _Wanted:
    uri: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    called: Mapping[str, str]

    def spelling(self, name: str) -> str:
        return self.called.get(name, name)

    def places(self, columns: Sequence[str]) -> dict[str, int]:
        """Where in `columns` what is wanted stands, by the asker's names."""
        for column in columns:
            if column and columns.count(column) > 1:
                raise DataError(
                    f"{self.uri}: column {column!r} is there {columns.count(column)} times",
                    "Give each column a name of its own.",
                )
        missing = [
            name
            for name in (*self.required, *self.optional)
            if (name in self.required or name in self.called) and self.spelling(name) not in columns
        ]
        if missing:
            raise self._missing(missing, columns)
        return {
            name: columns.index(self.spelling(name))
            for name in (*self.required, *self.optional)
            if self.spelling(name) in columns
        }

    def _missing(self, missing: Sequence[str], columns: Sequence[str]) -> DataError:
        named = ", ".join(
            f"{self.spelling(name)} ({name})" if name in self.called else name for name in missing
        )
        found = ", ".join(columns[:_NUM_NAMED]) + (", ..." if len(columns) > _NUM_NAMED else "")
        near = difflib.get_close_matches(self.spelling(missing[0]).lower(), [c.lower() for c in columns], 1)
        spelt = next((c for c in columns if near and c.lower() == near[0]), "patient_id")
        hint = f"Where the table calls it otherwise, say so: `data: {{columns: {{{missing[0]}: {spelt}}}}}`."
        if len(columns) == 1 and ";" in columns[0]:
            hint = "Its cells seem to be separated by semicolons: save it with commas, or with tabs as .tsv."
        return DataError(f"{self.uri}: no column {named}; columns found: {found or 'none'}", hint)

    def sheet(
        self, columns: Sequence[str], rows: Iterator[tuple[int, Sequence[str]]], *, is_text: bool
    ) -> Sheet:
        places = self.places(columns)
        read = set(places.values())
        unread = tuple(column for i, column in enumerate(columns) if i not in read and column)
        bare = Sheet(self.uri, tuple(places), (), unread, is_text)
        kept = []
        for number, cells in rows:
            chosen = tuple(cells[i] for i in places.values())
            for name, cell in zip(places, chosen, strict=True):
                if not cell.isprintable() or len(cell) > _MAX_CELL:
                    raise DataError(
                        f"{bare.at(number)}: column {self.spelling(name)}: {cell[:60]!r} is no short printable text",
                        "Write one line of printable characters in each cell.",
                    )
            kept.append((number, chosen))
            if len(kept) > MAX_ROWS:
                raise DataError(
                    f"{self.uri}: more than {MAX_ROWS} rows", "Divide it, and make a sweep of each part."
                )
        return Sheet(self.uri, bare.names, tuple(kept), unread, is_text)


def _text(data: bytes, wanted: _Wanted, delimiter: str) -> Sheet:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{wanted.uri}:{line}: not UTF-8 text ({error.reason})", "Save it as UTF-8 (Excel: CSV UTF-8)."
        ) from error
    records = _records(text, wanted.uri, delimiter)
    _, columns = next(records, (1, []))
    return wanted.sheet(columns, _whole(records, wanted.uri, len(columns), delimiter), is_text=True)


def _records(text: str, uri: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(first line, cells) of each record that is not empty; quoted cells may hold line breaks."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{uri}:{line}: not a table ({error})", "Is a quotation mark left open, or a cell too long?"
            ) from error
        cells = [cell.strip() for cell in cells]
        if any(cells):
            yield line, cells


def _whole(
    records: Iterator[tuple[int, list[str]]], uri: str, num_columns: int, delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    name = "comma" if delimiter == "," else "tab"
    for line, cells in records:
        if len(cells) != num_columns:
            raise DataError(
                f"{uri}:{line}: {len(cells)} cells for {num_columns} columns",
                f"Is the file cut off, or a cell with a {name} in it not in quotation marks?",
            )
        yield line, cells


def _parquet(data: bytes, wanted: _Wanted) -> Sheet:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        columns = list(file.schema_arrow.names)
        places = wanted.places(columns)
        if file.metadata.num_rows > MAX_ROWS:
            raise DataError(
                f"{wanted.uri}: more than {MAX_ROWS} rows", "Divide it, and make a sweep of each part."
            )
        table = file.read(columns=[columns[i] for i in places.values()])
    except pa.ArrowException as error:
        raise DataError(f"{wanted.uri}: not a Parquet file ({error})", "Write it again.") from error
    texts = [_texts(table.column(columns[i]), wanted.uri, columns[i]) for i in places.values()]
    # The others are not read, and have no cells.
    order = {column: place for place, column in enumerate(places.values())}
    rows = (
        (number, [cells[order[i]] if i in order else "" for i in range(len(columns))])
        for number, cells in enumerate(zip(*texts, strict=True), 1)
    )
    return wanted.sheet(columns, rows, is_text=False)


def _texts(column: pa.ChunkedArray, uri: str, name: str) -> list[str]:
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (text or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
        raise DataError(f"{uri}: column {name}: holds {kind}, expected text or numbers", "Write it as text.")
    return ["" if cell is None or cell != cell else _number(cell) for cell in column.to_pylist()]


def _number(cell: str | int | float) -> str:
    """7.0, as pandas writes a 7 where another row has none, is 7."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()
