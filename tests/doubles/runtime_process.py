"""One process of a runtime that carries out the tiny trainings and prints what came of them, as JSON.

    OCTJOB_DEVICE=xla PJRT_DEVICE=CPU CPU_NUM_DEVICES=4 python runtime_process.py 0 1
    OCTJOB_DEVICE=cpu OCTJOB_COORDINATOR=127.0.0.1:1234 python runtime_process.py 2 4

Arguments: index, number of processes, and names of trainings (default all), each with `@n` to be stopped after n
batches and continued, with `@n=FILE` to be stopped and leave its state there, with `=FILE` to continue from that.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from doubles import tiny_training
from octjob.runtime.environment import make_deterministic
from octjob.runtime.select import open_runtime


def main() -> None:
    """Print {"facts": ..., "trainings": {name: outcome}}."""
    index, num_processes, *names = sys.argv[1:]
    torch.set_num_threads(1)
    make_deterministic()
    runtime = open_runtime(os.environ, int(index), int(num_processes))
    trainings: dict[str, Any] = {}
    for name in names or tiny_training.TRAININGS:
        what, _, state = name.partition("=")
        training, _, stop_after = what.partition("@")
        begun = time.monotonic()
        trainings[name] = tiny_training.carry_out(
            runtime, training, int(stop_after) if stop_after else None, Path(state) if state else None
        )
        trainings[name]["duration_s"] = time.monotonic() - begun
    print(json.dumps({"facts": runtime.facts(), "trainings": trainings}))  # noqa: T201


if __name__ == "__main__":
    main()
