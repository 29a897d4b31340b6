"""From a DICOM file to the encoder's input: CPU seconds a volume beside three peers, B-scans and bytes left alone.

    python -m benchmarks.volumes [--all] [--json FILE]

One synthetic volume at a protocol's full size, in a file, one thread each. By default one protocol for each number of
B-scans and syntax that matters, at the original encoder's size; `--all` takes all twelve raster protocols, four
syntaxes and the demo's size too (half an hour).
"""

from __future__ import annotations

import io
import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from torch.nn.functional import interpolate

from benchmarks.figures import Figure, arguments, spent, tell
from octjob.data.dicom import read_volume
from octjob.data.excerpt import Excerpt
from octjob.data.extents import HEAD_BYTES, extents_for
from octjob.data.preprocess import preprocess_volume, touched_depth
from octjob.data.synthesize import SynthesisRecipe, render_volume, synthesize
from octjob.data.synthesize.dicom import VolumeIdentity, encode_volume
from octjob.data.synthesize.protocols import PROTOCOLS, Protocol
from octjob.data.synthesize.recipe import TransferSyntax
from octjob.data.taps import touched_frames
from octjob.models.shape import ORIGINAL_GEOMETRY
from octjob.storage.file import FileStore

Size = tuple[int, int, int]
Way = Callable[[Path, Size], Any]

DEMO_SIZE = (16, 48, 48)
SIZES = {"original": ORIGINAL_GEOMETRY.volume_size, "demo": DEMO_SIZE}
# One protocol for each number of B-scans; the slow syntaxes where the time allows.
CASES: tuple[tuple[str, TransferSyntax, str], ...] = (
    ("spectralis_ppol_mac_hr_oct", "explicit_le", "original"),
    ("maestro2_3d_macula_oct", "explicit_le", "original"),
    ("triton_macula_6x6_octa", "explicit_le", "original"),
    ("triton_macula_12x12_octa", "explicit_le", "original"),
    ("spectralis_ppol_mac_hr_oct", "rle", "original"),
    ("maestro2_3d_macula_oct", "rle", "original"),
    ("triton_macula_6x6_octa", "rle", "original"),
    ("triton_macula_12x12_octa", "rle", "original"),
    ("maestro2_3d_macula_oct", "jpeg_ls", "original"),
    ("spectralis_ppol_mac_hr_oct", "jpeg2000", "original"),
    ("triton_macula_6x6_octa", "explicit_le", "demo"),
)
SYNTAXES: tuple[TransferSyntax, ...] = ("explicit_le", "rle", "jpeg_ls", "jpeg2000")
NAMES = {"explicit_le": "uncompressed", "rle": "RLE", "jpeg_ls": "JPEG-LS", "jpeg2000": "JPEG 2000"}
# B-scans that are rendered; the rest of a volume repeats them.
_NUM_RENDERED = 4
# The system counts CPU time in hundredths of a second.
_LEAST_S, _MOST_REPEATS = 0.5, 20


@dataclass(frozen=True)
class Case:
    """A protocol's volume in one syntax, for one encoder."""

    protocol: Protocol
    syntax: TransferSyntax
    size_name: str

    @property
    def what(self) -> str:
        """For the table."""
        protocol = self.protocol
        shape = f"{protocol.frames} x {protocol.rows} x {protocol.columns}"
        return f"{shape}, {NAMES[self.syntax]}, to {' x '.join(map(str, SIZES[self.size_name]))}"

    @property
    def wanted(self) -> str:
        """What was asked for."""
        if self.syntax == "jpeg2000":
            return ""
        if self.syntax == "jpeg_ls":
            return ">= 4 x"
        return {61: ">= 2 x", 128: ">= 4 x", 320: ">= 10 x", 512: ">= 10 x"}.get(self.protocol.frames, "")


def main() -> None:
    """Measure, and tell."""
    parser = arguments(__doc__)
    parser.add_argument("--all", action="store_true", help="every raster protocol, syntax and size")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cases = [Case(PROTOCOLS[name], syntax, size) for name, syntax, size in CASES]
    if args.all:
        rasters = [protocol for protocol in PROTOCOLS.values() if not protocol.radial]
        cases = list(itertools.starmap(Case, itertools.product(rasters, SYNTAXES, SIZES)))
    with tempfile.TemporaryDirectory() as folder:
        figures = [figure for case in cases for figure in measured(case, Path(folder))]
    tell(args, "From a DICOM file to the encoder's input", figures, NOTES)


NOTES = (
    "plain: pydicom's pixel_array, float32, z-score, torch's trilinear interpolate, z-score. MONAI: LoadImage with "
    "its PydicomReader, NormalizeIntensity, Resize, NormalizeIntensity. aireadi-loader: its PatientDataset with "
    "those three as its transform. All see the same file and give the same numbers to 1e-4.",
    "Fetched: a run brings a file's first bytes and the B-scans that are touched, where that leaves enough out, and "
    "octjob's time is that of these; the peers read the file. Where every B-scan is touched, as 61 and "
    "128 are for a depth of 64, there is nothing to leave out; then decoding is what is left, and JPEG 2000 takes as "
    "long in every library that there is (all are OpenJPEG). Its threads spend the same CPU time, and a reduced "
    "resolution gives other voxels.",
)


def measured(case: Case, folder: Path) -> Iterator[Figure]:
    """CPU seconds beside each of the others', then B-scans and bytes."""
    protocol, size = case.protocol, SIZES[case.size_name]
    root, path = written(case, folder)
    ours_s, ours = mean_s(octjob_way, path, size)
    limit_s, _ = mean_s(limit_way, path, size)
    peers: dict[str, Way] = {
        "plain": plain_way,
        "MONAI": monai_way,
        "aireadi-loader": aireadi_way(root, case),
    }
    peers_s: dict[str, float] = {}
    for name, way in peers.items():
        peers_s[name], theirs = mean_s(way, path, size)
        off = float(np.abs(np.asarray(theirs).reshape(size) - ours).max())
        if off > 1e-4:
            raise SystemExit(f"{case.what}: {name} gives other numbers, by {off:g}")
        yield Figure(
            case.what,
            "CPU s",
            ours_s,
            peers_s[name],
            name,
            limit=limit_s,
            limit_name="reading, decoding what is touched",
            wanted=case.wanted,
        )
    touched, whole = len(touched_frames(protocol.frames, size[0])), path.stat().st_size
    if touched < protocol.frames:
        whole_s, _ = mean_s(whole_way, path, size)
        fastest = min(peers_s, key=lambda name: peers_s[name])
        what = f"{case.what}: the whole file read"
        yield Figure(what, "CPU s", whole_s, peers_s[fastest], fastest, wanted=case.wanted)
        yield Figure(f"{case.what}: decoded", "B-scans", touched, protocol.frames, "all of them")
        yield Figure(f"{case.what}: fetched", "MB", fetched(path, size) / 1e6, whole / 1e6, "the whole file")
    path.unlink()


def mean_s(way: Way, path: Path, size: Size) -> tuple[float, Any]:
    """(CPU seconds, what came); of as many in a row as take long enough to be told, behind one not counted."""
    with spent() as first:
        found = way(path, size)
    if first.cpu_s > _LEAST_S:
        return first.cpu_s, found
    repeats = min(_MOST_REPEATS, math.ceil(_LEAST_S / max(first.cpu_s, 0.01)))
    with spent() as taken:
        for _ in range(repeats):
            way(path, size)
    return taken.cpu_s / repeats, found


def octjob_way(path: Path, size: Size) -> Any:
    """As a run does it."""
    raw = read_volume(brought(path, size), str(path), depth=touched_depth("pretraining", size))
    return preprocess_volume(raw, "pretraining", size)


def whole_way(path: Path, size: Size) -> Any:
    """The same, every byte of the file read."""
    raw = read_volume(path.read_bytes(), str(path), depth=touched_depth("pretraining", size))
    return preprocess_volume(raw, "pretraining", size)


def brought(path: Path, size: Size) -> bytes | Excerpt:
    """What a run fetches of the file: its first bytes and the B-scans that are touched, or all of it."""
    num_bytes = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        head = file.read(HEAD_BYTES)
        spans = extents_for(head, num_bytes, size[0])
        if spans is None:
            return os.pread(file.fileno(), num_bytes, 0)
        pieces = [(start, os.pread(file.fileno(), end - start, start)) for start, end in spans]
    return Excerpt(num_bytes, [(0, head), *pieces])


def limit_way(path: Path, size: Size) -> Any:
    """Reading the file and decoding what is touched, if only to look at it."""
    raw = read_volume(brought(path, size), str(path), depth=size[0])
    return sum(int(raw.frame(i).max()) for i in touched_frames(raw.shape[0], size[0]))


def fetched(path: Path, size: Size) -> int:
    """Bytes that a run fetches."""
    data = brought(path, size)
    return len(data) if isinstance(data, bytes) else sum(len(piece) for _, piece in data.held)


def plain_way(path: Path, size: Size) -> Any:
    """The steps as they are told."""
    x_DHW = torch.from_numpy(dcmread(path).pixel_array.astype(np.float32))
    x_DHW = (x_DHW - x_DHW.mean()) / x_DHW.std(correction=0)
    y_dhw = interpolate(x_DHW[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
    return (y_dhw - y_dhw.mean()) / y_dhw.std(correction=0)


def monai_way(path: Path, size: Size) -> Any:
    """MONAI's own reader and transforms."""
    from monai.transforms import Compose, LoadImage, NormalizeIntensity, Resize

    return Compose(
        [
            LoadImage(reader="PydicomReader", swap_ij=False, ensure_channel_first=True),
            NormalizeIntensity(),
            Resize(size, mode="trilinear"),
            NormalizeIntensity(),
        ]
    )(path)


def aireadi_way(root: Path, case: Case) -> Way:
    """The public loader's data set, opened before the time is taken."""
    from aireadi_loader.dataloader import PatientDataset
    from monai.transforms import Compose, NormalizeIntensityd, Resized

    protocol, keys = case.protocol, ["frames"]
    normalize = NormalizeIntensityd(keys)
    resize = Resized(keys, SIZES[case.size_name], mode="trilinear")
    with redirect_stdout(io.StringIO()):
        dataset = PatientDataset(
            f"{root}/",
            split="train",
            mode="volume",
            anatomic_region=protocol.region.replace(", ", "_").replace(" x ", "x").replace(" ", "_"),
            imaging_device=protocol.model,
            concept_id=0,
            transform=Compose([normalize, resize, normalize]),
        )
    return lambda path, size: dataset[0]["frames"]


def written(case: Case, folder: Path) -> tuple[Path, Path]:
    """(a data set of one volume, that volume's file at the protocol's full size)."""
    protocol = case.protocol
    root = folder / f"{protocol.name}-{case.syntax}-{case.size_name}"
    recipe = SynthesisRecipe(
        seed=1,
        participants={"train": 1, "val": 0, "test": 0},
        protocols=(protocol.name,),
        eyes="one",
        geometry_scale=(_NUM_RENDERED / protocol.frames, 1.0, 1.0),
    )
    with redirect_stdout(io.StringIO()):
        (identity,) = synthesize(FileStore(root.as_uri()), recipe).volumes
    path = root / identity.key
    repeats = np.arange(protocol.frames) % _NUM_RENDERED
    write_volume(path, identity, render_volume(recipe, identity), repeats, case.syntax)
    return root, path


def write_volume(
    path: Path, identity: VolumeIdentity, x_DHW: Any, frames: Any, syntax: TransferSyntax
) -> None:
    """The volume of these B-scans, each compressed once however often it is among them."""
    dataset: Dataset = dcmread(io.BytesIO(encode_volume(identity, x_DHW, syntax)))
    dataset.NumberOfFrames = len(frames)
    if dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian:
        dataset.PixelData = x_DHW[frames].tobytes()
    else:
        compressed = list(generate_frames(dataset.PixelData, number_of_frames=len(x_DHW)))
        dataset.PixelData = encapsulate([compressed[i] for i in frames])
    dataset.save_as(path, enforce_file_format=True)


if __name__ == "__main__":
    main()
