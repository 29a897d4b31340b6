"""Where a file's B-scans lie, every byte of the pixel data accounted for as far as it is at hand.

Sources: DICOM PS3.5, 7.1 (elements) and A.4 (compressed B-scans: items, in one or several of which each B-scan lies);
PS3.3, C.7.6.3.1.8 (the extended offset table).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from octjob.data.codestream import END
from octjob.data.excerpt import Excerpt
from octjob.data.header import DicomFile

# First byte and the one behind the last.
Span = tuple[int, int]

_PIXEL_DATA = 0x7FE0, 0x0010
_ITEM, _DELIMITER = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = (b"OB", b"OW", b"UN")
# No file needs more; each costs Python some hundred bytes.
_MAX_FRAGMENTS = 2**18
_MARKER_WITHIN = 10


class PixelError(ValueError):
    """Why the pixel data is not what the header says."""


@dataclass(frozen=True)
class PixelElement:
    """The pixel data's value: bytes `start` to `end` of the file, or up to a delimiter before `end`."""

    start: int
    end: int
    delimited: bool


def find_pixels(file: DicomFile) -> PixelElement:
    """Raises `PixelError` where there are none."""
    order = "<" if file.is_little_endian else ">"
    place, excerpt = file.header_end, file.excerpt
    if excerpt.size < place + 8 or struct.unpack(f"{order}HH", excerpt.read(place, 4)) != _PIXEL_DATA:
        raise PixelError("no pixel data: the file is cut off or holds none")
    if not file.is_implicit_vr:
        if (vr := bytes(excerpt.read(place + 4, 2))) not in _LONG_VRS:
            raise PixelError(f"pixel data of type {vr!r}")
        place += 4
    (length,) = struct.unpack(f"{order}I", excerpt.read(place + 4, 4))
    start, delimited = place + 8, length == _UNDEFINED
    return PixelElement(start, excerpt.size if delimited else start + length, delimited)


def native_span(excerpt: Excerpt, element: PixelElement, num_frames: int, frame_bytes: int) -> Span:
    """Of all voxels, stored as they are; raises `PixelError` unless they are as many bytes as there should be."""
    expected = num_frames * frame_bytes
    found = max(0, min(element.end, excerpt.size) - element.start)
    if element.delimited or found not in (expected, expected + expected % 2):
        raise PixelError(f"{found} bytes of pixel data, expected {expected} for {num_frames} B-scans")
    return element.start, element.start + expected


@dataclass(frozen=True)
class OffsetTable:
    """Where each compressed B-scan's first item begins: byte `base` + `offsets[i]` of the file."""

    base: int
    offsets: tuple[int, ...]

    def span(self, index: int, end: int) -> Span:
        """Of B-scan `index`, its items' headers included; the last goes on to `end`."""
        last = index + 1 == len(self.offsets)
        return self.base + self.offsets[index], end if last else self.base + self.offsets[index + 1]


def read_table(file: DicomFile, element: PixelElement, num_frames: int) -> OffsetTable:
    """The extended or else the basic offset table; without offsets where the file has neither.

    Raises `PixelError` where it is not one of `num_frames` B-scans in order, all of them in the file.
    """
    size = file.excerpt.size
    ((start, base),) = _items(file.excerpt, element.start, size, first_only=True)
    basic = file.excerpt.read(start, base - start)
    extended = file.dataset.get("ExtendedOffsetTable") or b""
    if len(basic) % 4 or len(extended) % 8:
        raise PixelError("its offset table is cut off")
    kind = f"<{len(extended) // 8}Q" if extended else f"<{len(basic) // 4}I"
    offsets = struct.unpack(kind, extended or basic)
    if offsets and len(offsets) != num_frames:
        raise PixelError(
            f"{len(offsets)} compressed B-scans in its offset table, the header says {num_frames}"
        )
    if offsets and (
        offsets[0] != 0 or any(a >= b for a, b in pairwise(offsets)) or base + offsets[-1] >= size
    ):
        raise PixelError("its offset table does not give the B-scans' places in order")
    return OffsetTable(base, offsets)


def compressed_spans(
    file: DicomFile, element: PixelElement, num_frames: int, wanted: Sequence[int]
) -> Mapping[int, list[Span]]:
    """The fragments of each B-scan; where only an excerpt is at hand, of those wanted and of the last one alone.

    Raises `PixelError` unless they are `num_frames` and items fill all the pixel data that is at hand; `NotHeldError`
    where that is not enough to tell.
    """
    table = read_table(file, element, num_frames)
    if table.offsets:
        numbers = range(num_frames) if file.excerpt.is_whole else {*wanted, num_frames - 1}
        return {i: _fragments(file.excerpt, element, table, i) for i in sorted(numbers)}
    fragments = _rest(file.excerpt, element, table.base)
    groups = _grouped(file.excerpt, fragments, num_frames)
    if len(groups) != num_frames:
        raise PixelError(f"{len(groups)} compressed B-scans, the header says {num_frames}")
    return dict(enumerate(groups))


def _fragments(excerpt: Excerpt, element: PixelElement, table: OffsetTable, index: int) -> list[Span]:
    start, end = table.span(index, element.end)
    if index + 1 == len(table.offsets):
        found = _rest(excerpt, element, start)
    else:
        found = list(_items(excerpt, start, end))
        if not found or found[-1][1] != end:
            raise PixelError(f"B-scan {index} does not end where its offset table has the next one begin")
    if not found:
        raise PixelError(f"B-scan {index} has no data")
    return found


def _rest(excerpt: Excerpt, element: PixelElement, place: int) -> list[Span]:
    """All items from `place` to the end of the pixel data."""
    end = min(element.end, excerpt.size)
    found = list(_items(excerpt, place, end))
    place = found[-1][1] if found else place
    if element.delimited:
        if place + 4 > end or _tag(excerpt, place) != _DELIMITER:
            raise PixelError("is cut off: nothing ends its compressed B-scans")
    elif element.end > excerpt.size:
        raise PixelError(
            f"is cut off: {element.end - excerpt.size} bytes of its compressed B-scans are missing"
        )
    return found


def _items(excerpt: Excerpt, place: int, end: int, *, first_only: bool = False) -> Iterator[Span]:
    """The values of the items from `place` on, up to a delimiter or `end`."""
    count = 0
    while place + 8 <= end and _tag(excerpt, place) != _DELIMITER:
        (length,) = struct.unpack("<I", excerpt.read(place + 4, 4))
        if _tag(excerpt, place) != _ITEM or length == _UNDEFINED:
            raise PixelError(f"its compressed B-scans have no item at byte {place}")
        if length > end - place - 8:
            raise PixelError(
                f"is cut off: the item at byte {place} of its compressed B-scans has {length} bytes"
            )
        count += 1
        if count > _MAX_FRAGMENTS:
            raise PixelError(f"its compressed B-scans are in more than {_MAX_FRAGMENTS} fragments")
        yield place + 8, place + 8 + length
        if first_only:
            return
        place += 8 + length
    if first_only:
        raise PixelError("its compressed B-scans begin with no offset table")


def _tag(excerpt: Excerpt, place: int) -> tuple[int, ...]:
    return struct.unpack("<HH", excerpt.read(place, 4))


def _grouped(excerpt: Excerpt, fragments: list[Span], num_frames: int) -> list[list[Span]]:
    """B-scans without an offset table: one in each fragment, or each up to a fragment with an end marker."""
    if len(fragments) <= num_frames:
        return [[fragment] for fragment in fragments]
    if num_frames == 1:
        return [fragments]
    groups: list[list[Span]] = [[]]
    for start, end in fragments:
        groups[-1].append((start, end))
        tail = min(_MARKER_WITHIN, end - start)
        if END in bytes(excerpt.read(end - tail, tail)):
            groups.append([])
    return groups if groups[-1] else groups[:-1]
