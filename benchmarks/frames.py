"""The functions of octjob's own that a run passes, from `octjob train` to its first optimizer step.

    python -m benchmarks.frames

They are read off the call stack of a real run: the tiny sweep that the tests keep, of which one run was not begun and
one was interrupted in fine-tuning. Any revision that reads that sweep can be asked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ARCHIVE = ROOT / "tests/doubles/sweep-of-result-version-2.tar.xz"
# The archive's paths begin with this.
WRITTEN_IN = b"/octjob-sweep"
MODES = {"probe": "waiting", "fine-tuning": "finetune"}

# Runs in a process of its own, with the asked revision first on its path; ends it at the first step.
_DRIVER = """
import json, os, sys
package, told, argv = sys.argv[1] + os.sep, sys.argv[2], sys.argv[3:]

def look(*args, **settings):
    frame, frames = sys._getframe(), []
    while frame := frame.f_back:
        code = frame.f_code
        if os.path.realpath(code.co_filename).startswith(package):
            frames.append((os.path.relpath(os.path.realpath(code.co_filename), package), code.co_qualname))
    with open(told, "w") as file:
        json.dump(frames[::-1], file)
    os._exit(0)

import torch
for optimizer in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
    optimizer.step = look
torch._fused_adamw_ = look
import octjob.cli
assert os.path.realpath(octjob.cli.__file__).startswith(package), octjob.cli.__file__
sys.argv[:] = ["octjob", *argv]
octjob.cli.main()
"""


class FramesError(Exception):
    """The run ended without an optimizer step."""


@dataclass(frozen=True)
class Frame:
    """A function: its file below `octjob/`, and its qualified name."""

    file: str
    name: str

    def __str__(self) -> str:
        return f"{self.file}:{self.name}"


def frames_to_step(tree: Path, mode: str) -> list[Frame]:
    """The functions passed, the command `train` first, in the checkout `tree`; mode: a key of `MODES`.

    Raises `FramesError` with the run's last words.
    """
    with tempfile.TemporaryDirectory() as folder:
        uri = _unpack(Path(folder), MODES[mode])
        passed = _drive(tree.resolve(), Path(folder), ["train", "--run", uri])
    first = next(i for i, frame in enumerate(passed) if frame.file == "cli/train.py")
    return passed[first:]


def _drive(tree: Path, folder: Path, argv: list[str]) -> list[Frame]:
    told = folder / "frames.json"
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, str(tree / "octjob"), str(told), *argv],
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if not told.exists():
        raise FramesError(f"exit {done.returncode}: {done.stdout[-2000:]}")
    return [Frame(*frame) for frame in json.loads(told.read_text())]


def _unpack(folder: Path, config: str) -> str:
    """Put the tiny sweep there, its paths set; returns the URI of the run of `config`."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".yaml"):
            path.write_bytes(path.read_bytes().replace(WRITTEN_IN, str(folder).encode()))
    runs = json.loads((folder / "out/tiny/sweep.json").read_text())["runs"]
    (run_id,) = [run["run_id"] for run in runs if run["config"] == config]
    return f"{folder}/out/tiny/runs/{run_id}"


def main() -> None:
    """Print both modes' frames."""
    for mode in MODES:
        frames = frames_to_step(ROOT, mode)
        print(f"{mode}: {len(frames)}")
        for i, frame in enumerate(frames, 1):
            print(f"{i:4}  {frame}")


if __name__ == "__main__":
    main()
