"""The cohort that a table of one's own describes: its rows, joined to what the store knows of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from octjob.data.cohort import Cohort, Volume
from octjob.data.coverage import NO_VOLUME, NONE_SELECTED, Coverage
from octjob.data.flow import OTHER_SITE, trace
from octjob.data.manifest import NOT_REPORTED, VolumeRecord
from octjob.data.selection import NOT_THE_ONE, OTHER_DEVICE, OTHER_EYE, REASONS, require_known
from octjob.data.source_versions import digest_of
from octjob.data.sources import Sources
from octjob.data.volume_table import Row, VolumeTable, read_volume_table
from octjob.errors import DataError, SpecError
from octjob.spec.experiment import Data, Experiment
from octjob.storage.base import ObjectInfo

_NUM_NAMED = 3


@dataclass(frozen=True)
class TableCohort:
    """The cohort, and the table it was made from."""

    table: VolumeTable
    cohort: Cohort


def find_table_cohort(experiment: Experiment) -> TableCohort:
    """What the table lists and the selection keeps.

    Raises as `read_volume_table` does; `DataError` naming lines where files are missing, or two rows name the same
    bytes, as far as the store has checksums; `SpecError` where a key selects by a column that is not there, or by a
    value that is not in it.
    """
    data = experiment.data
    table = read_volume_table(data, experiment.classes)
    _require_columns(table, data)
    sources = Sources(str(data.source))
    infos = sources.find(row.key for row in table.rows)
    _require_files(table, sources, infos)
    _require_different(table, sources, infos)
    records = tuple(_record(row, infos[row.key]) for row in table.rows)
    everyone = {person.id: person for person in table.participants}
    require_known("sites", data.sites, {person.site for person in table.participants}, str)
    require_known("devices", data.devices, {record.device for record in records}, str)
    elsewhere = {
        i for i, person in everyone.items() if data.sites is not None and person.site not in data.sites
    }
    expected = {i: person for i, person in everyone.items() if i not in elsewhere}
    excluded = _excluded(records, data)
    volumes = tuple(
        Volume(r, expected[r.participant]) for r in records if r not in excluded and r.participant in expected
    )
    found = {volume.participant.id for volume in volumes}
    coverage = Coverage(tuple(expected.values()), {i: NONE_SELECTED for i in expected if i not in found})
    split_of = {i: person.split for i, person in everyone.items()}
    flow = trace(split_of, records, ((OTHER_SITE, elsewhere),), NO_VOLUME, excluded, REASONS)
    people = tuple(person for i, person in expected.items() if i in found)
    return TableCohort(table, Cohort(volumes, people, coverage, flow))


def _require_columns(table: VolumeTable, data: Data) -> None:
    selected = {
        "sites": ("site", data.sites is not None),
        "devices": ("device", data.devices is not None),
        "laterality": ("eye", data.laterality != "both"),
    }
    for key, (column, is_set) in selected.items():
        if is_set and not table.has(column):
            raise SpecError(
                f"data.{key}: selects by column {column}, which {table.sheet.uri} does not have",
                f"Remove data.{key}, or add the column; where it is called otherwise, name it in data.columns.",
            )


def _require_files(table: VolumeTable, sources: Sources, infos: Mapping[str, ObjectInfo]) -> None:
    missing = [row for row in table.rows if row.key not in infos]
    if not missing:
        return
    numbers = sorted(row.number for row in missing)
    first = next(row for row in missing if row.number == numbers[0])
    others = ", ".join(map(str, numbers[1 : 1 + _NUM_NAMED])) + (
        ", ..." if len(numbers) > 1 + _NUM_NAMED else ""
    )
    more = f", nor those of {len(numbers) - 1} more of {len(table.rows)} rows ({others})" if others else ""
    raise DataError(
        f"{table.sheet.at(first.number)}: column path: no file {sources.uri(first.key)}{more}",
        "Paths are relative to data.source; correct it or the paths, or remove these rows.",
    )


def _require_different(table: VolumeTable, sources: Sources, infos: Mapping[str, ObjectInfo]) -> None:
    """Files of one checksum are compared: a short one may be that of two files by chance."""
    alike: dict[tuple[int, str], list[Row]] = {}
    for row in table.rows:
        info = infos[row.key]
        if not info.checksum:
            continue
        others = alike.setdefault((info.size, info.checksum), [])
        for first in others:
            if sources.get(first.key) == sources.get(row.key):
                raise _same_bytes(table, sources, first, row)
        others.append(row)


def _same_bytes(table: VolumeTable, sources: Sources, first: Row, row: Row) -> DataError:
    people = dict.fromkeys((first.participant, row.participant))
    whose = f"participant{'s' if len(people) > 1 else ''} {' and '.join(people)}"
    return DataError(
        f"{table.sheet.at(row.number)}: column path: {sources.uri(row.key)} of {whose} holds the same bytes as "
        f"{sources.uri(first.key)} ({table.sheet.at(first.number)})",
        "Each volume is one participant's and counted once; remove one of the rows.",
    )


def _record(row: Row, info: ObjectInfo) -> VolumeRecord:
    version = digest_of(info)
    # What is made of a volume (features, preprocessed voxels) is kept under this name: it changes with the voxels.
    named = "\n".join((row.participant, row.key, row.content.axes, version))
    return VolumeRecord(
        participant=row.participant,
        device=row.device,
        manufacturer=NOT_REPORTED,
        model=NOT_REPORTED,
        region=NOT_REPORTED,
        imaging="OCT",
        laterality=row.laterality,
        height=None,
        width=None,
        num_frames=None,
        sop_instance_uid=hashlib.sha256(named.encode()).hexdigest()[:32],
        key=row.key,
        protocol="",
        content=row.content,
        version=version,
    )


def _excluded(records: Sequence[VolumeRecord], data: Data) -> dict[VolumeRecord, str]:
    """What `data.devices`, `laterality` and `volumes` leave out, and why."""
    excluded: dict[VolumeRecord, str] = {}
    for record in records:
        if data.devices is not None and record.device not in data.devices:
            excluded[record] = OTHER_DEVICE
        elif data.laterality != "both" and record.laterality != data.laterality[0].upper():
            excluded[record] = OTHER_EYE
    if data.volumes == "one":
        ranked = sorted(records, key=lambda r: (r.participant, r.device, r.laterality, r.key))
        chosen: set[str] = set()
        for record in ranked:
            if record in excluded:
                continue
            if record.participant in chosen:
                excluded[record] = NOT_THE_ONE
            chosen.add(record.participant)
    return excluded
