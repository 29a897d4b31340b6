"""Tab-separated tables of the data set, read strictly: named columns, errors with line numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from octjob.errors import DataError
from octjob.storage.base import ObjectStore

ID_COLUMNS = ("participant_id", "person_id")


@dataclass(frozen=True)
class Table:
    """Rows as text, with the line each came from. `id_column` is the spelling this release uses."""

    uri: str
    columns: tuple[str, ...]
    lines: tuple[tuple[int, dict[str, str]], ...]
    id_column: str

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """(line number, row); raises `DataError` on a row without a participant."""
        for line, row in self.lines:
            if not row[self.id_column]:
                raise DataError(
                    f"{self.uri}:{line}: empty {self.id_column}", "Every row needs a participant."
                )
            yield line, row


def read_table(store: ObjectStore, key: str, required: Sequence[str]) -> Table:
    """Read a TSV; raises `DataError` naming file, line and columns found if it cannot be understood."""
    uri = store.uri(key)
    try:
        text = store.get(key).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{uri}: not UTF-8 text ({error.reason})", "Expected a tab-separated text file."
        ) from error
    try:
        return _parse(uri, text, required)
    except csv.Error as error:
        raise DataError(f"{uri}: not a table ({error})", "Expected a tab-separated text file.") from error


def _parse(uri: str, text: str, required: Sequence[str]) -> Table:
    reader = csv.reader(io.StringIO(text), delimiter="\t")
    columns = tuple(name.strip() for name in next(reader, []))
    id_column = next((name for name in ID_COLUMNS if name in columns), "")
    missing = [name for name in required if name not in columns]
    if not id_column:
        missing.insert(0, " or ".join(ID_COLUMNS))
    if missing:
        raise DataError(
            f"{uri}: no column {', '.join(missing)}; columns found: {', '.join(columns) or 'none'}",
            "Is this the AI-READI table, tab-separated, with its header line?",
        )
    lines = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise DataError(
                f"{uri}:{reader.line_num}: {len(cells)} cells for {len(columns)} columns",
                "The file may be cut off or not tab-separated; fetch it again.",
            )
        lines.append((reader.line_num, {n: c.strip() for n, c in zip(columns, cells, strict=True)}))
    return Table(uri, columns, tuple(lines), id_column)
