"""Which runs share a process: starting one costs seconds, a probe on features that are there costs hardly more."""

from __future__ import annotations

from collections.abc import Sequence

from octjob.spec.encoding import encoding_of
from octjob.spec.run import Run

# What a process keeps for its runs is kept after a few; a long queue behind one run helps nobody.
_MOST = 100


def bundles(runs: Sequence[Run], size: int) -> list[tuple[Run, ...]]:
    """The runs in groups of at most `size`, each run in one: probes that read the same features of one encoder.

    Fine-tunings stay alone. Groups stand in the order of their first runs, runs within one as they came.
    """
    if size == 1:
        return [(run,) for run in runs]
    found: list[list[Run]] = []
    open_bundles: dict[str, list[Run]] = {}
    for run in runs:
        shared = encoding_of(run) if run.config.mode == "probe" else run.run_id
        bundle = open_bundles.get(shared)
        if bundle is None or len(bundle) == size:
            bundle = open_bundles[shared] = []
            found.append(bundle)
        bundle.append(run)
    return [tuple(bundle) for bundle in found]


def size_for(runs: Sequence[Run], num_processes: int) -> int:
    """The largest size of a bundle that leaves none of so many processes idle; 1 where there are fewer runs."""
    for size in range(min(_MOST, len(runs)), 1, -1):
        if len(bundles(runs, size)) >= num_processes:
            return size
    return 1
