"""A thousand mutated DICOM files: the right voxels, or quarantine with a reason. The counts are printed.

No traceback, nothing over 5 s, no gigabytes. DICOM has no checksum: where a mutation changed the pixel data itself,
what decodes without complaint may be other voxels. Those are counted apart; all else that decodes must be right.
"""

from __future__ import annotations

import io
import resource
import struct
import time
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames

from octjob.data.decoders import Decoders
from octjob.data.dicom import RawVolume, read_volume
from octjob.data.quarantine import CorruptVolumeError
from tests.doubles.aireadi_bucket import make_dicom, speckle

URI = "file:///bucket/a.dcm"
UID = "1.2.77"
SHAPE = (6, 20, 26)
NUM_FILES = 1000
NUM_GROUPS = 20
MAX_S = 5.0
MAX_KIB = 4 << 20
NATIVE = [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian]
COMPRESSED = [
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
]
SYNTAXES = [*NATIVE, uid.DeflatedExplicitVRLittleEndian, *COMPRESSED]
Random = np.random.Generator
# (the file, whether its pixel data changed)
Mutation = Callable[[bytes, uid.UID, Random], tuple[bytes, bool]]


def dataset_of(data: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(data))


def written(dataset: pydicom.FileDataset) -> bytes:
    out = io.BytesIO()
    pydicom.dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def pixels_at(data: bytes, syntax: uid.UID) -> int:
    """Where the pixel data begins. A deflated file's begins with the rest of it."""
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        return 144 + struct.unpack_from("<I", data, 140)[0]
    tag = (0x7FE0, 0x0010)
    return data.rindex(struct.pack(">HH" if syntax == uid.ExplicitVRBigEndian else "<HH", *tag))


def flipped(data: bytes, first: int, last: int, random: Random) -> bytes:
    spoilt = bytearray(data)
    for place in random.integers(first, last, random.integers(1, 9)):
        spoilt[place] ^= 1 << random.integers(8)
    return bytes(spoilt)


def swapped_sizes(data: bytes, _: uid.UID, __: Random) -> tuple[bytes, bool]:
    dataset = dataset_of(data)
    dataset.Rows, dataset.Columns = dataset.Columns, dataset.Rows
    return written(dataset), False


def lying_sizes(data: bytes, _: uid.UID, random: Random) -> tuple[bytes, bool]:
    dataset = dataset_of(data)
    for name in random.choice(["NumberOfFrames", "Rows", "Columns"], random.integers(1, 3), replace=False):
        was = int(getattr(dataset, name))
        setattr(dataset, name, int(random.choice([1, was - 1, was + 1, 2 * was, 65_535])))
    return written(dataset), False


def lying_bits(data: bytes, _: uid.UID, random: Random) -> tuple[bytes, bool]:
    dataset = dataset_of(data)
    name, value = [
        ("BitsAllocated", 16),
        ("BitsAllocated", 1),
        ("BitsStored", 7),
        ("HighBit", 15),
        ("SamplesPerPixel", 3),
        ("PhotometricInterpretation", "RGB"),
    ][random.integers(6)]
    setattr(dataset, name, value)
    return written(dataset), False


def lying_codestream(data: bytes, syntax: uid.UID, random: Random) -> tuple[bytes, bool]:
    """Another size, depth or number of samples in one B-scan's own header."""
    if syntax not in COMPRESSED:
        return lying_sizes(data, syntax, random)
    dataset = dataset_of(data)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=SHAPE[0]))
    index, place = random.integers(len(frames)), random.integers(2, 48)
    spoilt = bytearray(frames[index])
    spoilt[place : place + 2] = random.bytes(2)
    frames[index] = bytes(spoilt)
    dataset.PixelData = encapsulate(frames)
    return written(dataset), True


def other_padding(data: bytes, syntax: uid.UID, random: Random) -> tuple[bytes, bool]:
    if syntax not in COMPRESSED:
        return data, False
    dataset = dataset_of(data)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=SHAPE[0]))
    padding = [b"\0", b"\xff", b"\0\0", b"\xff\xff"][random.integers(4)]
    dataset.PixelData = encapsulate([frame + padding for frame in frames])
    return written(dataset), False


def bits_of_the_header(data: bytes, syntax: uid.UID, random: Random) -> tuple[bytes, bool]:
    return flipped(data, 128, pixels_at(data, syntax), random), False


def bits_of_the_pixels(data: bytes, syntax: uid.UID, random: Random) -> tuple[bytes, bool]:
    return flipped(data, pixels_at(data, syntax), len(data), random), True


def cut_off(data: bytes, _: uid.UID, random: Random) -> tuple[bytes, bool]:
    return data[: random.integers(len(data))], False


def spliced(data: bytes, syntax: uid.UID, random: Random) -> tuple[bytes, bool]:
    first, last = sorted(random.integers(128, len(data), 2))
    piece = data[first : first + random.integers(1, 64)]
    whole = data[:last] + (piece if random.integers(2) else b"") + data[last + random.integers(0, 64) :]
    return whole, last + 64 > pixels_at(data, syntax)


def bomb(data: bytes, _: uid.UID, random: Random) -> tuple[bytes, bool]:
    """A few bytes that unfold: zeros deflated, or sequences without end."""
    if random.integers(4):
        depth = int(random.integers(2, 3000))
        sequence = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
        item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        plain = make_dicom(speckle(SHAPE), instance_uid=UID)
        place = plain.index(struct.pack("<HH2s", 0x0008, 0x1090, b"LO"))
        return plain[:place] + (sequence + item) * depth + plain[place:], False
    deflated = make_dicom(speckle(SHAPE), instance_uid=UID, syntax=uid.DeflatedExplicitVRLittleEndian)
    start = pixels_at(deflated, uid.DeflatedExplicitVRLittleEndian)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = b"".join(squeeze.compress(bytes(2**20)) for _ in range(1200)) + squeeze.flush()
    return deflated[:start] + zeros, True


MUTATIONS: dict[Mutation, int] = {
    swapped_sizes: 3,
    lying_sizes: 4,
    lying_bits: 3,
    lying_codestream: 6,
    other_padding: 3,
    bits_of_the_header: 8,
    bits_of_the_pixels: 6,
    cut_off: 4,
    spliced: 4,
    bomb: 1,
}


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    decoders = Decoders()
    yield decoders
    decoders.close()
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        assert resource.getrusage(who).ru_maxrss < MAX_KIB


@pytest.fixture(scope="module")
def files() -> dict[uid.UID, tuple[bytes, RawVolume]]:
    made = {s: make_dicom(speckle(SHAPE), syntax=s, instance_uid=UID) for s in SYNTAXES}
    return {syntax: (data, read_volume(data, URI, SHAPE)) for syntax, data in made.items()}


def outcome_of(decoders: Decoders, data: bytes, right: RawVolume, pixels_changed: bool) -> str:
    refusal = None
    try:
        volume = decoders.read(data, URI, SHAPE)
    except CorruptVolumeError as error:
        refusal = error
    if refusal:
        assert refusal.reason
        assert refusal.reason.isprintable()
        lost = "decoder crashed" in refusal.reason or "processor time" in refusal.reason
        return "quarantined, its process lost" if lost else "quarantined"
    if volume.sop_instance_uid != UID:
        return "quarantined: another volume than the manifest's"
    if np.array_equal(volume.x_DHW, right.x_DHW):
        return "decoded, every voxel right"
    return "other voxels: the pixel data changed, and has no checksum" if pixels_changed else "WRONG"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("group", range(NUM_GROUPS))
def test_mutated_files(
    group: int,
    decoders: Decoders,
    files: dict[uid.UID, tuple[bytes, RawVolume]],
    count: Callable[[str, str], None],
) -> None:
    kinds = list(MUTATIONS)
    weights = np.array(list(MUTATIONS.values())) / sum(MUTATIONS.values())
    for number in range(group, NUM_FILES, NUM_GROUPS):
        random = np.random.default_rng(number)
        syntax = SYNTAXES[number % len(SYNTAXES)]
        mutate = kinds[random.choice(len(kinds), p=weights)]
        data, right = files[syntax]
        mutated, pixels_changed = mutate(data, syntax, random)
        start = time.monotonic()
        outcome = outcome_of(decoders, mutated, right, pixels_changed)
        where = f"file {number}: {mutate.__name__}, {syntax.name}"
        assert time.monotonic() - start < MAX_S, where
        assert outcome != "WRONG", where
        count("DICOM files", outcome)
