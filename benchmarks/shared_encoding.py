"""What several runs gain by encoding the same volumes together: wall time of 1, 2 and 4 of them.

    python -m benchmarks.shared_encoding [--volumes 400] [--encode 0.05] [--latency 0.05]

The runs are threads, encoding a volume is a pause of `--encode` seconds, and each request to the store, in memory,
one of `--latency`. Printed: the time until the last run has all features, and the time of one run beside it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from doubles.interleaved import MemoryStore
from doubles.peers import Meeting, Peer
from doubles.simulated_encoding import encoded

from octjob.storage.base import ObjectInfo


class Slow(MemoryStore):
    """Takes its time for every request."""

    def __init__(self, latency_s: float) -> None:
        super().__init__()
        self.latency_s = latency_s
        self.requests = 0

    def _wait(self) -> None:
        self.requests += 1
        time.sleep(self.latency_s)

    def get(self, key: str) -> bytes:
        self._wait()
        return super().get(key)

    def head(self, key: str) -> ObjectInfo:
        self._wait()
        return super().head(key)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        self._wait()
        return super().put(key, data, if_absent=if_absent, if_version=if_version)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._wait()
        for key in sorted(self._objects):
            if key.startswith(prefix):
                yield super().head(key)


def together(
    num_runs: int, num_volumes: int, encode_s: float, latency_s: float, num_hosts: int = 1
) -> tuple[float, list[int], int]:
    """Seconds until the last has everything, how many volumes each run encoded, and requests to the store.

    num_hosts: of each run, which encode a share of its volumes each and meet after every step.
    """
    store = Slow(latency_s)
    shares = [0] * num_runs * num_hosts
    meetings = [Meeting(num_hosts) for _ in range(num_runs)]

    def host(index: int) -> None:
        def step(numbers: Sequence[int]) -> None:
            time.sleep(encode_s)
            shares[index] += len(numbers)

        run, number = divmod(index, num_hosts)
        peer = Peer(number, meetings[run])
        assert len(encoded(store, range(num_volumes), f"run-{run}", step, peer)) == num_volumes

    began = time.monotonic()
    with ThreadPoolExecutor(num_runs * num_hosts) as pool:
        list(pool.map(host, range(num_runs * num_hosts)))
    of_runs = [sum(shares[first : first + num_hosts]) for first in range(0, len(shares), num_hosts)]
    return time.monotonic() - began, of_runs, store.requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--volumes", type=int, default=400)
    parser.add_argument("--encode", type=float, default=0.05, metavar="S")
    parser.add_argument("--latency", type=float, default=0.05, metavar="S")
    args = parser.parse_args()
    ideal_s = args.volumes * args.encode
    print(f"{args.volumes} volumes, {args.encode:g} s each: {ideal_s:.1f} s of encoding")
    alone_s = 0.0
    for num_runs in (1, 2, 4):
        wall_s, shares, requests = together(num_runs, args.volumes, args.encode, args.latency)
        alone_s = alone_s or wall_s
        print(
            f"{num_runs} runs: {wall_s:.1f} s, {alone_s / wall_s:.2f} times as fast as one; "
            f"encoded {shares}, {sum(shares) - args.volumes} twice; {requests} requests"
        )


if __name__ == "__main__":
    main()
