"""One way of reading volumes over a link, measured alone: `octjob`, `plain`, or `decode`, which has them in memory.

    python -m benchmarks.readers octjob CONNECTIONS VOLUMES FOLDER

Prints one JSON line: volumes a second, seconds to the first, peak memory in MB. See `benchmarks.streaming`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from octjob.data.cohort import Volume
from octjob.data.cores import num_cores
from octjob.data.decoders import Decoders
from octjob.data.manifest import VolumeRecord
from octjob.data.memory_file import MemoryFile
from octjob.data.participants import Participant
from octjob.data.prepared import Preparation, prepare_volume
from octjob.data.quarantine import Quarantine
from octjob.data.stream import Breadth, load_volumes
from octjob.data.volumes import VolumeReader
from octjob.storage.gcs import GcsStore

SHAPE = (128, 885, 512)
SIZE = (64, 384, 384)
_BUCKET = "volumes"
_PREPARATION = Preparation("pretraining", SIZE)


def uid_of(index: int) -> str:
    """Of the same length for every file."""
    return f"1.2.826.{1000 + index}"


def octjob(connections: int, indices: list[int]) -> Iterator[object]:
    """As a run reads them."""
    reader = VolumeReader(GcsStore(f"gs://{_BUCKET}"), "pretraining", SIZE)
    volumes = [_volume(index) for index in indices]
    for _, x_DHW in load_volumes(reader, volumes, Breadth.of(connections, None), Quarantine()):
        yield x_DHW


def plain(connections: int, indices: list[int]) -> Iterator[object]:
    """Threads that read whole files, and processes that decode them."""
    with (
        ThreadPoolExecutor(connections) as threads,
        ProcessPoolExecutor(num_cores(), mp_context=get_context("spawn")) as processes,
    ):
        waiting = threading.Semaphore(connections + num_cores())

        def read(index: int) -> object:
            with waiting:
                return processes.submit(_prepared, _got(index), index).result()

        yield from threads.map(read, indices)


def decode(connections: int, indices: list[int]) -> Iterator[object]:
    """Files that are here already, by as many decoding processes as there are cores."""
    data, decoders = Path(sys.argv[4], "0.dcm").read_bytes(), Decoders()
    with ThreadPoolExecutor(num_cores()) as pool:
        list(pool.map(lambda _: decoders.start_one(), range(num_cores())))

        def one(_: int) -> object:
            with MemoryFile.of(data) as file:
                return decoders.prepare(file, "file:///0", SHAPE, _PREPARATION).x_DHW

        one(0)
        yield  # from here on it counts
        yield from pool.map(one, indices)


def _got(index: int) -> bytes:
    import requests

    while True:
        with contextlib.suppress(requests.RequestException):
            url = f"{os.environ['STORAGE_EMULATOR_HOST']}/{_BUCKET}/{index}.dcm"
            found = _session().get(url, timeout=60)
            if found.ok:
                return found.content


_SESSIONS = threading.local()


def _session() -> object:
    import requests

    if not hasattr(_SESSIONS, "one"):
        _SESSIONS.one = requests.Session()
    return _SESSIONS.one


def _prepared(data: bytes, index: int) -> object:
    return prepare_volume(data, str(index), SHAPE, _PREPARATION).x_DHW


def _volume(index: int) -> Volume:
    record = VolumeRecord(
        participant=str(index), device="", manufacturer="", model="", region="", imaging="", laterality="R",
        height=SHAPE[1], width=SHAPE[2], num_frames=SHAPE[0], sop_instance_uid=uid_of(index), key=f"{index}.dcm",
        protocol="",
    )  # fmt: skip
    return Volume(record, Participant(str(index), "UW", "healthy", 0, "train", True))


class Memory(threading.Thread):
    """The peak of what this process, its children and memory files take, sampled; the machine must be quiet."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_kb = 0
        self._shared_kb = _kb("/proc/meminfo", "Shmem:")

    def run(self) -> None:
        while True:
            taken = sum(_kb(f"/proc/{pid}/status", "RssAnon:") for pid in _family())
            self.peak_kb = max(self.peak_kb, taken + _kb("/proc/meminfo", "Shmem:") - self._shared_kb)
            time.sleep(0.1)


def _family() -> list[str]:
    found = [str(os.getpid())]
    for pid in found:
        with contextlib.suppress(OSError):
            tasks = Path(f"/proc/{pid}/task").iterdir()
            found += itertools.chain.from_iterable((task / "children").read_text().split() for task in tasks)
    return found


def _kb(path: str, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(path).read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0


def main() -> None:
    kind, connections, total = sys.argv[1], *map(int, sys.argv[2:4])
    num_files = len(list(Path(sys.argv[4]).glob("*.dcm")))
    memory = Memory()
    memory.start()
    indices = [number % num_files for number in range(total)]
    began = time.monotonic()
    reading = {"octjob": octjob, "plain": plain, "decode": decode}[kind](connections, indices)
    next(reading)
    first_s = time.monotonic() - began
    if kind == "decode":
        began, total = time.monotonic(), total + 1
    number = 1 + sum(1 for _ in reading)
    took_s = time.monotonic() - began
    assert number == total
    rate = (number - (kind == "decode")) / took_s
    print(json.dumps({"rate": rate, "first_s": first_s, "memory_mb": memory.peak_kb / 1000}))


if __name__ == "__main__":
    main()
