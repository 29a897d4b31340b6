"""Bytes of the wanted B-scans alone: never beyond the file, and read as the whole file is read."""

import contextlib
import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite, uid
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames

from octjob.data import extents
from octjob.data.dicom import read_volume
from octjob.data.excerpt import Excerpt, NotHeldError
from octjob.data.extents import extents_for
from octjob.data.quarantine import CorruptVolumeError
from octjob.data.taps import touched_frames
from octjob.errors import DataError
from tests.doubles.aireadi_bucket import make_dicom, speckle

URI = "file:///bucket/a.dcm"
SHAPE = (24, 14, 11)
NATIVE = [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian]
COMPRESSED = [uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless]
pytestmark = pytest.mark.filterwarnings("ignore")


def repacked(**options: object) -> Callable[[FileDataset], None]:
    def change(ds: FileDataset) -> None:
        frames = list(generate_frames(ds.PixelData, number_of_frames=SHAPE[0]))
        if options.get("extended"):
            ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(frames)
        else:
            ds.PixelData = encapsulate(frames, **options)

    return change


def made(syntax: uid.UID, dtype: str = "u1", **options: object) -> bytes:
    return make_dicom(speckle(SHAPE, dtype), syntax=syntax, change=repacked(**options) if options else None)


FILES = {
    **{
        f"{syntax.name}, {dtype}": made(syntax, dtype)
        for syntax in NATIVE + COMPRESSED
        for dtype in ("u1", "u2")
    },
    "fragments": made(uid.JPEGLSLossless, fragments_per_frame=2),
    "extended table": made(uid.JPEG2000Lossless, extended=True),
}


@pytest.fixture(autouse=True, scope="module")
def small_files_count():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extents, "_LEAST_GAP_BYTES", 1)
        patch.setattr(extents, "_LEAST_BYTES_SAVED", 1)
        patch.setattr(extents, "_LEAST_SHARE_SAVED", 0.0)
        yield


def excerpt_of(data: bytes, head: int, depth: int) -> Excerpt | None:
    """What would be fetched, every promise of `extents_for` held against it."""
    spans = extents_for(data[:head], len(data), depth)
    if spans is None:
        return None
    edges = [head, *(edge for span in spans for edge in span), len(data)]
    assert edges == sorted(edges)
    assert all(start < end for start, end in spans)
    held = [(0, data[:head]), *((start, data[start:end]) for start, end in spans)]
    return Excerpt(len(data), held)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(list(FILES)), depth=st.integers(1, 24), head=st.integers(1500, 3000))
def test_what_is_fetched_reads_as_the_whole_file_does(kind: str, depth: int, head: int) -> None:
    data = FILES[kind]
    excerpt = excerpt_of(data, min(head, len(data) - 1), depth)
    assume(excerpt is not None)
    whole, found = read_volume(data, URI), read_volume(excerpt, URI, SHAPE, depth)
    frames = touched_frames(SHAPE[0], depth)
    assert found.frames == (None if len(frames) == SHAPE[0] else frames)
    assert found.shape == whole.shape == SHAPE
    assert found.stored_DHW.dtype == whole.stored_DHW.dtype
    np.testing.assert_array_equal(found.stored_DHW, whole.stored_DHW[list(frames)])
    assert (found.sop_instance_uid, found.slope) == (whole.sop_instance_uid, whole.slope)


@pytest.mark.parametrize("kind", list(FILES))
def test_less_than_the_whole_is_fetched(kind: str) -> None:
    data = FILES[kind]
    excerpt = excerpt_of(data, 1500, 3)
    assert excerpt is not None
    fetched = sum(len(content) for _, content in excerpt.held)
    assert fetched < 1500 + len(data) * 8 / 24  # six B-scans are touched, and the last one ends the file


def test_where_the_first_bytes_do_not_say_it_the_whole_file_is_read() -> None:
    shape = (24, 40, 40)
    deflated = make_dicom(speckle(shape), syntax=uid.DeflatedExplicitVRLittleEndian)
    no_table = made(uid.JPEGLSLossless, has_bot=False)
    native = FILES[f"{uid.ExplicitVRLittleEndian.name}, u1"]
    cut = pixels_at(native) + 8
    for data, head in ((deflated, 2000), (no_table, 2000), (native, cut), (native, 10), (native, 0)):
        assert extents_for(data[:head], len(data), 3) is None
    assert extents_for(native, len(native), 3) is None
    assert extents_for(native[:2000], len(native), None) is None
    assert extents_for(native[:2000], len(native) - 1, 3) is None  # cut off: read whole, it says so
    assert extents_for(b"<html>" * 500, 10**6, 3) is None


def test_little_to_save_is_not_worth_the_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    native = FILES[f"{uid.ExplicitVRLittleEndian.name}, u1"]
    assert extents_for(native[:2000], len(native), 3) is not None
    for name, value in (("_LEAST_BYTES_SAVED", 10**6), ("_LEAST_SHARE_SAVED", 0.9), ("_MOST_EXTENTS", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(extents, name, value)
            assert extents_for(native[:2000], len(native), 3) is None
    monkeypatch.setattr(extents, "_LEAST_GAP_BYTES", 10**6)
    assert len(extents_for(native[:2000], len(native), 3) or ()) == 1


def pixels_at(data: bytes) -> int:
    return max(data.rfind(struct.pack(f"{order}HH", 0x7FE0, 0x0010)) for order in "<>")


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(list(FILES)), depth=st.integers(1, 23), data=st.data())
def test_a_damaged_header_or_table_gives_the_right_voxels_or_an_error(
    kind: str, depth: int, data: st.DataObject
) -> None:
    plain = FILES[kind]
    table = 8 + 4 * SHAPE[0] if "Endian" not in kind else 0
    spoilt = bytearray(plain)
    for place in data.draw(
        st.lists(st.integers(128, pixels_at(plain) + 12 + table - 1), min_size=1, max_size=3)
    ):
        spoilt[place] ^= data.draw(st.integers(1, 255))
    excerpt = excerpt_of(bytes(spoilt), 2000, depth)
    if excerpt is None:
        return
    try:
        found = read_volume(excerpt, URI, SHAPE, depth)
    except DataError:
        return
    right = read_volume(plain, URI)
    with contextlib.suppress(
        DataError
    ):  # a header may still say other things of the voxels, such as their sign
        right = read_volume(bytes(spoilt), URI, SHAPE)
    frames = list(touched_frames(SHAPE[0], depth))
    np.testing.assert_array_equal(found.stored_DHW, right.stored_DHW[frames])


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(list(FILES)),
    depth=st.integers(1, 24),
    head=st.integers(0, 4000),
    size=st.integers(0, 20_000) | st.integers(0, 2**64),
    data=st.data(),
)
def test_whatever_the_head_and_the_size_say_nothing_beyond_the_file_is_asked_for(
    kind: str, depth: int, head: int, size: int, data: st.DataObject
) -> None:
    spoilt = bytearray(FILES[kind])
    for place in data.draw(st.lists(st.integers(128, len(spoilt) - 1), max_size=4)):
        spoilt[place] ^= data.draw(st.integers(1, 255))
    taken = bytes(spoilt[: min(head, size)])
    spans = extents_for(taken, size, depth)
    if spans is not None:
        edges = [len(taken), *(edge for span in spans for edge in span), size]
        assert edges == sorted(edges)
        assert len(spans) <= 2 * depth + 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda table: [*table[:5], table[5] + 2, *table[6:]], "no item at byte|does not end where"),
        (lambda table: [*table[:5], table[4], *table[6:]], "in order"),
        (lambda table: [8, *table[1:]], "in order"),
        (lambda table: [*table[:-1], 10**9], "in order"),
        (lambda table: table[:-1], "23 compressed B-scans in its offset table, the header says 24"),
        (lambda table: [*table, table[-1] + 8], "25 compressed B-scans in its offset table"),
    ],
)
def test_an_offset_table_that_lies_is_corrupt_in_the_whole_file(change, reason: str) -> None:
    dataset = dcmread(io.BytesIO(made(uid.JPEGLSLossless)))
    value = dataset.PixelData
    (length,) = struct.unpack_from("<I", value, 4)
    table = change(list(struct.unpack_from(f"<{length // 4}I", value, 8)))
    dataset.PixelData = (
        struct.pack(f"<HHI{len(table)}I", 0xFFFE, 0xE000, 4 * len(table), *table) + value[8 + length :]
    )
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    with pytest.raises(CorruptVolumeError, match=reason):
        read_volume(out.getvalue(), URI, SHAPE)


def test_a_file_cut_off_behind_what_is_touched_is_noticed_in_an_excerpt_too() -> None:
    for kind in ("fragments", "extended table", f"{uid.RLELossless.name}, u1"):
        data = FILES[kind][:-30]
        excerpt = excerpt_of(data, 2000, 3)
        if excerpt is not None:
            with pytest.raises(CorruptVolumeError, match="cut off"):
                read_volume(excerpt, URI, SHAPE, 3)


def test_an_excerpt_gives_what_it_holds_and_nothing_else() -> None:
    excerpt = Excerpt(20, [(0, b"abc"), (3, b"defg"), (10, b"k")])
    assert bytes(excerpt.read(0, 7)) == b"abcdefg"
    assert bytes(excerpt.read(2, 3)) == b"cde"
    assert bytes(excerpt.read(10, 1)) == b"k"
    assert (excerpt.open().read(), excerpt.is_whole, Excerpt.whole(b"ab").is_whole) == (b"abc", False, True)
    for start, length in ((5, 3), (9, 1), (10, 2), (-1, 2), (19, 2), (30, 1), (4, -1)):
        with pytest.raises(NotHeldError):
            excerpt.read(start, length)
    for held in ([(0, b"abc"), (2, b"d")], [(19, b"ab")], [(-1, b"a")]):
        with pytest.raises(ValueError, match="of a file of 20"):
            Excerpt(20, held)
