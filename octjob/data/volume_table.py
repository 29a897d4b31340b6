"""A table of one's own: a row for each volume, with whose it is, its class and its split; checked whole."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from octjob.data.content import SUFFIXES, Content, content_of
from octjob.data.manifest import NOT_REPORTED
from octjob.data.participants import SPLITS, Participant
from octjob.data.sheet import Sheet, read_sheet
from octjob.errors import AccessError, DataError, SpecError
from octjob.spec.experiment import Classes, Data
from octjob.spec.names import CLASS, check_name
from octjob.spec.uri import check_key, parse_uri, split_uri
from octjob.storage.base import ObjectNotFoundError
from octjob.storage.open import open_store

REQUIRED = ("path", "label", "participant", "split")
OPTIONAL = ("eye", "device", "site", "age")
_MAX_ID = 64
_AGE = re.compile(r"\d{1,3}(\.\d{1,6})?")
_NUM_LABELS = 20


@dataclass(frozen=True)
class Row:
    """One volume as the table says it. key: below the data set's root, or a full URI. laterality: L, R, or '' where
    the table has no column for it; device: `NOT_REPORTED` there."""

    number: int
    key: str
    content: Content
    participant: str
    laterality: str
    device: str


@dataclass(frozen=True)
class VolumeTable:
    """rows: by participant and key. participants: by id, each with one class and one split."""

    sheet: Sheet
    rows: tuple[Row, ...]
    participants: tuple[Participant, ...]

    def has(self, column: str) -> bool:
        """Whether there is such an optional column."""
        return column in self.sheet.names


def read_volume_table(data: Data, classes: Classes) -> VolumeTable:
    """Raises `AccessError` where there is no table, `DataError` naming file, line and column where a cell is empty or
    says what it may not, or rows contradict each other."""
    reading = _Reading(data, classes)
    if not reading.sheet.rows:
        raise DataError(f"{reading.sheet.uri}: no row below the header", "Write a row for each volume.")
    rows = [reading.row(number, cells) for number, cells in reading.sheet.rows]
    reading.require_classes()
    people = sorted(reading.people.values(), key=lambda person: person.id)
    return VolumeTable(
        reading.sheet, tuple(sorted(rows, key=lambda row: (row.participant, row.key))), tuple(people)
    )


class _Reading:
    """What has been read so far, against which the next row is checked."""

    def __init__(self, data: Data, classes: Classes) -> None:
        self._data, self._classes = data, classes
        self.sheet = _sheet(data)
        self.people: dict[str, Participant] = {}
        self._first: dict[str, int] = {}
        self._paths: dict[str, int] = {}

    def row(self, number: int, cells: Sequence[str]) -> Row:
        """Check one row."""
        of = dict(zip(self.sheet.names, cells, strict=True))
        for name, cell in of.items():
            if not cell and name != "age":
                raise self._error(number, name, "is empty", "Fill it in each row, or leave the row out.")
        key, content = self._file(number, of["path"])
        self._check_person(number, self._person(number, of))
        return Row(
            number=number,
            key=key,
            content=content,
            participant=of["participant"],
            laterality=self._eye(number, of.get("eye", "")),
            device=of.get("device", NOT_REPORTED),
        )

    def require_classes(self) -> None:
        """Raise `DataError` where a class of the mapping has no row."""
        found = {person.label for person in self.people.values()}
        lacking = [name for index, name in enumerate(self._classes.names) if index not in found]
        if lacking:
            raise DataError(
                f"{self.sheet.uri}: column {self._called('label')}: no row has class {', '.join(lacking)} of "
                "classes.mapping",
                "Mappings are merged: write the config without a file (`defaults`) that has one of its own. The "
                f"labels found: {self._mapping()}.",
            )

    def _error(self, number: int, name: str, message: str, hint: str) -> DataError:
        return DataError(f"{self.sheet.at(number)}: column {self._called(name)}: {message}", hint)

    def _called(self, name: str) -> str:
        return _names(self._data).get(name, name)

    def _file(self, number: int, path: str) -> tuple[str, Content]:
        hint = "Write it relative to data.source, such as scans/1001_L.nii.gz, or as a full URI (gs://, b2://, file://)."
        key = path
        try:
            if "://" in path:
                uri, root = str(parse_uri(path)), f"{parse_uri(str(self._data.source))}/"
                split_uri(uri)
                key = uri.removeprefix(root)
            elif path.startswith("/") or "\\" in path:
                raise SpecError(f"{path!r} is neither a path below data.source nor a full URI")
            if "://" not in key:
                check_key(key)
        except SpecError as error:
            raise self._error(number, "path", error.message, hint) from error
        content = content_of(key, self._data.axes)
        if content is None:
            raise self._error(
                number, "path", f"{path!r} is of no known format", f"Known are {', '.join(SUFFIXES)}."
            )
        if key in self._paths:
            where = self.sheet.at(self._paths[key])
            raise self._error(
                number, "path", f"{path!r} is there twice (first at {where})", "Remove the other row."
            )
        self._paths[key] = number
        return key, content

    def _person(self, number: int, of: dict[str, str]) -> Participant:
        identity, label, split, age = of["participant"], of["label"], of["split"], of.get("age", "")
        if len(identity) > _MAX_ID:
            raise self._error(
                number,
                "participant",
                f"{identity[:60]!r}... is longer than {_MAX_ID} characters",
                "Shorten it.",
            )
        if label not in self._classes.mapping:
            raise self._unknown_label(number, label)
        if split not in SPLITS:
            near = difflib.get_close_matches(split.lower(), SPLITS, n=1, cutoff=0.5)
            raise self._error(
                number,
                "split",
                f"{split!r}",
                f"Expected one of {', '.join(SPLITS)}" + (f"; did you mean {near[0]}?" if near else "."),
            )
        if age and not _AGE.fullmatch(age):
            raise self._error(
                number,
                "age",
                f"{age!r} is no age in years",
                "Write a number, or leave it empty if not known.",
            )
        index, years = self._classes.mapping[label], float(age) if age else None
        return Participant(identity, of.get("site", NOT_REPORTED), label, index, split, True, years)

    def _check_person(self, number: int, person: Participant) -> None:
        first = self.people.setdefault(person.id, person)
        where = self.sheet.at(self._first.setdefault(person.id, number))
        for name, there, here in (
            ("split", first.split, person.split),
            ("label", first.study_group, person.study_group),
            ("site", first.site, person.site),
            ("age", first.age, person.age),
        ):
            if there != here:
                raise self._error(
                    number,
                    name,
                    f"participant {person.id} has {there!r} (first at {where}) and {here!r}",
                    "A participant is in one split, and has one label, site and age; correct one of the rows.",
                )

    def _unknown_label(self, number: int, label: str) -> DataError:
        return self._error(
            number,
            "label",
            f"{label!r} is not in classes.mapping, which has {', '.join(self._classes.mapping)}",
            f"All labels of the table: `classes: {{mapping: {self._mapping()}}}`.",
        )

    def _mapping(self) -> str:
        place = self.sheet.names.index("label")
        labels = sorted({cells[place] for _, cells in self.sheet.rows if cells[place]})
        try:
            for label in labels:
                check_name(label, CLASS)
        except ValueError as error:
            return str(error)
        if len(labels) > _NUM_LABELS:
            return f"{', '.join(labels[:_NUM_LABELS])} and {len(labels) - _NUM_LABELS} more"
        return f"{{{', '.join(f'{json.dumps(name, ensure_ascii=False)}: {i}' for i, name in enumerate(labels))}}}"

    def _eye(self, number: int, eye: str) -> str:
        if eye and eye.upper() not in ("L", "R"):
            raise self._error(number, "eye", f"{eye!r}", "Write L (left, OS) or R (right, OD).")
        return eye.upper()


def _sheet(data: Data) -> Sheet:
    root, key = split_uri(str(data.table))
    store = open_store(root)
    try:
        return read_sheet(store, key, REQUIRED, OPTIONAL, _names(data))
    except ObjectNotFoundError as error:
        raise AccessError(
            f"{data.table}: no such table (data.table)",
            "Relative paths are taken from the current directory; write its full URI.",
        ) from error


def _names(data: Data) -> dict[str, str]:
    """What the table calls columns, where otherwise."""
    return {str(name): called for name, called in data.columns.items()}
