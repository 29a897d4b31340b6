"""Which bytes of a file hold the B-scans that a resize touches, told from its first bytes.

A function of those bytes alone: what they say is checked against the file's size, and where they do not say it, or
little would be saved, the whole file is the answer. So is it for a file in which anything is wrong: read whole, it
says what.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pydicom import uid

from octjob.data.dicom import DeclaredShape
from octjob.data.excerpt import Excerpt
from octjob.data.header import READ_ERRORS, DicomFile, open_dicom, parse_header
from octjob.data.layout import Span, find_pixels, native_span, read_table
from octjob.data.pixels import NATIVE, stored_type
from octjob.data.quarantine import CorruptVolumeError
from octjob.data.taps import touched_frames

# The header of 512 B-scans with functional groups of their own is some 240 KB.
HEAD_BYTES = 2**18
# A request more costs about as much as this many bytes more.
_LEAST_GAP_BYTES = 2**19
_MOST_EXTENTS = 512
_LEAST_BYTES_SAVED = 2**23
_LEAST_SHARE_SAVED = 0.25


def may_save(size: int, declared: DeclaredShape, depth: int | None) -> bool:
    """Whether it is worth asking for the first bytes of a file of `size` bytes, of whose shape the manifest says
    `declared`: enough of its B-scans may be left out."""
    num_frames = declared[0]
    if depth is None or num_frames is None or num_frames < 1:
        return False
    left_out = 1 - len(touched_frames(num_frames, depth)) / num_frames
    return left_out >= _LEAST_SHARE_SAVED and left_out * size >= _LEAST_BYTES_SAVED


def extents_for(head: bytes, size: int, depth: int | None) -> tuple[Span, ...] | None:
    """The spans (first byte, the one behind the last) to read behind `head`, the first bytes of a DICOM file of
    `size` bytes, to resize it to `depth`; ascending and disjoint, none beyond the file. None: read all of it."""
    if depth is None or len(head) >= size:
        return None
    try:
        file = open_dicom(Excerpt(size, ((0, head),)), "")
        found = _frame_spans(file, depth)
    except (CorruptVolumeError, *READ_ERRORS):
        return None
    if found is None:
        return None
    spans = _merged((max(start, len(head)), end) for start, end in found if end > len(head))
    saved = size - len(head) - sum(end - start for start, end in spans)
    if saved < max(_LEAST_BYTES_SAVED, _LEAST_SHARE_SAVED * size) or len(spans) > _MOST_EXTENTS:
        return None
    return tuple(spans)


def _frame_spans(file: DicomFile, depth: int) -> list[Span] | None:
    """Of the B-scans that are touched, and of the compressed ones' last, behind which the pixel data must end; None
    where the head does not say where they lie."""
    header = parse_header(file.dataset, "")
    element, num_frames, size = find_pixels(file), header.num_frames, file.excerpt.size
    touched = touched_frames(num_frames, depth)
    if header.transfer_syntax == uid.DeflatedExplicitVRLittleEndian:
        return None
    if header.transfer_syntax in NATIVE:
        num_bytes = math.prod((header.rows, header.columns, stored_type(file.dataset).itemsize))
        start, _ = native_span(file.excerpt, element, num_frames, num_bytes)
        return [(start + i * num_bytes, start + (i + 1) * num_bytes) for i in touched]
    table = read_table(file, element, num_frames)
    if not table.offsets:
        return None
    return [table.span(i, min(element.end, size)) for i in sorted({*touched, num_frames - 1})]


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Ascending spans without the gaps that are not worth a request."""
    merged: list[Span] = []
    for start, end in spans:
        if merged and start - merged[-1][1] < _LEAST_GAP_BYTES:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged
