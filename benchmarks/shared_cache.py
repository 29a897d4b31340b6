"""What a volume costs from its file, from the shared cache and from a local disk, and what float16 does to it.

    python -m benchmarks.shared_cache [--volumes 2] [--scale 1.0] [--size 64 384 384]

Synthetic volumes as a Topcon Maestro2 takes them (128 x 885 x 512, lossless JPEG 2000), read by one thread. The time
is that of processors, of the decoding process too; starting that process is left out. Store and disk are folders of
this machine, so a bucket adds its latency to the first two alike.
"""

from __future__ import annotations

import gc
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.figures import Figure, Spent, arguments, spent, tell
from octjob.data.cohort import Volume
from octjob.data.manifest import read_manifest
from octjob.data.participants import Participant
from octjob.data.synthesize import synthesize
from octjob.data.synthesize.recipe import SynthesisRecipe
from octjob.data.volume_format import VolumeFormat
from octjob.data.volumes import VolumeReader
from octjob.storage.base import ObjectStore
from octjob.storage.open import open_store

Size = tuple[int, int, int]


def made(root: Path, num_volumes: int, scale: float) -> tuple[ObjectStore, list[Volume]]:
    """A bucket of that many volumes."""
    recipe = SynthesisRecipe(
        participants=num_volumes,
        protocols=("maestro2_3d_macula_oct",),
        eyes="one",
        geometry_scale=(scale, scale, scale),
        transfer_syntax={"topcon_maestro2": "jpeg2000"},
    )
    store = open_store(str(root))
    synthesize(store, recipe, lambda done, total: None)
    return store, [
        Volume(record, Participant(record.participant, "UW", "healthy", 0, "train", True))
        for record in read_manifest(store)
    ]


def reading(reader: Callable[[], VolumeReader], volumes: Sequence[Volume]) -> Spent:
    """What reading all of them takes, with whatever it needs to begin."""
    with spent() as taken:
        one = reader()
        for volume in volumes:
            one.read(volume)
        # Ends its decoding process, whose time counts from then on.
        del one
        gc.collect()
    return taken


def per_volume(reader: Callable[[], VolumeReader], volumes: Sequence[Volume]) -> tuple[float, float]:
    """(CPU s, wall s) of one volume: all of them less the first alone."""
    first, whole = reading(reader, volumes[:1]), reading(reader, volumes)
    others = len(volumes) - 1
    return (whole.cpu_s - first.cpu_s) / others, (whole.wall_s - first.wall_s) / others


def whole_files(folder: Path) -> float:
    """CPU seconds of reading one kept volume's bytes and nothing else."""
    files = sorted(folder.rglob("*.npy"))
    with spent() as taken:
        for path in files * 20:
            path.read_bytes()
    return taken.cpu_s / (20 * len(files))


def errors(x_DHW: np.ndarray, format_: VolumeFormat) -> tuple[float, float, float, float]:
    """Largest errors relative to the voxel (to 2^-14 at least), by float16, by bf16, and by one after the other; and
    the share of voxels that bf16 then takes to another number."""
    exact = torch.from_numpy(x_DHW.astype(np.float64))
    half = torch.from_numpy(format_.rounded(x_DHW))
    beside = exact.abs().clamp_min(2.0**-14)

    def largest(seen: torch.Tensor) -> float:
        return float(((seen.double() - exact).abs() / beside).max())

    single, both = torch.from_numpy(x_DHW).bfloat16(), half.bfloat16()
    return largest(half), largest(single), largest(both), float((single != both).float().mean())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--volumes", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0, help="of the files' B-scans, rows and columns")
    parser.add_argument("--size", type=int, nargs=3, default=(64, 384, 384))
    args = parser.parse_args()
    torch.set_num_threads(1)
    size: Size = tuple(args.size)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source, volumes = made(root / "bucket", args.volumes + 1, args.scale)
        cache = open_store(str(root / "cache"))
        file_cpu_s, file_wall_s = per_volume(lambda: VolumeReader(source, "pretraining", size), volumes)

        def shared(disk: Path | None = None) -> VolumeReader:
            return VolumeReader(source, "pretraining", size, disk, dtype="float16", shared=cache)

        def local() -> VolumeReader:
            return VolumeReader(source, "pretraining", size, root / "disk", dtype="float16")

        reading(lambda: shared(root / "disk"), volumes)
        shared_cpu_s, shared_wall_s = per_volume(shared, volumes * 10)
        disk_cpu_s, disk_wall_s = per_volume(local, volumes * 10)
        bytes_cpu_s = whole_files(root / "cache")
        sizes = [path.stat().st_size for path in (root / "cache").rglob("*.npy")]
        source_bytes = sum(source.head(volume.record.key).size for volume in volumes) / len(volumes)
        x_DHW = VolumeReader(source, "pretraining", size).read(volumes[0])
        format_ = VolumeFormat("pretraining", size, "float16")
        by_half, by_bf16, by_both, changed = errors(x_DHW, format_)
    only_bytes = (bytes_cpu_s, "its bytes from a file, unchecked")
    figures = [
        Figure(
            "a volume from the shared cache", "CPU s", shared_cpu_s, file_cpu_s, "from its file", *only_bytes
        ),
        Figure("a volume from the local disk", "CPU s", disk_cpu_s, file_cpu_s, "from its file", *only_bytes),
        Figure(
            "a volume that is kept",
            "MB",
            sizes[0] / 1e6,
            math.prod(size) * 4 / 1e6,
            "float32",
            math.prod(size) * 2 / 1e6,
            "2 bytes a voxel",
            wanted="half of float32",
        ),
        Figure(
            "largest error of a voxel, beside itself",
            "1/1000",
            by_half * 1e3,
            by_bf16 * 1e3,
            "bf16, as the encoder rounds it",
            2.0**-11 * 1e3,
            "2^-11",
            wanted="less than bf16's own",
        ),
    ]
    per_25k = [25_000 * size_bytes / 1e9 for size_bytes in (sizes[0], math.prod(size) * 4)]
    notes = [
        f"Wall time of a volume: {file_wall_s:.2f} s from its file ({source_bytes / 1e6:.0f} MB),"
        f" {shared_wall_s:.3f} s from the shared cache, {disk_wall_s:.3f} s from the disk.",
        f"A bf16 encoder sees another neighbour in {changed:.1%} of voxels (1/16 by arithmetic); its largest error"
        f" goes from {by_bf16 * 1e3:.2f} to {by_both * 1e3:.2f} thousandths. Voxels lie within"
        f" {np.abs(x_DHW).max():.1f}.",
        f"25,000 volumes of this size: {per_25k[0]:,.0f} GB kept, {per_25k[1]:,.0f} GB as float32.",
    ]
    tell(args, "Volumes kept for all pods, epochs and sweeps", figures, notes)


if __name__ == "__main__":
    main()
