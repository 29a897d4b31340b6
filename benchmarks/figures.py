"""What a benchmark found, as one table to print and one file for docs/benchmarks.md.

A script has `main()` that parses `arguments(__doc__)` and ends with `tell(args, title, figures, notes)`. Its defaults
take at most three minutes on two cores; longer ones are asked for.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """One measured thing beside what others take for it and what could be reached at all, in one unit.

    peer: of the same run. limit: what no implementation could beat here, and why. wanted: what was asked for.
    """

    what: str
    unit: str
    ours: float
    peer: float | None = None
    peer_name: str = ""
    limit: float | None = None
    limit_name: str = ""
    better: Literal["less", "more"] = "less"
    wanted: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer; above 1 is better."""
        if self.peer is None or not self.ours or not self.peer:
            return None
        return self.peer / self.ours if self.better == "less" else self.ours / self.peer


@dataclass
class Spent:
    """Wall and CPU seconds of a block, its child processes' included once they have ended."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    began: float = field(default_factory=time.perf_counter)


@contextmanager
def spent() -> Iterator[Spent]:
    """Measure the block."""
    result, before = Spent(), _cpu_s()
    yield result
    result.wall_s, result.cpu_s = time.perf_counter() - result.began, _cpu_s() - before


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    return parser


def tell(args: argparse.Namespace, title: str, figures: Sequence[Figure], notes: Sequence[str] = ()) -> None:
    """Print the figures, and write them where `--json` says."""
    print(f"\n{title}\n\n{table(figures)}")
    for note in notes:
        print(f"\n{note}")
    if args.json:
        facts = {"title": title, "figures": [asdict(figure) for figure in figures], "notes": list(notes)}
        args.json.write_text(json.dumps(facts, indent=1) + "\n")


def table(figures: Sequence[Figure]) -> str:
    """Markdown."""
    rows = [("", "unit", "octjob", "peer", "limit", "times the peer", "asked for")]
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.3g} x"
        rows.append(
            (
                figure.what,
                figure.unit,
                f"{figure.ours:.3g}",
                _named(figure.peer, figure.peer_name),
                _named(figure.limit, figure.limit_name),
                ratio,
                figure.wanted,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "| " + " | ".join("-" * max(3, width) for width in widths) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])


def _named(number: float | None, name: str) -> str:
    return "" if number is None else f"{number:.3g} ({name})" if name else f"{number:.3g}"


def peak_mib() -> float:
    """The most memory of this process; `ru_maxrss` would count what its parent had when it was forked."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else math.nan


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = os.times()
    return own.user + own.system + children.ru_utime + children.ru_stime
