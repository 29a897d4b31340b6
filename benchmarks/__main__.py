"""Measure everything that docs/benchmarks.md says, one script after the other.

    python -m benchmarks [NAME ...]

Without names, all of `SCRIPTS` but those of `BY_HAND`; with names, only those, and the rest of the page stays as it
was measured before.
Writes docs/benchmarks.json; `python -m docs.generate` draws the page from it, and is called at the end.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "docs" / "benchmarks.json"

# In the order of the page. What needs a control plane or is no table is run by hand without a record (page's end).
SCRIPTS = (
    "frozen_sweep",
    "joint_heads",
    "grid",
    "logistic_path",
    "volumes",
    "streaming",
    "shared_cache",
    "collect_scale",
    "collect_10k",
    "start",
    "finetune_waiting",
    "rematerialisation",
    "attention",
    "headline",
    "report",
    "growth",
    "whole_dataset",
)
# Too long for `make bench`: measured when named, and kept.
BY_HAND = ("collect_10k",)
_TIMEOUT_S = dict.fromkeys(SCRIPTS, 600) | dict.fromkeys(BY_HAND, 3600)
_PACKAGES = ("torch", "numpy", "scikit-learn", "monai", "aireadi-loader", "pydicom", "imagecodecs")


def main() -> int:
    """Run the scripts; exit 1 where one fails, after the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(SCRIPTS))
    names = parser.parse_args().names
    if unknown := sorted(set(names) - set(SCRIPTS)):
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    record: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {"scripts": {}}
    failed = []
    for name in names or [name for name in SCRIPTS if name not in BY_HAND]:
        found = measured(name)
        if found is None:
            failed.append(name)
            continue
        record["scripts"][name] = found
        record["scripts"] = {key: record["scripts"][key] for key in SCRIPTS if key in record["scripts"]}
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
    subprocess.run([sys.executable, "-m", "docs.generate"], cwd=ROOT, check=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def measured(name: str) -> dict[str, Any] | None:
    """One script's figures with when and on what; None where it failed."""
    print(f"\n=== {name}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(path)]
        try:
            code = subprocess.run(command, cwd=ROOT, timeout=_TIMEOUT_S[name]).returncode
        except subprocess.TimeoutExpired:
            print(f"{name}: not done after {_TIMEOUT_S[name]} s", file=sys.stderr)
            return None
        if code or not path.exists():
            print(f"{name}: exit {code}", file=sys.stderr)
            return None
        facts: dict[str, Any] = json.loads(path.read_text())
    return facts | {
        "seconds": round(time.monotonic() - began),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
    }


def machine() -> str:
    """Processor, cores this process may use, and memory."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"^model name\s*: (.+)$", info, re.MULTILINE)
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{found[1] if found else platform.processor()}, {cores} cores, {gib:.0f} GiB"


if __name__ == "__main__":
    sys.exit(main())
