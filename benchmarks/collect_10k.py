"""A sweep of 10,000 runs collected to the end.

    python -m benchmarks collect_10k
    python -m benchmarks.collect_10k --metrics macro_f1 quadratic_kappa

CPU seconds and peak memory of the whole process as in `benchmarks.collect_scale`, and the sizes of what it stores.
Measured by hand, since `make bench` has no room for it; by macro F1 it takes twice as long.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.collect_scale import WANTED, measured, write_results
from benchmarks.figures import Figure, arguments, tell
from octjob.catalog import DEFAULT, METRICS, RANKING


def main() -> None:
    """Measure, and tell."""
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--metrics", nargs="+", choices=RANKING, default=[DEFAULT])
    args = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_results(root, args.runs)
        for metric in args.metrics:
            cpu_s, megabytes = measured("collect", str(root), "--metric", metric)
            what = f"collect {args.runs:,} runs by {METRICS[metric].label}"
            figures += [
                Figure(what, "CPU s", cpu_s, wanted=WANTED.get(args.runs, "")),
                Figure(f"{what}, peak memory", "MB", megabytes),
            ]
        files = sorted((root / "leaderboard").iterdir())
        figures += [Figure(f"{path.name}", "MB", path.stat().st_size / 1e6) for path in files]
    tell(args, f"{args.runs:,} runs", figures, NOTES)


NOTES = (
    "Each run is compared with two others by permutations, 40 for each comparison there is, so that an "
    "adjusted p-value can be small; the ranks need every pair of ranked runs in each of 2,000 draws. Both grow "
    "with the square of the runs, as matrix products.",
)


if __name__ == "__main__":
    main()
