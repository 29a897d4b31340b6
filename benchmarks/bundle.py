"""What sharing a process saves: tiny probes, each in a process of its own and all in one.

    python -m benchmarks.bundle [--probes 6]

The probes read one checkpoint's features, which the first of each kind encodes. Printed: CPU seconds of the processes
and of what they started, wall-clock seconds, and the ratios. On real data the imports are the same and the work is
more.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from doubles.tiny_sweep import prepared, uri_of

from octjob.spec.run import Run


def probes(count: int) -> dict[str, dict[str, Any]]:
    """Configurations that differ in nothing that a feature depends on."""
    return {f"p{n}": {"train.epochs": 5, "train.lr_head": 0.001 * (n + 1)} for n in range(count)}


def seconds(bundles: Sequence[Sequence[Run]]) -> tuple[float, float]:
    """(CPU, wall-clock) seconds of `octjob train`, started once for each bundle, one after the other."""
    cpu, clock = _children(), time.monotonic()
    for bundle in bundles:
        words = [word for run in bundle for word in ("--run", uri_of(run))]
        subprocess.run(
            [sys.executable, "-m", "octjob", "train", *words], check=True, stdout=subprocess.DEVNULL
        )
    return _children() - cpu, time.monotonic() - clock


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--probes", type=int, default=6)
    count = parser.parse_args().probes
    with tempfile.TemporaryDirectory() as folder:
        _, apart = prepared(Path(folder) / "apart", probes(count))
        _, together = prepared(Path(folder) / "together", probes(count))
        ours = seconds([(run,) for run in apart])
        bundled = seconds([together])
    for name, alone_s, bundled_s in zip(("CPU", "clock"), ours, bundled, strict=True):
        ratio = alone_s / bundled_s
        print(f"{count} probes, {name}: {alone_s:.1f} s apart, {bundled_s:.1f} s bundled, ratio {ratio:.1f}")


if __name__ == "__main__":
    main()
