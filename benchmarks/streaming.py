"""How much of a link volumes are read over while they are decoded: 2, 8 and 32 connections, and the first volume.

    python -m benchmarks.streaming [--volumes 12] [--connections 2 8 32] [--rate 20] [--without-peers]

The link is a server in another process that stands for Google Cloud Storage: 50 ms before each answer, 20 MB/s a
connection, one request in a hundred answered with 503 or cut off. The volumes are 128 x 885 x 512 voxels of 8 bits,
uncompressed, 58 MB each. What the cores allow is measured too, with the server on the same ones: bare sockets that
receive into memory which is there already, and octjob's decoders; and the same with the checksum that the store gives
of each object, which octjob must verify. Rates count from the start of reading to its end; where there are enough
volumes, those of their middle third are told too, when neither has to begin or has nothing left to fetch. Beside it:
as many threads with `requests`, each reading whole files and handing them to a pool of processes that decode and
preprocess as octjob does; and webdataset, mosaicml-streaming and litdata in `.venv-peers`, which only bring the files
here and decode nothing. Each is measured in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from doubles.aireadi_bucket import make_dicom
from doubles.object_server import serving

from benchmarks.figures import Figure, arguments, tell
from benchmarks.readers import SHAPE, cpu_s, family, uid_of
from octjob.data.cores import num_cores

ROOT = Path(__file__).parents[1]
PEERS = ("webdataset", "mosaicml-streaming", "litdata")
_TIMEOUT_S = 240
# Volumes of this size that are read ahead, however many connections there are.
_MOST_AHEAD = 28


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--volumes", type=int, default=12, help="different ones; octjob goes over them repeatedly"
    )
    parser.add_argument("--connections", type=int, nargs="+", default=[2, 8, 32])
    parser.add_argument("--rate", type=float, default=20.0, metavar="MB/S", help="of one connection")
    parser.add_argument("--without-peers", action="store_true")
    args = parser.parse_args()
    figures, notes = (
        [],
        [f"{num_cores()} cores. Files per second times 58 MB, from the start of reading to its end."],
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size_mb = write_volumes(folder, args.volumes)
        with serving(folder, rate=1e6 * args.rate) as url:
            for connections in args.connections:
                found, note = measure(folder, url, connections, args.rate, size_mb)
                figures += found
                notes.append(note)
            if not args.without_peers:
                notes += peers(folder, url, args.rate, size_mb, figures)
    tell(args, "Volumes over a link of many connections", figures, notes)


def write_volumes(folder: Path, number: int) -> float:
    """Files that differ in their UID alone; returns the size of one in MB."""
    x_DHW = np.random.default_rng(0).integers(0, 255, SHAPE, dtype="u1")
    data = make_dicom(x_DHW, instance_uid=uid_of(0))
    for index in range(number):
        (folder / f"{index}.dcm").write_bytes(data.replace(uid_of(0).encode(), uid_of(index).encode()))
    return len(data) / 1e6


def measure(
    folder: Path, url: str, connections: int, rate: float, size_mb: float
) -> tuple[list[Figure], str]:
    """octjob's reading between two of the least that there is to do, then plain reads; and what took the cores."""
    link = connections * rate
    # Some eight seconds of each, were the link all; plain reads take longer.
    total = max(6, min(96, round(8 * link / size_mb)))
    decoding = reader("decode", url, connections, 24, folder)["rate"] * size_mb
    floors = [reader("floor", url, connections, total, folder)]
    checked = reader("checked", url, connections, total, folder)
    before_s = _server_cpu_s()
    ours = reader("octjob", url, connections, total, folder)
    server_s = (_server_cpu_s() - before_s) / total
    floors.append(reader("floor", url, connections, total, folder))
    plain = reader("plain", url, connections, max(6, total // 3), folder)
    floor, floor_s, floor_amid = (
        float(np.mean([found[key] for found in floors])) for key in ("rate", "cpu_s", "middle_rate")
    )
    limit, limit_amid = (min(link, rate * size_mb) for rate in (floor, floor_amid))
    name = f"{connections} connections"
    why = "link" if limit == link else f"bare sockets and decoding on {num_cores()} cores"
    note = (
        f"{name}: the link has {link:.0f} MB/s, {num_cores()} cores decode {decoding:.0f} if they do nothing else, "
        f"and {floor * size_mb:.0f} if they also serve the files and receive them from bare sockets. octjob "
        f"reached {100 * ours['rate'] * size_mb / limit:.0f} % of the lower of link and this. With the checksums of "
        f"what they receive, which octjob verifies, bare sockets reach {checked['rate'] * size_mb:.0f}, and take "
        f"{checked['cpu_s']:.3f} CPU seconds a volume. The server took {server_s:.3f} CPU seconds a volume."
    )
    figures = [
        Figure(
            f"{name}, decoding",
            "MB/s",
            ours["rate"] * size_mb,
            plain["rate"] * size_mb,
            "requests in threads",
            limit,
            why,
            "more",
            ">= 90 % of N connections where cores allow it, else >= 90 % of what the cores can decode",
        ),
        Figure(
            f"{name}, processor time",
            "CPU s a volume",
            ours["cpu_s"],
            plain["cpu_s"],
            "requests in threads",
            floor_s,
            "bare sockets and decoding",
        ),
        Figure(
            f"{name}, first volume",
            "s",
            ours["first_s"],
            plain["first_s"],
            "requests in threads",
            size_mb / link,
            "link",
            "less",
            "first batch < 3 s",
        ),
        Figure(f"{name}, peak memory", "MB", ours["memory_mb"], plain["memory_mb"], "requests"),
    ]
    # In the middle third nothing is left to begin, and there is always more to fetch.
    if total // 3 >= min(connections, _MOST_AHEAD):
        checked_amid = min(link, checked["middle_rate"] * size_mb)
        figures.append(
            Figure(
                f"{name}, decoding, once under way",
                "MB/s",
                ours["middle_rate"] * size_mb,
                limit=limit_amid,
                limit_name=why,
                better="more",
                wanted="as above",
            )
        )
        note += (
            f" Of the middle third of {total} volumes, octjob reads {ours['middle_rate'] * size_mb:.0f} MB/s, "
            f"{100 * ours['middle_rate'] * size_mb / limit_amid:.0f} % of the lower of link and bare sockets there, "
            f"{100 * ours['middle_rate'] * size_mb / checked_amid:.0f} % of the same with checksums; it takes "
            f"{ours['middle_cpu_s']:.3f} CPU seconds a volume, they {checked['middle_cpu_s']:.3f} with checksums."
        )
    return figures, note


def _server_cpu_s() -> float:
    """Of this process's only child between readers."""
    return sum(cpu_s(pid) for pid in family()[1:])


def reader(kind: str, url: str, connections: int, total: int, folder: Path) -> dict[str, float]:
    """What `benchmarks.readers` says, run by itself."""
    command = [sys.executable, "-m", "benchmarks.readers", kind, str(connections), str(total), str(folder)]
    env = os.environ | {"STORAGE_EMULATOR_HOST": url, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S)
    if done.returncode:
        raise SystemExit(f"{kind} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def peers(folder: Path, url: str, rate: float, size_mb: float, figures: list[Figure]) -> list[str]:
    """The loaders' own rates with 8 workers of theirs, without decoding; those that fail are named."""
    notes, python = [], ROOT / ".venv-peers/bin/python"
    if not python.exists():
        return ["Peers: none, `make peers` was not run."]
    number = len(list(folder.glob("*.dcm")))
    ours = reader("octjob", url, 8, 2 * number, folder)
    for name in PEERS:
        command = [str(python), "-m", "benchmarks.peers.loaders", name, str(folder), url, "8"]
        env = os.environ | {"S3_ENDPOINT_URL": url, "AWS_ENDPOINT_URL": url, "OMP_NUM_THREADS": "1"}
        began = time.monotonic()
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            notes.append(f"{name} did not read from the server: {said[:300]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        if not found["number"]:
            notes.append(f"{name} read nothing from the server, without an error.")
            continue
        figures.append(
            Figure(
                "8 connections, octjob decoding",
                "MB/s",
                ours["rate"] * size_mb,
                found["rate"] * size_mb,
                f"{name}, 8 workers, not decoding",
                8 * rate,
                "link",
                "more",
            )
        )
        notes.append(
            f"{name}: {found['number']} samples, {time.monotonic() - began:.0f} s with writing its shards."
        )
    return notes


if __name__ == "__main__":
    main()
