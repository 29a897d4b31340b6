"""What several runs gain by encoding the same volumes together: time of 1, 2 and 4 of them.

    python -m benchmarks.shared_encoding [--volumes 400] [--encode 0.05] [--latency 0.05]

In simulated time (`benchmarks.simulated_time`): encoding a volume takes `--encode` seconds, and each request to the
store `--latency`. Printed: the time until the last run has all features, and the time of one run beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from doubles.simulated_encoding import encoded

from benchmarks.simulated_time import Bucket, Host, Meeting, SimulatedTime


def together(
    num_runs: int, num_volumes: int, encode_s: float, latency_s: float, num_hosts: int = 1
) -> tuple[float, list[int], int]:
    """Seconds until the last has everything, how many volumes each run encoded, and requests to the store.

    num_hosts: of each run, which encode a share of its volumes each and meet after every step.
    """
    time = SimulatedTime()
    store = Bucket(time, latency_s)
    shares = [0] * num_runs

    def host(run: int, number: int, meeting: Meeting) -> None:
        def step(numbers: Sequence[int]) -> None:
            shares[run] += len(numbers)
            time.elapse(encode_s)

        peer = Host(number, meeting)
        assert len(encoded(store, range(num_volumes), f"run-{run}", step, peer)) == num_volumes

    for run in range(num_runs):
        meeting = Meeting(time, num_hosts)
        for number in range(num_hosts):
            time.add(f"{run}/{number}", partial(host, run, number, meeting))
    return time.play(), shares, store.requests


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
