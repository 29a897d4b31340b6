"""What 1,000 linear heads cost together: a grid of learning rates, weight decays and seeds on the same features.

    python -m benchmarks.joint_heads [--device cuda]

Features of 1,000 volumes, 768 wide, 4 classes, 100 epochs of AdamW, one thread. Every epoch of a training costs the
same, so each side is measured over some and scaled to all of them. Peers, of torch only: an nn.Linear and an AdamW
for each head, one after the other; and the linear probes of V-JEPA 2 and DINOv2, a ModuleDict of classifiers that all
see a batch, their losses summed for one backward pass, and one optimizer with a group for each.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.figures import Figure, arguments, tell
from octjob.runtime.single import Single
from octjob.spec.experiment import Experiment
from octjob.train.joint import Joint
from octjob.train.loop import Task, Training
from octjob.train.streams import Member
from octjob.train.together import most_together
from octjob.train.units import Unit

NOBODY = np.arange(0)
_MOST_EPOCHS, _LONG_S = 60, 3.0
Grid = list[tuple[float, float, int]]


@dataclass(frozen=True)
class Job:
    """N volumes with E features in K classes, and how they are gone through."""

    batch: int
    epochs: int
    device: str
    volumes: int = 1000
    width: int = 768
    classes: int = 4

    @property
    def steps_per_epoch(self) -> int:
        """Of every head."""
        return -(-self.volumes // self.batch)

    @property
    def experiment(self) -> Experiment:
        """The config that a run would have."""
        mapping = {f"class{k}": k for k in range(self.classes)}
        return Experiment.model_validate(
            {
                "data": {"batch_size": self.batch},
                "classes": {"mapping": mapping},
                "train": {"epochs": self.epochs, "scheduler": "none"},
            }
        )

    def data(self) -> tuple[Tensor, np.ndarray]:
        """Features (N, E) that tell a little of the labels (N)."""
        rng = np.random.default_rng(0)
        label_N = rng.integers(self.classes, size=self.volumes)
        mean_KE = rng.normal(size=(self.classes, self.width)) * 0.1
        x_NE = mean_KE[label_N] + rng.normal(size=(self.volumes, self.width))
        return torch.from_numpy(x_NE.astype(np.float32)), label_N


class Silent:
    """Hooks that neither look nor stop."""

    def after_step(self, training: Training) -> None:
        pass

    def after_epoch(self, training: Training, records: Sequence[dict[str, Any]]) -> None:
        pass


def grid(rates: int, decays: int, seeds: int) -> Grid:
    """Learning rates, weight decays and seeds, a seed's heads as neighbours."""
    return [
        (float(rate), float(decay), seed)
        for seed in range(seeds)
        for rate in np.geomspace(1e-4, 1e-2, rates)
        for decay in np.geomspace(1e-5, 1e-1, decays)
    ]


def ours(job: Job, heads: Grid) -> None:
    """As many together as a run would take."""
    x_NE, label_N = job.data()
    x_VN, experiment = x_NE[None], job.experiment
    members = []
    for rate, decay, seed in heads:
        train = experiment.train.model_copy(update={"lr_head": rate, "weight_decay": decay})
        unit = Unit(seed, 0, np.arange(job.volumes), NOBODY, NOBODY)
        task = Task(unit, label_N, None, lambda positions, logits_NK: {})
        members.append(Member(task, experiment.model_copy(update={"train": train}), x_VN))
    # A seed's heads see the same batches: parts of equal size, none with heads of two seeds.
    most = most_together(experiment, (1, job.volumes, job.width))
    for seed in sorted({member.unit.seed for member in members}):
        own = [member for member in members if member.unit.seed == seed]
        size = -(-len(own) // -(-len(own) // most))
        for first in range(0, len(own), size):
            Joint(own[first : first + size], Single(job.device)).run(Silent())


def one_after_the_other(job: Job, heads: Grid) -> None:
    """A loop of separate heads."""
    x_NE, label_N = (x.to(job.device) for x in tensors(job))
    for rate, decay, seed in heads:
        head = nn.Linear(job.width, job.classes).to(job.device)
        optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=decay)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(job.epochs):
            for batch in torch.randperm(job.volumes, generator=generator).split(job.batch):
                optimizer.zero_grad()
                F.cross_entropy(head(x_NE[batch]), label_N[batch]).backward()
                optimizer.step()


def summed_losses(job: Job, heads: Grid) -> None:
    """All classifiers of a seed see its batches."""
    x_NE, label_N = (x.to(job.device) for x in tensors(job))
    for seed in sorted({seed for _, _, seed in heads}):
        own = [(rate, decay) for rate, decay, s in heads if s == seed]
        classifiers = nn.ModuleDict({str(i): nn.Linear(job.width, job.classes) for i in range(len(own))})
        classifiers.to(job.device)
        groups = [
            {"params": classifiers[str(i)].parameters(), "lr": rate, "weight_decay": decay}
            for i, (rate, decay) in enumerate(own)
        ]
        optimizer = torch.optim.AdamW(groups)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(job.epochs):
            for batch in torch.randperm(job.volumes, generator=generator).split(job.batch):
                optimizer.zero_grad()
                x_BE, label_B = x_NE[batch], label_N[batch]
                losses = [F.cross_entropy(head(x_BE), label_B) for head in classifiers.values()]
                torch.stack(losses).sum().backward()
                optimizer.step()


def tensors(job: Job) -> tuple[Tensor, Tensor]:
    """The data as tensors."""
    x_NE, label_N = job.data()
    return x_NE, torch.from_numpy(label_N)


def cost(train: Callable[[Job, Grid], None], job: Job, heads: Grid, clock: Callable[[], float]) -> float:
    """Seconds an epoch takes all the heads, by what some epochs more than one add: as many as last some seconds."""
    train(replace(job, epochs=1), heads)  # imports, and the first use of every kernel
    one = _seconds(train, replace(job, epochs=1), heads, clock)
    more = min(_MOST_EPOCHS, max(2, math.ceil(_LONG_S / one)))
    return (_seconds(train, replace(job, epochs=1 + more), heads, clock) - one) / more


def _seconds(train: Callable[[Job, Grid], None], job: Job, heads: Grid, clock: Callable[[], float]) -> float:
    before = clock()
    train(job, heads)
    if job.device != "cpu":
        torch.cuda.synchronize()
    return clock() - before


def gemm_flops(device: str, clock: Callable[[], float]) -> float:
    """Floating-point operations a second in a product of large float32 matrices, the best of five."""
    a, b = torch.randn(2, 1536, 1536, device=device)
    best = 0.0
    for _ in range(5):
        before = clock()
        (a @ b).sum().item()
        best = max(best, 2 * 1536**3 / (clock() - before))
    return best


def figures(args: argparse.Namespace, job: Job, clock: Callable[[], float], rate: float) -> list[Figure]:
    """A whole grid and one head."""
    seconds = "CPU s" if job.device == "cpu" else "s"
    heads, few, one = grid(10, 10, args.heads // 100), grid(2, 2, 1), grid(1, 1, 1)
    some = heads[:300]
    all_heads = cost(ours, job, some, clock) * len(heads) / len(some)
    alone = cost(one_after_the_other, job, few, clock) / len(few) * len(heads)
    summed = cost(summed_losses, job, grid(10, 10, 1), clock) * len(heads) / 100
    products = 2 * 2 * job.volumes * job.width * job.classes * len(heads) * args.epochs / rate
    name = f"batches of {job.batch}"
    wanted = "<= 25 CPU s, >= 8 x the loop of separate heads"
    found = [
        Figure(
            f"{len(heads)} heads, {args.epochs} epochs, {name}",
            seconds,
            all_heads * args.epochs,
            peer * args.epochs,
            peer_name,
            products,
            "the matrix products alone",
            wanted=wanted if peer is alone else "",
        )
        for peer, peer_name in (
            (alone, "a loop of separate heads"),
            (summed, "summed losses, V-JEPA 2's way"),
        )
    ]
    if job.batch == 8:
        single, theirs = (cost(train, job, one, clock) for train in (ours, one_after_the_other))
        found.append(
            Figure(
                f"one head, {args.epochs} epochs, {name}",
                seconds,
                single * args.epochs,
                theirs * args.epochs,
                "nn.Linear, AdamW",
                wanted="no slower",
            )
        )
    return found


def main() -> None:
    """Print and write the figures."""
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cpu", help="cpu (default), or cuda in seconds of the wall")
    parser.add_argument("--heads", type=int, default=1000, help="hundreds of heads; default 1000")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument(
        "--batches",
        type=int,
        nargs="+",
        default=[8, 32, 128, 1000],
        help="default 8, octjob's own; 32; 128, as DINOv2's linear probes; and all at once",
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    rate = gemm_flops(args.device, clock)
    found = [
        figure for batch in args.batches for figure in figures(args, Job(batch, 1, args.device), clock, rate)
    ]
    notes = [
        "Scaled: ours from some epochs of 300 heads, separate heads from some of 4, summed losses from some of 100.",
        f"This {args.device} multiplies float32 matrices at {rate / 1e9:.0f} GFLOP/s with one thread. AdamW has a "
        "square root and a division for each weight and step, which that rate does not bound.",
    ]
    tell(args, "Heads trained together", found, notes)


if __name__ == "__main__":
    main()
