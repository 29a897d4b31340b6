"""A manifest for a bucket that has none: every DICOM header of the layout, read in ranges."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from octjob.data.header import Header, read_header
from octjob.data.manifest import MANIFEST_COLUMNS, MANIFEST_KEY, NOT_REPORTED
from octjob.data.protocols import PROTOCOL_REGIONS, layout_folders, protocol_of
from octjob.data.quarantine import CorruptVolumeError
from octjob.errors import DataError
from octjob.storage.base import AlreadyExistsError, ObjectInfo, ObjectStore
from octjob.tick import Tick

STRUCTURAL_PREFIX = "retinal_oct/structural_oct/"
UNKNOWN_REGION = "Unknown"

# A header with the functional groups of 128 B-scans is some 60 KB.
_BLOCK_BYTES = 128 * 1024


@dataclass(frozen=True)
class IndexReport:
    """What was written and what could not be. `unreadable`: URI to reason; `unknown_region`: keys whose
    protocol is none of the published ones (their region is `Unknown`); `not_dicom`: objects without a .dcm
    name."""

    manifest_uri: str
    num_volumes: int
    volumes_per_device: Mapping[str, int]
    unreadable: Mapping[str, str]
    unknown_region: tuple[str, ...]
    not_dicom: tuple[str, ...]


def build_index(
    source_store: ObjectStore, num_workers: int = 16, progress: Tick | None = None
) -> IndexReport:
    """Write `retinal_oct/manifest.tsv`, create-only, in AI-READI's 15 columns.

    `progress(done, total)` is called after each file. Raises `AlreadyExistsError` if there is a manifest,
    `DataError` if no header could be read or two files hold the same volume, `AccessError` if the store
    refuses.
    """
    if source_store.exists(MANIFEST_KEY):
        raise AlreadyExistsError(
            f"{source_store.uri(MANIFEST_KEY)} is there already",
            "Nothing to do; delete it first to index anew.",
        )
    objects = list(source_store.list(STRUCTURAL_PREFIX))
    dicoms = [info for info in objects if info.key.lower().endswith((".dcm", ".dicom"))]
    if not dicoms:
        raise DataError(
            f"{source_store.uri(STRUCTURAL_PREFIX)}: no DICOM files among {len(objects)} objects",
            "Give the root of the AI-READI data set, the folder that holds retinal_oct/.",
        )
    headers, unreadable = _read_headers(source_store, dicoms, num_workers, progress)
    if not headers:
        key, reason = next(iter(unreadable.items()))
        raise DataError(
            f"none of {len(dicoms)} files could be read; first: {key}: {reason}", "Check the source."
        )
    rows = sorted(
        (_row(key, header) for key, header in headers.items()), key=lambda r: (r["person_id"], r["filepath"])
    )
    _require_unique(rows, source_store)
    source_store.put(MANIFEST_KEY, _tsv(rows), if_absent=True)
    return IndexReport(
        manifest_uri=source_store.uri(MANIFEST_KEY),
        num_volumes=len(rows),
        volumes_per_device=dict(sorted(Counter(_device(key) for key in headers).items())),
        unreadable=unreadable,
        unknown_region=tuple(
            r["filepath"].lstrip("/") for r in rows if r["anatomic_region"] == UNKNOWN_REGION
        ),
        not_dicom=tuple(info.key for info in objects if info not in dicoms),
    )


class RangedReader(io.RawIOBase):
    """A seekable file over ranged reads of one object; wrap it in `io.BufferedReader`."""

    def __init__(self, store: ObjectStore, info: ObjectInfo) -> None:
        self._store, self._info, self._position = store, info, 0
        self.name = store.uri(info.key)  # pydicom asks a file for its name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._info.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        length = min(len(buffer), self._info.size - self._position)
        if length <= 0:
            return 0
        data = self._store.get_range(self._info.key, self._position, length)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _read_headers(
    store: ObjectStore, dicoms: list[ObjectInfo], num_workers: int, progress: Tick | None
) -> tuple[dict[str, Header], dict[str, str]]:
    def one(info: ObjectInfo) -> Header | CorruptVolumeError:
        with io.BufferedReader(RangedReader(store, info), _BLOCK_BYTES) as file:
            try:
                return read_header(file, store.uri(info.key))
            except CorruptVolumeError as error:
                return error

    headers: dict[str, Header] = {}
    unreadable: dict[str, str] = {}
    with ThreadPoolExecutor(max(1, num_workers), thread_name_prefix="index") as pool:
        try:
            for done, (info, found) in enumerate(zip(dicoms, pool.map(one, dicoms), strict=True), start=1):
                problem = (
                    found.reason if isinstance(found, CorruptVolumeError) else _incomplete(info.key, found)
                )
                if problem:
                    unreadable[store.uri(info.key)] = problem
                elif isinstance(found, Header):
                    headers[info.key] = found
                if progress:
                    progress(done, len(dicoms))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return headers, unreadable


def _incomplete(key: str, header: Header) -> str:
    if not header.laterality:
        return "no laterality in the header"
    return "" if layout_folders(key) or header.participant else "no participant in path or header"


def _row(key: str, header: Header) -> dict[str, str]:
    folders = layout_folders(key)
    protocol = protocol_of(header.protocol_name) or protocol_of(key.rsplit("/", 1)[-1])
    spacing = header.spacing_mm
    return {
        "person_id": folders[1] if folders else header.participant,
        "manufacturer": header.manufacturer,
        "manufacturers_model_name": header.model,
        "anatomic_region": PROTOCOL_REGIONS.get(protocol, UNKNOWN_REGION),
        "imaging": "OCT",
        "laterality": header.laterality,
        "height": str(header.rows),
        "width": str(header.columns),
        "number_of_frames": str(header.num_frames),
        "pixel_spacing": f"[{spacing[1]:g}, {spacing[2]:g}]" if spacing else NOT_REPORTED,
        "slice_thickness": f"{spacing[0]:g}" if spacing else NOT_REPORTED,
        "sop_instance_uid": header.sop_instance_uid,
        "filepath": f"/{key}",
        "reference_instance_uid": NOT_REPORTED,
        "reference_filepath": NOT_REPORTED,
    }


def _device(key: str) -> str:
    folders = layout_folders(key)
    return folders[0] if folders else "outside the layout"


def _require_unique(rows: list[dict[str, str]], store: ObjectStore) -> None:
    first: dict[str, str] = {}
    for row in rows:
        uid, path = row["sop_instance_uid"], row["filepath"]
        if uid in first:
            raise DataError(
                f"{store.root}: {first[uid]} and {path} hold the same volume {uid}", "Remove one of the two."
            )
        first[uid] = path


def _tsv(rows: list[dict[str, str]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, MANIFEST_COLUMNS, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()
