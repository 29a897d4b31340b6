"""What a table of one's own says, for people: who takes part, what is read, and which axis of the files is which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from octjob.data.content import Content
from octjob.data.formats import HEAD_BYTES, FormatError, shape_in
from octjob.data.manifest import VolumeRecord
from octjob.data.participants import SPLITS
from octjob.data.table_cohort import TableCohort
from octjob.errors import DataError
from octjob.extras import is_installed
from octjob.spec.experiment import Experiment
from octjob.storage.base import ObjectStore
from octjob.textgrid import grid

_DICOM_HEAD_BYTES = 2**18
_NUM_NAMED = 20
# By the slowest axis first: what the usual reader's array is indexed by.
_INDEXED = {"NIfTI": "nibabel's", "NRRD": "pynrrd's", "NPY": "numpy's"}


def describe(found: TableCohort, experiment: Experiment, store: ObjectStore) -> Iterator[str]:
    """Lines: participants by class and split, volumes by device and split, columns, and the axes with shapes.

    Reads the first bytes of one file of each format and device.
    """
    cohort, sheet = found.cohort, found.table.sheet
    classes = experiment.classes
    yield from _counted(
        "class (participants)", ((classes.short[p.label], p.split) for p in cohort.participants)
    )
    yield from _counted("device (volumes)", ((v.record.device, v.participant.split) for v in cohort.volumes))
    called = experiment.data.columns
    named = [f"{name} ({called[name]})" if name in called else name for name in sheet.names]
    yield f"columns read: {', '.join(named)}"
    if sheet.unread:
        more = ", ..." if len(sheet.unread) > _NUM_NAMED else ""
        yield f"columns not read: {', '.join(sheet.unread[:_NUM_NAMED])}{more}"
    firsts: dict[tuple[str, str], VolumeRecord] = {}
    for volume in cohort.volumes:
        firsts.setdefault((volume.record.content.format, volume.record.device), volume.record)
    yield "axes: D B-scans, H rows (depth), W columns; one file of each format and device:"
    for record in firsts.values():
        yield f"  {record.key} ({record.device}): {_axes(record, store)}"


def _counted(what: str, pairs: Iterable[tuple[str, str]]) -> list[str]:
    counts = Counter(pairs)
    splits = [split for split in SPLITS if any(split == s for _, s in counts)]
    names = sorted({name for name, _ in counts})
    rows = [[name, *(str(counts[name, split]) for split in splits)] for name in names]
    return grid([what, *splits], rows, [False, *(True for _ in splits)])


def _axes(record: VolumeRecord, store: ObjectStore) -> str:
    content = record.content
    try:
        if content.format == "DICOM":
            shape = _dicom_shape(record, store)
        else:
            shape = shape_in(store.get_range(record.key, 0, HEAD_BYTES), content)
    except FormatError as error:
        return f"cannot be read, it {error}"
    except DataError as error:
        return f"shape not read here: {error.message} ({error.hint})"
    d, h, w = shape
    return f"D {d} x H {h} x W {w}, {_indexed(content)}"


def _indexed(content: Content) -> str:
    if content.format == "DICOM":
        return "as DICOM orders frames, rows and columns"
    axes = content.axes.lower() if content.format == "NPY" else content.axes.lower()[::-1]
    return f"{_INDEXED[content.format]} x[{', '.join(axes)}]"


def _dicom_shape(record: VolumeRecord, store: ObjectStore) -> tuple[int, int, int]:
    if not is_installed("pydicom"):
        raise DataError(
            "DICOM volumes need pydicom, which is not installed", "Run: pip install 'octjob[train]'"
        )
    from octjob.data.header import read_header

    header = read_header(store.get_range(record.key, 0, _DICOM_HEAD_BYTES), store.uri(record.key))
    return header.num_frames, header.rows, header.columns
