"""The whole of AI-READI v2 on one v4-32, on paper: link, decoding, encoding, where the time goes, chip-hours.

    python -m benchmarks.whole_dataset [--volumes 24750] [--gbit 10] [--cores 120]

Decoding and preprocessing are measured here, one uncompressed volume of each raster protocol at its full size, and
taken to cost a core of a slice's host as much as one here. The rest is arithmetic: a host's link of `--gbit`,
`--cores` of its 240 for decoding, the encoder's operations at a share of a chip's peak (`octjob explain`'s range).
The twelve protocols are taken to be equally frequent, which the data set does not publish.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from doubles.aireadi_bucket import make_dicom, speckle

from benchmarks.figures import Figure, arguments, spent, tell
from octjob.data.dicom import read_volume
from octjob.data.preprocess import preprocess_volume
from octjob.data.synthesize.protocols import PROTOCOLS, Protocol
from octjob.models.shape import ORIGINAL_GEOMETRY
from octjob.spec.accelerator import Slice, parse_accelerator
from octjob.spec.experiment import Experiment
from octjob.targets.estimate import estimate

SIZE = ORIGINAL_GEOMETRY.volume_size
# What one pass over the data set is compared with: sweeps/phase3.yaml has so many runs of so many epochs.
CHECKPOINTS, CONFIGS, EPOCHS = 3, 7, 10


@dataclass(frozen=True)
class Parts:
    """Hours of one pass, each as if it were alone; encoding from optimism to pessimism."""

    link_h: float
    decode_h: float
    encode_h: tuple[float, float]

    @property
    def pass_h(self) -> tuple[float, float]:
        """All at once: the slowest decides."""
        fast, slow = (max(self.link_h, self.decode_h, encode) for encode in self.encode_h)
        return fast, slow


def main() -> None:
    """Print the parts, the whole and what the same sweep takes that encodes again every epoch."""
    parser = arguments(__doc__)
    parser.add_argument("--volumes", type=int, default=24_750)
    parser.add_argument(
        "--gbit", type=float, default=10, help="of each host's link to the bucket, per second"
    )
    parser.add_argument("--cores", type=int, default=120, help="of each host's 240, for decoding")
    args = parser.parse_args()
    rasters = [protocol for protocol in PROTOCOLS.values() if not protocol.radial]
    where = parse_accelerator("v4-32")
    num_bytes = sum(p.frames * p.rows * p.columns for p in rasters) / len(rasters)
    decode_s = sum(map(decoded_s, rasters)) / len(rasters)
    parts = parts_of(args, where, num_bytes, decode_s)
    tell(
        args,
        "The whole of AI-READI v2 on one v4-32",
        figures_of(args, parts, where),
        notes_of(args, parts, where),
    )


def decoded_s(protocol: Protocol) -> float:
    """CPU seconds from the file's bytes to the encoder's input."""
    shape = protocol.frames, protocol.rows, protocol.columns
    data = make_dicom(speckle(shape))
    with spent() as taken:
        preprocess_volume(read_volume(data, protocol.name), "pretraining", SIZE)
    return taken.cpu_s


def parts_of(args: argparse.Namespace, where: Slice, num_bytes: float, decode_s: float) -> Parts:
    """Each part of one pass with one checkpoint, in hours."""
    probe = estimate("", "", Experiment.model_validate({}), None, where)
    # A chip takes one volume at a time.
    fast_s, slow_s = probe.seconds or (0.0, 0.0)
    return Parts(
        link_h=args.volumes * num_bytes * 8 / (args.gbit * 1e9 * where.hosts) / 3600,
        decode_h=args.volumes * decode_s / (args.cores * where.hosts) / 3600,
        encode_h=(args.volumes * fast_s / where.chips / 3600, args.volumes * slow_s / where.chips / 3600),
    )


def figures_of(args: argparse.Namespace, parts: Parts, where: Slice) -> list[Figure]:
    """The parts and the whole; the peer is the pass that every run makes anew in every epoch."""
    fast_h, slow_h = parts.pass_h
    again = CONFIGS * EPOCHS
    encodings = ((0, "optimistic"), (1, "pessimistic"))
    return [
        Figure("link: every byte once", "h", parts.link_h),
        Figure("decoding and preprocessing, measured here", "h", parts.decode_h),
        *(Figure(f"encoding, {name}", "h", parts.encode_h[i]) for i, name in encodings),
        *(
            Figure(
                f"{CHECKPOINTS} checkpoints x {CONFIGS} frozen configurations, {name}",
                "chip-hours",
                where.chips * (hours + (CHECKPOINTS - 1) * parts.encode_h[i]),
                peer=where.chips * hours * CHECKPOINTS * again,
                peer_name=f"every volume in each of {EPOCHS} epochs of every run",
            )
            for (i, name), hours in zip(encodings, (fast_h, slow_h), strict=True)
        ),
    ]


def notes_of(args: argparse.Namespace, parts: Parts, where: Slice) -> list[str]:
    """Where the time goes, and what the shared cache changes."""
    named = {
        "the link": parts.link_h,
        "decoding": parts.decode_h,
        "encoding (pessimistic)": parts.encode_h[1],
    }
    depth, height, width = SIZE
    cache_gb = args.volumes * depth * height * width * 2 / 1e9
    cache_h = cache_gb * 8 / (args.gbit * where.hosts) / 3600
    slowest = max(named, key=lambda name: named[name])
    return [
        f"{args.volumes:,} volumes, {args.gbit:g} Gbit/s and {args.cores} cores a host, {where.hosts} hosts, "
        f"{where.chips} chips. The first pass is bound by {slowest}; the second and third checkpoint read the shared "
        "cache of preprocessed volumes and are bound by encoding.",
        f"That cache holds {cache_gb:,.0f} GB in 16 bits (float32: {2 * cache_gb:,.0f} GB) and is read in "
        f"{cache_h:.2f} h. `octjob prepare` fills it on CPU nodes: the slice waits neither for the link nor for "
        "decoding.",
    ]


if __name__ == "__main__":
    main()
