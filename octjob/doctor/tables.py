"""The data set's tables as they lie there now: who is listed, in which row, with which label. No volume is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from octjob.data.cohort import Cohort, find_cohort
from octjob.data.manifest import MANIFEST_KEY, read_manifest
from octjob.data.participants import Participant, list_participants
from octjob.data.table import read_table
from octjob.data.table_cohort import find_table_cohort
from octjob.data.volume_table import read_volume_table
from octjob.errors import AccessError, DataError, SpecError
from octjob.spec.experiment import Experiment
from octjob.spec.run import Run
from octjob.spec.uri import split_uri
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store

# The data set's own; `paths.labels_tsv` may name another table beside it.
OWN_TABLE = "participants.tsv"
# Of `data`, what has no part in whom it selects.
_NOT_OF_WHOM = {
    "augment", "batch_size", "val_batch_size", "num_workers", "connections", "cache_dir", "cache_limit_gib",
    "shared_cache", "profile", "min_coverage", "max_corrupt", "unit",
}  # fmt: skip


@dataclass(frozen=True)
class Refused:
    """A table that no run takes: its error, and whether it is that of the labels or that of the volumes."""

    is_labels: bool
    message: str
    hint: str


@dataclass(frozen=True, eq=False)
class Tables:
    """What the tables say to runs that select alike.

    cohort: None where a table is refused or cannot be read. order: ids of the labels' table in the order of its rows,
    with their study groups. own: the study groups of the data set's own table, by id, where labels come from another.
    labels_uri: of the table with the labels. note: why nothing could be read; empty where something was.
    """

    runs: tuple[str, ...]
    labels_uri: str
    cohort: Cohort | None = None
    order: tuple[tuple[str, str], ...] = ()
    own: Mapping[str, str] | None = None
    refused: Refused | None = None
    note: str = ""

    @property
    def person_of(self) -> Mapping[str, Participant]:
        """By id, those with a class and a usable volume."""
        return {} if self.cohort is None else {one.id: one for one in self.cohort.participants}


def read_tables(runs: Sequence[tuple[str, Run]]) -> list[Tables]:
    """One for each way in which the runs, given with their names, select participants and volumes."""
    alike: dict[str, tuple[Run, list[str]]] = {}
    for name, run in runs:
        alike.setdefault(_selection(run.config), (run, []))[1].append(name)
    return [_read(run.config, tuple(names)) for run, names in alike.values()]


def selects(tables: Sequence[Tables], name: str) -> Tables | None:
    """Those of the run of this name."""
    return next((one for one in tables if name in one.runs), None)


def of_same_data(one: Tables, participants: Collection[str]) -> Tables:
    """The tables as those of finished runs, which scored `participants`: none where they know nobody of them, since
    another data set lies there, or where no run would take them now."""
    if one.refused is not None:
        return Tables(
            one.runs, one.labels_uri, note=f"the data set's tables, as they are now: {one.refused.message}"
        )
    listed = {identity for identity, _ in one.order}
    if not listed or not participants or not listed.isdisjoint(participants):
        return one
    note = f"{one.labels_uri}: lists nobody who was scored, so that it is another data set now; not looked at"
    return Tables(one.runs, one.labels_uri, note=note)


def _selection(config: Experiment) -> str:
    data = config.data.model_dump_json(exclude=_NOT_OF_WHOM)
    return f"{config.paths.labels_tsv}\n{data}\n{config.classes.model_dump_json(exclude={'short_names'})}"


def _read(config: Experiment, names: tuple[str, ...]) -> Tables:
    key = config.paths.labels_tsv.rpartition("/")[2]
    try:
        if config.data.is_table:
            return _read_own(config, names)
        return _read_from(open_store(str(config.data.source)), key, config, names)
    except (AccessError, SpecError) as error:
        # The data set may lie where only the runs reach it.
        return Tables(names, key, note=f"the data set's tables: {error.message}")


def _read_from(store: ObjectStore, key: str, config: Experiment, names: tuple[str, ...]) -> Tables:
    uri = store.uri(key)
    for is_labels in (True, False):
        try:
            if is_labels:
                list_participants(store, key, config.classes)
            else:
                read_manifest(store, MANIFEST_KEY)
        except (DataError, AccessError) as error:
            # A store that refuses may answer the runs; what is not there is not there for them either.
            if isinstance(error, AccessError) and store.exists(key if is_labels else MANIFEST_KEY):
                raise
            return Tables(names, uri, refused=Refused(is_labels, error.message, error.hint))
    try:
        cohort = find_cohort(store, key, MANIFEST_KEY, config)
    except (DataError, SpecError) as error:
        return Tables(names, uri, refused=Refused(False, error.message, error.hint))
    return Tables(names, uri, cohort, tuple(_groups(store, key)), _own_groups(store, key))


def _read_own(config: Experiment, names: tuple[str, ...]) -> Tables:
    """Of `data.layout: table`: one table says both."""
    uri = str(config.data.table)
    try:
        table = read_volume_table(config.data, config.classes)
    except (DataError, AccessError) as error:
        root, key = split_uri(uri)
        if isinstance(error, AccessError) and open_store(root).exists(key):
            raise
        return Tables(names, uri, refused=Refused(True, error.message, error.hint))
    try:
        cohort = find_table_cohort(config).cohort
    except (DataError, SpecError) as error:
        return Tables(names, uri, refused=Refused(False, error.message, error.hint))
    group_of = {one.id: one.study_group for one in table.participants}
    ids = dict.fromkeys(row.participant for row in sorted(table.rows, key=lambda row: row.number))
    return Tables(names, uri, cohort, tuple((one, group_of[one]) for one in ids))


def _own_groups(store: ObjectStore, key: str) -> dict[str, str] | None:
    """None where labels come from the data set's own table, or it is none."""
    if key == OWN_TABLE or not store.exists(OWN_TABLE):
        return None
    try:
        return dict(_groups(store, OWN_TABLE))
    except DataError:
        return None


def _groups(store: ObjectStore, key: str) -> list[tuple[str, str]]:
    table = read_table(store, key, ("study_group",))
    return [(row[table.id_column], row["study_group"]) for _, row in table.rows()]
