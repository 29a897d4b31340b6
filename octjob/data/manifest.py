"""Which OCT volumes exist: retinal_oct/manifest.tsv as typed rows. The only way octjob finds volumes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from octjob.data.content import DICOM, Content
from octjob.data.protocols import device_of, protocol_of
from octjob.data.table import Table, read_table
from octjob.errors import AccessError, DataError, SpecError
from octjob.spec.uri import check_key
from octjob.storage.base import ObjectNotFoundError, ObjectStore

MANIFEST_KEY = "retinal_oct/manifest.tsv"
MANIFEST_COLUMNS = (
    "person_id",
    "manufacturer",
    "manufacturers_model_name",
    "anatomic_region",
    "imaging",
    "laterality",
    "height",
    "width",
    "number_of_frames",
    "pixel_spacing",
    "slice_thickness",
    "sop_instance_uid",
    "filepath",
    "reference_instance_uid",
    "reference_filepath",
)
# What a volume cannot be identified, found or selected without. The three sizes are read where they are there.
_REQUIRED = (*MANIFEST_COLUMNS[1:6], "sop_instance_uid", "filepath")
NOT_REPORTED = "Not reported"
_MAX_DIGITS = 9
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class VolumeRecord:
    """One volume as the manifest, or a table of one's own, describes it. `height` and `width` are rows and columns of
    a B-scan in voxels, None where the manifest does not say; `device` is AI-READI's folder name; `protocol` the
    published stem, empty where the file name shows none; `key` the object below the data set's root, or its full URI.

    A table's volumes have no UID that their files would state: theirs follows from participant, path and `version`,
    16 hex digits that change when the file does, empty for the manifest's. `laterality` is empty where no table says
    it.
    """

    participant: str
    device: str
    manufacturer: str
    model: str
    region: str
    imaging: str
    laterality: str
    height: int | None
    width: int | None
    num_frames: int | None
    sop_instance_uid: str
    key: str
    protocol: str
    content: Content = DICOM
    version: str = ""

    @property
    def states_uid(self) -> bool:
        """Whether the file itself says `sop_instance_uid`."""
        return not self.version

    @property
    def shape(self) -> tuple[int | None, int | None, int | None]:
        """(B-scans, rows, columns), as far as the manifest says."""
        return self.num_frames, self.height, self.width


def read_manifest(store: ObjectStore, key: str = MANIFEST_KEY) -> tuple[VolumeRecord, ...]:
    """All volumes of the manifest, by participant and UID.

    Raises `AccessError` if there is no manifest, `DataError` naming file and line if a row cannot be
    understood or a volume is listed twice.
    """
    try:
        table = read_table(store, key, _REQUIRED)
    except ObjectNotFoundError as error:
        raise AccessError(
            f"{store.uri(key)}: no manifest of the OCT volumes",
            f"For a bucket without one, `octjob data index {store.root}` writes it.",
        ) from error
    records: dict[str, VolumeRecord] = {}
    lines: dict[str, int] = {}
    for line, row in table.rows():
        record = _record(table, line, row)
        uid = record.sop_instance_uid
        if uid in records:
            raise DataError(
                f"{table.uri}:{line}: volume {uid} is listed twice (first on line {lines[uid]})",
                "Each volume must be counted once; remove the other row.",
            )
        records[uid], lines[uid] = record, line
    return tuple(sorted(records.values(), key=lambda r: (r.participant, r.sop_instance_uid)))


def _record(table: Table, line: int, row: dict[str, str]) -> VolumeRecord:
    uid, key = row["sop_instance_uid"], _key(table, line, row["filepath"])
    laterality = row["laterality"].upper()
    if laterality not in ("L", "R"):
        raise DataError(f"{table.uri}:{line}: laterality {row['laterality']!r}", "Expected L or R.")
    if not _UID.fullmatch(uid):
        raise DataError(
            f"{table.uri}:{line}: sop_instance_uid {uid!r}", "Expected digits and dots, at most 64."
        )
    model = row["manufacturers_model_name"]
    return VolumeRecord(
        participant=row[table.id_column],
        device=device_of(key, model),
        manufacturer=row["manufacturer"],
        model=model,
        region=row["anatomic_region"],
        imaging=row["imaging"],
        laterality=laterality,
        height=_count(table, line, row, "height"),
        width=_count(table, line, row, "width"),
        num_frames=_count(table, line, row, "number_of_frames"),
        sop_instance_uid=uid,
        key=key,
        protocol=protocol_of(key.rsplit("/", 1)[-1]),
    )


def _key(table: Table, line: int, filepath: str) -> str:
    """The key of a manifest's path: the leading slash means the data set's root, and nothing leads out of it."""
    key = filepath.lstrip("/")
    hint = "Every volume needs its path below the data set, such as /retinal_oct/structural_oct/..."
    if not key:
        raise DataError(f"{table.uri}:{line}: empty filepath", hint)
    shown = repr(filepath if len(filepath) <= 200 else f"{filepath[:200]}...")
    if "://" in key or "\\" in key:
        raise DataError(f"{table.uri}:{line}: filepath {shown} is no path below the data set", hint)
    try:
        return check_key(key)
    except SpecError as error:
        reason = error.message.removeprefix(f"key {key!r} ")
        raise DataError(f"{table.uri}:{line}: filepath {shown} {reason}", hint) from error


def _count(table: Table, line: int, row: dict[str, str], column: str) -> int | None:
    if row.get(column, NOT_REPORTED) == NOT_REPORTED:
        return None
    text = row[column].removesuffix(".0")  # written by pandas where another row has none
    if not text.isdecimal() or len(text) > _MAX_DIGITS or int(text) < 1:
        raise DataError(
            f"{table.uri}:{line}: {column} {row[column][:50]!r}", "Expected a whole number above 0."
        )
    return int(text)
