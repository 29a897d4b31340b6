"""Who takes part: participants.tsv of AI-READI as typed rows."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

from octjob.data.table import Table, read_table
from octjob.errors import DataError
from octjob.spec.experiment import CLASS_NAMES, Classes
from octjob.storage.base import ObjectStore

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
_REQUIRED = ("clinical_site", "study_group", "recommended_split", "retinal_oct")
_FLAGS = {"TRUE": True, "FALSE": False}
_NUMBER = re.compile(r"\d{1,3}(\.\d{1,6})?")


@dataclass(frozen=True)
class Participant:
    """One participant. `id` is text, whatever its digits; `label` is the class index of the experiment's
    mapping; `split` is the published recommended split (train, val or test); `age` in years, None where the table
    does not say it as a number."""

    id: str
    site: str
    study_group: str
    label: int
    split: str
    has_oct: bool
    age: float | None = None


@dataclass(frozen=True)
class Listed:
    """The rows of the table: `participants` with a class, by id, and the split of those `without_class`, by id."""

    participants: tuple[Participant, ...]
    without_class: Mapping[str, str]


def read_participants(store: ObjectStore, key: str, classes: Classes) -> tuple[Participant, ...]:
    """All participants with a class in `classes.mapping`, by id. Raises as `list_participants` does."""
    return list_participants(store, key, classes).participants


def list_participants(store: ObjectStore, key: str, classes: Classes) -> Listed:
    """Every row of the table.

    Participants of a published study group that the mapping leaves out on purpose (a two-class experiment)
    are without a class, with a log line. Raises `DataError` naming file, line and ids on an unknown study group,
    split or flag, a missing column, or a participant listed twice.
    """
    table = read_table(store, key, _REQUIRED)
    if not table.lines:
        raise DataError(f"{table.uri}: no participants below the header", "Is the upload complete?")
    _require_unique(table)
    found: list[Participant] = []
    dropped: dict[str, int] = {}
    without_class: dict[str, str] = {}
    for line, row in table.rows():
        group = row["study_group"]
        if group in classes.mapping:
            found.append(_participant(table, line, row, classes.mapping[group]))
        elif group in CLASS_NAMES:
            dropped[group] = dropped.get(group, 0) + 1
            without_class[row[table.id_column]] = row["recommended_split"]
        else:
            raise _unknown_group(table, line, row, classes)
    for group, count in dropped.items():
        log.info("%s: %d participants of group %s are not in classes.mapping", table.uri, count, group)
    return Listed(tuple(sorted(found, key=lambda participant: participant.id)), without_class)


def _participant(table: Table, line: int, row: dict[str, str], label: int) -> Participant:
    where, split, flag = f"{table.uri}:{line}", row["recommended_split"], row["retinal_oct"].upper()
    if split not in SPLITS:
        raise DataError(f"{where}: recommended_split {split!r}", f"Expected one of {', '.join(SPLITS)}.")
    if flag not in _FLAGS:
        raise DataError(f"{where}: retinal_oct {row['retinal_oct']!r}", "Expected TRUE or FALSE.")
    return Participant(
        row[table.id_column],
        row["clinical_site"],
        row["study_group"],
        label,
        split,
        _FLAGS[flag],
        _age(row.get("age", "")),
    )


def _age(text: str) -> float | None:
    """Nothing is trained on it, so what is no number (`Not reported`, `90+`) is not known."""
    return float(text) if _NUMBER.fullmatch(text) else None


def _require_unique(table: Table) -> None:
    first: dict[str, tuple[int, str]] = {}
    for line, row in table.rows():
        identity, split = row[table.id_column], row["recommended_split"]
        if identity not in first:
            first[identity] = (line, split)
            continue
        earlier_line, earlier_split = first[identity]
        what = f"in two splits, {earlier_split} and {split}" if split != earlier_split else "listed twice"
        raise DataError(
            f"{table.uri}:{line}: participant {identity} is {what} (first on line {earlier_line})",
            "A participant belongs to one row and one split; remove the other row.",
        )


def _unknown_group(table: Table, line: int, row: dict[str, str], classes: Classes) -> DataError:
    group = row["study_group"]
    near = difflib.get_close_matches(group, [*classes.mapping, *CLASS_NAMES], n=1)
    return DataError(
        f"{table.uri}:{line}: participant {row[table.id_column]}: unknown study_group {group!r}"
        + (f"; nearest known: {near[0]!r}" if near else ""),
        f"Add it to `classes.mapping`, which has {', '.join(classes.mapping)}.",
    )
