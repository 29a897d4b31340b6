"""A grid of learning rates and weight decays as runs of a sweep, on features that are there.

    python -m benchmarks.grid [--side 10] [--volumes 800] [--epochs 50]

side x side runs of one linear head each, carried out in one process: heads together, as octjob does, beside the same
runs one after the other, and beside a torch loop that only trains (nn.Linear, AdamW; a few measured and multiplied).
What a run costs besides (reading, scoring, verdict, writing) is in both of octjob's figures. CPU seconds, one thread.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from doubles.tiny_sweep import fill_bucket, prepared, uri_of

from benchmarks.figures import Figure, arguments, tell
from octjob.run.job import run_job
from octjob.run.shared import Shared
from octjob.spec.run import Run

BATCH, WIDTH = 8, 32
_PEERS = 3


def configurations(side: int, epochs: int) -> dict[str, dict[str, Any]]:
    """A row for each learning rate, a column for each weight decay."""
    return {
        f"lr{i}-wd{j}": {
            "train.epochs": epochs,
            "data.batch_size": BATCH,
            "train.lr_head": float(rate),
            "train.weight_decay": float(decay),
        }
        for i, rate in enumerate(np.geomspace(1e-4, 1e-1, side))
        for j, decay in enumerate(np.geomspace(1e-5, 1e-1, side))
    }


def carried_out(runs: Sequence[Run], *, together: bool) -> float:
    """CPU seconds of all runs in this process."""
    shared, began = Shared(), time.process_time()
    for number, run in enumerate(runs, 1):
        shared.later.uris = [uri_of(later) for later in runs[number:]] if together else ()
        run_job(uri_of(run), lambda progress: None, shared=shared)
    return time.process_time() - began


def loop(num_heads: int, num_train: int, epochs: int) -> float:
    """CPU seconds of training so many heads in torch, none scored."""
    x_NE, label_N = torch.randn(num_train, WIDTH), torch.randint(4, (num_train,))
    began = time.process_time()
    for _ in range(_PEERS):
        head = nn.Linear(WIDTH, 4)
        optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
        for _ in range(epochs):
            for batch in torch.randperm(num_train).split(BATCH):
                optimizer.zero_grad()
                nn.functional.cross_entropy(head(x_NE[batch]), label_N[batch]).backward()
                optimizer.step()
    return (time.process_time() - began) / _PEERS * num_heads


def main() -> None:
    """Print and write the figures."""
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=10)
    parser.add_argument("--volumes", type=int, default=800)
    parser.add_argument("--epochs", type=int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, val = args.volumes // 5, args.volumes // 20
        fill_bucket(folder / "bucket", train=train, val=val).write()
        configs = configurations(args.side, args.epochs)
        cache = {"cache": f"{folder}/cache"}
        _, first = prepared(folder, dict(list(configs.items())[:1]), output=f"{folder}/first", **cache)
        carried_out(first, together=False)
        _, apart = prepared(folder, configs, output=f"{folder}/apart", **cache)
        alone_s = carried_out(apart, together=False)
        _, joined = prepared(folder, configs, output=f"{folder}/joined", **cache)
        joined_s = carried_out(joined, together=True)
    number = len(apart)
    torch_s = loop(number, 4 * train, args.epochs)
    what = f"{number} runs, {4 * train} volumes trained on, {args.epochs} epochs"
    figures = [
        Figure(what, "CPU s", joined_s, alone_s, "one run after the other"),
        Figure(what, "CPU s", joined_s, torch_s, "nn.Linear and AdamW, training alone"),
        Figure("of that, a run", "CPU s", joined_s / number, alone_s / number, "one run after the other"),
    ]
    tell(
        args,
        "A grid as runs of a sweep",
        figures,
        ["Both sides wrote the same bytes (tests/e2e/test_grid.py)."],
    )


if __name__ == "__main__":
    main()
