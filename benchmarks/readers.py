"""One way of reading volumes over a link, measured alone.

    python -m benchmarks.readers octjob|plain|floor|checked|decode CONNECTIONS VOLUMES FOLDER

octjob: as a run reads them. plain: threads with `requests`, and processes that decode. floor: the least that there is
to do, bytes from sockets into memory that is there already, and decoding. checked: the same, with the checksum that
the store gives of each object. decode: decoding alone, with the bytes in memory.
Prints one JSON line: volumes a second, seconds to the first, peak memory in MB, and CPU seconds a volume of this
process and its children, without their start; rate and CPU seconds of the middle third of the volumes too. See
`benchmarks.streaming`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import mmap
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from octjob.data.cohort import Volume
from octjob.data.cores import num_cores
from octjob.data.decoders import Decoders
from octjob.data.manifest import VolumeRecord
from octjob.data.memory_file import Memory, MemoryFile
from octjob.data.participants import Participant
from octjob.data.prepared import Preparation, prepare_volume
from octjob.data.quarantine import Quarantine
from octjob.data.stream import Breadth, load_volumes
from octjob.data.volumes import VolumeReader
from octjob.storage.checksum import hasher_of
from octjob.storage.gcs import GcsStore
from octjob.storage.pieces import PIECE_BYTES

SHAPE = (128, 885, 512)
SIZE = (64, 384, 384)
_BUCKET = "volumes"
_PREPARATION = Preparation("pretraining", SIZE)
_SUMMED_BYTES = 1 << 20
# Of each thread.
_LOCAL = threading.local()
# These begin to count when they have said so.
_BEGIN_LATER = ("floor", "checked", "decode")


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
    data = Path(sys.argv[4], "0.dcm").read_bytes()
    with ThreadPoolExecutor(num_cores()) as pool, _decoders(pool) as decoders, MemoryFile.of(data) as file:

        def one(_: int) -> object:
            return decoders.prepare(file, "file:///0", SHAPE, _PREPARATION).x_DHW

        one(0)
        yield  # from here on it counts
        yield from pool.map(one, indices)


def floor(
    connections: int, indices: list[int], check: Callable[[mmap.mmap], object] = id
) -> Iterator[object]:
    """Nothing is asked, tried again or put in order, nor checked but by `check`: a thread for each connection fills
    memory, others have it decoded."""
    size = Path(sys.argv[4], "0.dcm").stat().st_size
    empty: queue.SimpleQueue[mmap.mmap] = queue.SimpleQueue()
    full: queue.SimpleQueue[mmap.mmap] = queue.SimpleQueue()
    with (
        ThreadPoolExecutor(connections) as threads,
        ThreadPoolExecutor(num_cores()) as pool,
        _decoders(pool) as decoders,
    ):
        files = {}
        for _ in range(connections + num_cores()):
            memory = Memory(size)
            memory.write(0, bytes(size))
            room = mmap.mmap(memory.descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
            files[room] = MemoryFile(size, take=lambda _, memory=memory: memory)
            empty.put(room)

        def receive(index: int) -> None:
            room = empty.get()
            while not _received(index, room):
                pass
            full.put(room)

        def one(_: int) -> object:
            room = full.get()
            check(room)
            x_DHW = decoders.prepare(files[room], "file:///0", SHAPE, _PREPARATION).x_DHW
            empty.put(room)
            return x_DHW

        receive(0)
        one(0)
        yield  # from here on it counts
        receiving = threads.map(receive, indices)
        yield from pool.map(one, indices)
        list(receiving)


def checked(connections: int, indices: list[int]) -> Iterator[object]:
    """As `floor`, with the CRC-32C of every file."""
    return floor(connections, indices, _sum_up)


def _sum_up(room: mmap.mmap) -> str:
    hasher, file = hasher_of("crc32c:"), np.frombuffer(room, np.uint8)
    assert hasher is not None
    for place in range(0, len(file), _SUMMED_BYTES):
        hasher.update(file[place : place + _SUMMED_BYTES])
    return hasher.hexdigest()


@contextlib.contextmanager
def _decoders(pool: ThreadPoolExecutor) -> Iterator[Decoders]:
    """As many as there are cores, started."""
    decoders = Decoders()
    list(pool.map(lambda _: decoders.start_one(), range(num_cores())))
    yield decoders
    decoders.close()


def _received(index: int, room: mmap.mmap) -> bool:
    """One file by the socket's own calls; False where the server failed."""
    view, place = memoryview(room), 0
    with contextlib.suppress(OSError):
        connection = _connection()
        connection.sendall(f"GET /{_BUCKET}/{index}.dcm HTTP/1.1\r\nHost: link\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (byte := connection.recv(1)):
                raise ConnectionError
            head += byte
        while head.startswith(b"HTTP/1.1 200") and place < len(view):
            if not (number := connection.recv_into(view[place : place + PIECE_BYTES])):
                raise ConnectionError
            place += number
    if place < len(view):
        del _LOCAL.connection
    return place == len(view)


def _connection() -> socket.socket:
    """This thread's own."""
    if not hasattr(_LOCAL, "connection"):
        link = urlsplit(os.environ["STORAGE_EMULATOR_HOST"])
        _LOCAL.connection = socket.create_connection((link.hostname, link.port))
    return _LOCAL.connection


def _got(index: int) -> bytes:
    import requests

    while True:
        with contextlib.suppress(requests.RequestException):
            url = f"{os.environ['STORAGE_EMULATOR_HOST']}/{_BUCKET}/{index}.dcm"
            found = _session().get(url, timeout=60)
            if found.ok:
                return found.content


def _session() -> object:
    import requests

    if not hasattr(_LOCAL, "session"):
        _LOCAL.session = requests.Session()
    return _LOCAL.session


def _prepared(data: bytes, index: int) -> object:
    return prepare_volume(data, str(index), SHAPE, _PREPARATION).x_DHW


def _volume(index: int) -> Volume:
    record = VolumeRecord(
        participant=str(index), device="", manufacturer="", model="", region="", imaging="", laterality="R",
        height=SHAPE[1], width=SHAPE[2], num_frames=SHAPE[0], sop_instance_uid=uid_of(index), key=f"{index}.dcm",
        protocol="",
    )  # fmt: skip
    return Volume(record, Participant(str(index), "UW", "healthy", 0, "train", True))


class Watched(threading.Thread):
    """The peak of what this process, its children and memory files take, sampled; the machine must be quiet."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_kb = 0
        self._shared_kb = _kb("/proc/meminfo", "Shmem:")

    def run(self) -> None:
        while True:
            taken = sum(_kb(f"/proc/{pid}/status", "RssAnon:") for pid in family())
            self.peak_kb = max(self.peak_kb, taken + _kb("/proc/meminfo", "Shmem:") - self._shared_kb)
            time.sleep(0.1)


def family() -> list[str]:
    """This process and those it has started, and they, and so on."""
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


def cpu_s(pid: str) -> float:
    """CPU seconds of a process up to now, 0 where it has gone."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def main() -> None:
    kind, connections, total = sys.argv[1], *map(int, sys.argv[2:4])
    num_files = len(list(Path(sys.argv[4]).glob("*.dcm")))
    memory = Watched()
    memory.start()
    indices = [number % num_files for number in range(total)]
    began = time.monotonic()
    kinds = {"octjob": octjob, "plain": plain, "floor": floor, "checked": checked, "decode": decode}
    reading = kinds[kind](connections, indices)
    begun_s = _spent_s()
    next(reading)
    first_s, before_s, after_s = time.monotonic() - began, _spent_s(), 0.0
    first = number = int(kind not in _BEGIN_LATER)
    # Its threads share the link evenly, so that nearly all volumes come with the first.
    if kind == "plain":
        before_s, first = begun_s, 0
    if not first:
        began = time.monotonic()
    third = {total // 3: (0.0, 0.0), total - total // 3: (0.0, 0.0)}
    for _ in reading:
        number += 1
        if number in third:
            third[number] = time.monotonic(), _spent_s()
        if number == total:  # afterwards processes end
            after_s = _spent_s()
    assert number == total
    (from_s, from_cpu_s), (to_s, to_cpu_s) = third.values()
    in_third = total - 2 * (total // 3)
    found = {
        "rate": number / (time.monotonic() - began),
        "middle_rate": in_third / (to_s - from_s),
        "middle_cpu_s": (to_cpu_s - from_cpu_s) / in_third,
        "first_s": first_s,
        "memory_mb": memory.peak_kb / 1000,
        "cpu_s": (after_s - before_s) / (total - first),
    }
    print(json.dumps(found))


def _spent_s() -> float:
    return sum(map(cpu_s, family()))


if __name__ == "__main__":
    main()
