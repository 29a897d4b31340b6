"""Real DICOM files of every transfer syntax: the exact voxels, or an error that says why not."""

import contextlib
import io
import tracemalloc

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames

from octjob.data.dicom import available_decoders, read_volume
from octjob.data.header import read_header
from octjob.data.quarantine import CorruptVolumeError
from octjob.errors import DataError
from tests.doubles.aireadi_bucket import make_dicom, speckle

URI = "file:///bucket/retinal_oct/a.dcm"
SHAPE = (5, 14, 11)
UNCOMPRESSED = [
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
]
LOSSLESS = [
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
]
SIGNED = [*UNCOMPRESSED, uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless]


def name(value: object) -> str:
    return value.name if isinstance(value, uid.UID) else str(value)


@pytest.mark.parametrize("syntax", UNCOMPRESSED + LOSSLESS, ids=name)
@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("shape", [(5, 14, 11), (1, 9, 9)])
def test_every_transfer_syntax_gives_the_exact_voxels(
    syntax: uid.UID, dtype: str, shape: tuple[int, int, int]
) -> None:
    x = speckle(shape, dtype)
    raw = read_volume(make_dicom(x, syntax=syntax, instance_uid="1.2.77", laterality="L"), URI)
    np.testing.assert_array_equal(raw.stored_DHW, x)
    assert raw.stored_DHW.dtype == x.dtype
    assert (raw.transfer_syntax, raw.sop_instance_uid, raw.laterality) == (syntax, "1.2.77", "L")


@pytest.mark.parametrize("syntax", SIGNED, ids=name)
def test_signed_values_stay_signed(syntax: uid.UID) -> None:
    x = speckle((3, 14, 11), "i2")
    np.testing.assert_array_equal(read_volume(make_dicom(x, syntax=syntax), URI).stored_DHW, x)


def test_signed_12_bit_values_in_a_codestream_that_knows_no_sign() -> None:
    x = (speckle((3, 14, 11), "i2") >> 4).astype("i2")

    def twelve_bits(ds: FileDataset) -> None:
        import imagecodecs

        ds.BitsStored, ds.HighBit = 12, 11
        ds.PixelData = encapsulate([imagecodecs.jpegls_encode(frame.view("u2") & 0xFFF) for frame in x])

    data = make_dicom(x, syntax=uid.JPEGLSLossless, change=twelve_bits)
    np.testing.assert_array_equal(read_volume(data, URI).stored_DHW, x)


def test_lossy_jpeg_is_close() -> None:
    x = np.add.outer(np.arange(4) * 10, np.add.outer(np.arange(32), np.arange(24))).astype(np.uint8)
    raw = read_volume(make_dicom(x, syntax=uid.JPEGBaseline8Bit), URI)
    assert np.abs(raw.stored_DHW.astype(int) - x).max() <= 3


def test_every_decoder_is_installed() -> None:
    missing = [syntax for syntax, there in available_decoders().items() if not there]
    assert missing == []
    assert len(available_decoders()) == 16


def test_rescale_is_applied_and_the_stored_values_are_kept() -> None:
    def rescale(ds: FileDataset) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = "0.5", "-7"

    x = speckle()
    raw = read_volume(make_dicom(x, change=rescale), URI)
    np.testing.assert_array_equal(raw.x_DHW, x.astype(np.float32) * 0.5 - 7)
    np.testing.assert_array_equal(raw.stored_DHW, x)
    assert raw.x_DHW.dtype == np.float32


def test_rescale_in_the_shared_functional_groups() -> None:
    def rescale(ds: FileDataset) -> None:
        item = Dataset()
        item.RescaleSlope, item.RescaleIntercept, item.RescaleType = "3", "1", "US"
        ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = [item]

    raw = read_volume(make_dicom(speckle(), change=rescale), URI)
    assert (raw.slope, raw.intercept) == (3.0, 1.0)


@pytest.mark.parametrize(
    ("where", "spacing", "source"),
    [
        ("shared", (0.05, 0.004, 0.012), "shared"),
        ("per-frame", (0.05, 0.004, 0.012), "per-frame"),
        ("per-frame differing", None, "per-frame"),
        ("top-level", (0.05, 0.004, 0.012), "top-level"),
        ("none", None, "none"),
    ],
)
def test_spacing_is_found_where_it_is_and_never_invented(where: str, spacing: object, source: str) -> None:
    raw = read_volume(make_dicom(speckle(), spacing=where), URI)
    assert (raw.spacing_mm, raw.spacing_source) == (spacing, source)


def set_to(**values: object):
    def change(ds: FileDataset) -> None:
        for key, value in values.items():
            setattr(ds, key, value)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_to(SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.5.7"), "not Ophthalmic Tomography Image"),
        (set_to(NumberOfFrames=9), "expected 1080 for 9 B-scans"),
        (set_to(NumberOfFrames=7), "expected 840 for 7 B-scans"),
        (set_to(NumberOfFrames=0), "NumberOfFrames is"),
        (set_to(Rows=13), "expected 1040"),
        (set_to(PhotometricInterpretation="MONOCHROME1"), "MONOCHROME1"),
        (set_to(SamplesPerPixel=3), "3 samples per voxel"),
        (set_to(BitsAllocated=32), "32 bits"),
        (set_to(BitsStored=9), "9 of 8 bits"),
        (set_to(HighBit=6), "the highest is bit 6"),
        (set_to(RescaleSlope="0"), "rescale slope 0"),
        (lambda ds: ds.__delattr__("PixelData"), "no pixel data"),
        (lambda ds: ds.__delattr__("Columns"), "Columns is missing"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named_with_the_reason(change, reason: str) -> None:
    with pytest.raises(CorruptVolumeError) as caught:
        read_volume(make_dicom(speckle(), change=change), URI)
    assert URI in caught.value.message
    assert reason in caught.value.reason
    assert caught.value.exit_code == 3


COMPRESSED = [*LOSSLESS, uid.JPEGBaseline8Bit]


@pytest.mark.parametrize("syntax", UNCOMPRESSED + COMPRESSED, ids=name)
def test_rows_and_columns_swapped_in_the_header_are_found_by_the_manifest(syntax: uid.UID) -> None:
    data = make_dicom(speckle(SHAPE), syntax=syntax, change=set_to(Rows=11, Columns=14))
    with pytest.raises(CorruptVolumeError, match=r"holds 5 x 11 x 14 .* the manifest says 5 x 14 x 11"):
        read_volume(data, URI, SHAPE)


@pytest.mark.parametrize("declared", [(5, None, 12), (4, 14, 11), (None, 15, None)])
def test_each_size_that_the_manifest_says_must_be_the_headers(declared: tuple[int | None, ...]) -> None:
    with pytest.raises(CorruptVolumeError, match="the manifest says"):
        read_volume(make_dicom(speckle(SHAPE)), URI, declared)
    read_volume(make_dicom(speckle(SHAPE)), URI, (None, 14, None))


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
@pytest.mark.parametrize("lie", [{"Rows": 13}, {"Rows": 15}, {"Columns": 10}])
def test_compressed_frames_must_have_the_size_that_the_header_says(
    syntax: uid.UID, lie: dict[str, int]
) -> None:
    with pytest.raises(CorruptVolumeError, match=r"in its codestream|does not unpack to"):
        read_volume(make_dicom(speckle(SHAPE), syntax=syntax, change=set_to(**lie)), URI)


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s != uid.RLELossless], ids=name)
def test_a_codestream_of_more_bits_than_the_header_says_is_corrupt(syntax: uid.UID) -> None:
    x = speckle(SHAPE, "u2")
    eight = set_to(BitsAllocated=8, BitsStored=8, HighBit=7)
    with pytest.raises(CorruptVolumeError, match=r"1 samples of 16 bits .* the header says 1 of 8"):
        read_volume(make_dicom(x, syntax=syntax, change=eight), URI)


TWELVE_BITS = set_to(BitsStored=12, HighBit=11)


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEG2000Lossless], ids=name)
def test_a_codestreams_voxel_of_more_bits_than_the_header_says_is_corrupt(syntax: uid.UID) -> None:
    x = speckle(SHAPE, "u2")
    with pytest.raises(CorruptVolumeError, match=r"holds the value 6.*, the header says 12 bits stored"):
        read_volume(make_dicom(x, syntax=syntax, change=TWELVE_BITS), URI)
    x >>= np.uint16(4)
    data = make_dicom(x, syntax=syntax, change=TWELVE_BITS)
    np.testing.assert_array_equal(read_volume(data, URI).stored_DHW, x)


@pytest.mark.parametrize("syntax", [*UNCOMPRESSED, uid.RLELossless], ids=name)
def test_bits_that_the_header_leaves_unused_are_no_part_of_the_voxels(syntax: uid.UID) -> None:
    x = speckle(SHAPE, "u2")
    data = make_dicom(x, syntax=syntax, change=TWELVE_BITS)
    np.testing.assert_array_equal(read_volume(data, URI).stored_DHW, x & 0xFFF)


def repadded(padding: bytes):
    """Each frame without its own padding, and with this behind its end."""

    def change(ds: FileDataset) -> None:
        frames = []
        for frame in generate_frames(ds.PixelData, number_of_frames=int(ds.NumberOfFrames)):
            if ds.file_meta.TransferSyntaxUID != uid.RLELossless:
                frame = frame[: frame.rfind(b"\xff\xd9") + 2]
            frames.append(frame + padding)
        ds.PixelData = encapsulate(frames)

    return change


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
@pytest.mark.parametrize("padding", [b"", b"\0", b"\xff", b"\0\0", b"\xff\xff"])
def test_frames_may_be_padded_with_anything(syntax: uid.UID, padding: bytes) -> None:
    x = speckle((4, 40, 30))
    plain = read_volume(make_dicom(x, syntax=syntax), URI).stored_DHW
    padded = read_volume(make_dicom(x, syntax=syntax, change=repadded(padding)), URI).stored_DHW
    np.testing.assert_array_equal(padded, plain)


@pytest.mark.parametrize("syntax", [s for s in COMPRESSED if s != uid.RLELossless], ids=name)
@pytest.mark.parametrize("padding", [b"\0", b"\xff", b"\xff\xff"])
def test_padding_does_not_hide_that_a_codestream_is_cut_off(syntax: uid.UID, padding: bytes) -> None:
    def cut(ds: FileDataset) -> None:
        frames = list(generate_frames(ds.PixelData, number_of_frames=8))
        frames[5] = frames[5].rstrip(b"\0")[:-2] + padding
        ds.PixelData = encapsulate(frames)

    with pytest.raises(CorruptVolumeError, match="B-scan 5 is cut off"):
        read_volume(make_dicom(speckle(), syntax=syntax, change=cut), URI)


def lying(ds: FileDataset, place: bytes, offset: int, value: bytes) -> None:
    frames = list(generate_frames(ds.PixelData, number_of_frames=8))
    start = frames[0].index(place) + offset
    frames[0] = frames[0][:start] + value + frames[0][start + len(value) :]
    ds.PixelData = encapsulate(frames)


@pytest.mark.parametrize(
    ("syntax", "place", "offset"),
    [
        (uid.JPEGBaseline8Bit, b"\xff\xc0", 5),
        (uid.JPEGLosslessSV1, b"\xff\xc3", 5),
        (uid.JPEGLSLossless, b"\xff\xf7", 5),
        (uid.JPEG2000Lossless, b"\xff\x51", 8),
        (uid.HTJ2KLossless, b"\xff\x51", 8),
    ],
    ids=name,
)
def test_a_codestream_that_asks_for_gigabytes_is_refused_before_decoding(
    syntax: uid.UID, place: bytes, offset: int
) -> None:
    def change(ds: FileDataset) -> None:
        lying(ds, place, offset, b"\xff\xdc\xff\xdc")

    data = make_dicom(speckle(), syntax=syntax, change=change)
    tracemalloc.start()
    with pytest.raises(CorruptVolumeError, match="in its codestream"):
        read_volume(data, URI)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_deflate_bomb_is_refused_at_the_largest_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("octjob.data.header.MAX_VOLUME_BYTES", 2**20)
    monkeypatch.setattr("octjob.data.header._MAX_HEADER_BYTES", 2**20)
    bomb = make_dicom(np.zeros((64, 1024, 1024), "u1"), syntax=uid.DeflatedExplicitVRLittleEndian)
    assert len(bomb) < 2**17
    with pytest.raises(CorruptVolumeError, match="inflates to more than 2 MiB"):
        read_volume(bomb, URI)
    tracemalloc.start()
    assert read_header(bomb, URI).num_frames == 64
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_reason_is_one_printable_line_whatever_the_file_holds() -> None:
    change = set_to(SOPClassUID="1.2\x1b[2J\n" + "9" * 5000)
    with pytest.raises(CorruptVolumeError) as caught:
        read_volume(make_dicom(speckle(), change=change), URI)
    assert caught.value.reason.isprintable()
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("data", [b"", b"<html>404 Not Found</html>", b"\0" * 200, b"\0" * 128 + b"DICM"])
def test_what_is_not_dicom_is_corrupt(data: bytes) -> None:
    for read in (read_volume, read_header):
        with pytest.raises(CorruptVolumeError):
            read(data, URI)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=name)
@pytest.mark.parametrize("said", [7, 9])
def test_compressed_frames_must_be_as_many_as_the_header_says(syntax: uid.UID, said: int) -> None:
    with pytest.raises(CorruptVolumeError):
        read_volume(make_dicom(speckle(), syntax=syntax, change=set_to(NumberOfFrames=said)), URI)


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s != uid.RLELossless], ids=name)
@pytest.mark.parametrize("offsets", ["basic", "none", "extended"])
def test_frames_in_several_fragments_or_behind_an_extended_offset_table(
    syntax: uid.UID, offsets: str
) -> None:
    def repack(ds: FileDataset) -> None:
        frames = list(generate_frames(ds.PixelData, number_of_frames=8))
        if offsets == "extended":
            ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(frames)
        else:
            ds.PixelData = encapsulate(frames, fragments_per_frame=2, has_bot=offsets == "basic")

    x = speckle((8, 40, 30))
    raw = read_volume(make_dicom(x, syntax=syntax, change=repack), URI)
    np.testing.assert_array_equal(raw.stored_DHW, x)


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s != uid.RLELossless], ids=name)
def test_a_codestream_cut_off_inside_its_frame_is_corrupt(syntax: uid.UID) -> None:
    def cut(ds: FileDataset) -> None:
        frames = list(generate_frames(ds.PixelData, number_of_frames=8))
        frames[5] = frames[5][: len(frames[5]) // 2]
        ds.PixelData = encapsulate(frames)

    with pytest.raises(CorruptVolumeError, match="B-scan 5 is cut off"):
        read_volume(make_dicom(speckle(), syntax=syntax, change=cut), URI)


def test_an_rle_frame_cut_off_is_corrupt() -> None:
    def cut(ds: FileDataset) -> None:
        frames = list(generate_frames(ds.PixelData, number_of_frames=8))
        frames[5] = frames[5][: len(frames[5]) // 2]
        ds.PixelData = encapsulate(frames)

    with pytest.raises(CorruptVolumeError):
        read_volume(make_dicom(speckle(), syntax=uid.RLELossless, change=cut), URI)


# Of 8 B-scans a resize to 2 touches these.
TOUCHED = [1, 2, 5, 6]


@pytest.mark.parametrize("syntax", UNCOMPRESSED + LOSSLESS, ids=name)
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_read_for_a_depth_every_b_scan_that_is_touched_has_the_exact_voxels(
    syntax: uid.UID, dtype: str
) -> None:
    x = speckle((8, 14, 11), dtype)
    raw = read_volume(make_dicom(x, syntax=syntax), URI, depth=2)
    assert raw.shape == x.shape
    for index in TOUCHED:
        np.testing.assert_array_equal(raw.frame(index), x[index])
    if syntax in LOSSLESS:
        assert raw.frames == (1, 2, 5, 6)
        with pytest.raises(ValueError, match="B-scan 3 is not among the 4"):
            raw.frame(3)
        with pytest.raises(ValueError, match="4 of 8 B-scans"):
            raw.x_DHW.sum()


@pytest.mark.parametrize("depth", [8, 16, None])
def test_read_for_a_depth_that_touches_all_nothing_is_left_out(depth: int | None) -> None:
    x = speckle((8, 14, 11))
    raw = read_volume(make_dicom(x, syntax=uid.RLELossless), URI, depth=depth)
    np.testing.assert_array_equal(raw.whole_DHW, x)


def test_twelve_bits_read_for_a_depth() -> None:
    x = speckle((8, 14, 11), "u2")
    for syntax in [*UNCOMPRESSED, uid.RLELossless]:
        raw = read_volume(make_dicom(x, syntax=syntax, change=TWELVE_BITS), URI, depth=2)
        np.testing.assert_array_equal(raw.stored_DHW, x[TOUCHED] & 0xFFF)


def with_frame(index: int, spoil):
    """A change of one compressed B-scan."""

    def change(ds: FileDataset) -> None:
        frames = list(generate_frames(ds.PixelData, number_of_frames=8))
        frames[index] = spoil(frames[index])
        ds.PixelData = encapsulate(frames)

    return change


@pytest.mark.parametrize("index", [0, 3, 5, 7])
@pytest.mark.parametrize("syntax", [s for s in COMPRESSED if s != uid.RLELossless], ids=name)
def test_a_b_scan_that_is_not_touched_must_have_a_whole_codestream_of_the_headers_size(
    syntax: uid.UID, index: int
) -> None:
    other = make_dicom(speckle((8, 13, 10)), syntax=syntax)
    frame = next(generate_frames(pydicom.dcmread(io.BytesIO(other)).PixelData, number_of_frames=8))
    for spoil, reason in (
        (lambda frame: frame[: len(frame) // 2], f"B-scan {index} is cut off"),
        (lambda _: frame, f"B-scan {index} is 13 x 10 in its codestream"),
        (lambda _: b"<html>", f"B-scan {index} does not start as a codestream"),
    ):
        data = make_dicom(speckle(), syntax=syntax, change=with_frame(index, spoil))
        with pytest.raises(CorruptVolumeError, match=reason):
            read_volume(data, URI, depth=2)


def test_a_run_length_b_scan_that_is_not_touched_must_have_its_segments() -> None:
    def spoil(frame: bytes) -> bytes:
        return b"\2" + frame[1:]

    data = make_dicom(speckle(), syntax=uid.RLELossless, change=with_frame(3, spoil))
    with pytest.raises(CorruptVolumeError, match="B-scan 3 has 2 run-length segments"):
        read_volume(data, URI, depth=2)


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless], ids=name)
def test_what_lies_within_the_data_of_a_b_scan_that_is_not_touched_does_not_matter(syntax: uid.UID) -> None:
    def spoil(frame: bytes) -> bytes:
        start, end = len(frame) - 40, len(frame) - 10
        return frame[:start] + b"\x55" * (end - start) + frame[end:]

    x = speckle((8, 40, 30))
    data = make_dicom(x, syntax=syntax, change=with_frame(3, spoil))
    np.testing.assert_array_equal(read_volume(data, URI, depth=2).stored_DHW, x[TOUCHED])
    try:
        whole = read_volume(data, URI).stored_DHW
    except CorruptVolumeError:
        return
    assert (whole != x).any()


def test_uncompressed_voxels_are_not_copied() -> None:
    data = make_dicom(speckle((64, 128, 128)))
    tracemalloc.start()
    raw = read_volume(data, URI, depth=4)
    assert raw.stored_DHW.nbytes == 2**20
    assert tracemalloc.get_traced_memory()[1] < 2**18
    tracemalloc.stop()


def test_the_transfer_syntax_is_never_swapped_to_read_compressed_bytes_as_voxels() -> None:
    x = speckle((2, 40, 40))
    compressed = pydicom.dcmread(io.BytesIO(make_dicom(x, syntax=uid.JPEG2000Lossless)))
    garbage = compressed.PixelData

    def lie(ds: FileDataset) -> None:
        ds.PixelData = garbage + b"\0" * (len(garbage) % 2)

    with pytest.raises(CorruptVolumeError, match="bytes of pixel data"):
        read_volume(make_dicom(x, change=lie), URI)


def test_a_transfer_syntax_without_a_decoder_is_no_corrupt_volume() -> None:
    data = make_dicom(speckle()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.20\0\0", 1)
    with pytest.raises(DataError, match="no decoder for transfer syntax") as caught:
        read_volume(data, URI)
    assert not isinstance(caught.value, CorruptVolumeError)


FILES = {syntax: make_dicom(speckle((4, 9, 7)), syntax=syntax) for syntax in UNCOMPRESSED + LOSSLESS}


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=200, deadline=None)
@given(syntax=st.sampled_from(list(FILES)), share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_off_anywhere_gives_the_exact_voxels_or_an_error(syntax: uid.UID, share: float) -> None:
    data = FILES[syntax][: int(share * len(FILES[syntax]))]
    try:
        raw = read_volume(data, URI)
    except CorruptVolumeError:
        return
    np.testing.assert_array_equal(raw.stored_DHW, speckle((4, 9, 7)))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(syntax=st.sampled_from(list(FILES)), data=st.data())
def test_damaged_bytes_never_raise_anything_but_our_errors(syntax: uid.UID, data: st.DataObject) -> None:
    spoilt = bytearray(FILES[syntax])
    for place in data.draw(st.lists(st.integers(128, len(spoilt) - 1), min_size=1, max_size=4)):
        spoilt[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(DataError):
        assert read_volume(bytes(spoilt), URI).stored_DHW.ndim == 3
