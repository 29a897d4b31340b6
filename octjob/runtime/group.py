"""Several processes with one device each: a batch is divided among them, gradients are summed over them.

Not DDP: with an encoder that is frozen for some epochs its ranks wait for gradients that never come.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from octjob.errors import UnavailableError
from octjob.runtime.base import T, round_up
from octjob.runtime.single import Single

# Also what a process waits for the others in one operation: host 0 may load a checkpoint while they wait.
JOIN_TIMEOUT_S = 900.0


class Group(Single):
    """See `octjob.runtime.base.Runtime`: a `Single` device that has peers."""

    def __init__(self, kind: str, index: int, num_processes: int) -> None:
        super().__init__(kind)
        self.kind = "group"
        self.index = index
        self.num_processes = self.num_shards = num_processes

    def padded(self, num_rows: int, full: int) -> int:
        return round_up(num_rows, self.num_processes)

    def rows(self, num_padded: int) -> slice:
        share = num_padded // self.num_processes
        return slice(self.index * share, (self.index + 1) * share)

    def seed(self, *key: int) -> None:
        super().seed(*key, self.index)

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """By one flat sum."""
        if not tensors:
            return
        flat = torch.cat([x.detach().flatten() for x in tensors])
        dist.all_reduce(flat)
        for x, part in zip(tensors, torch.split(flat, [x.numel() for x in tensors]), strict=True):
            x.copy_(part.view_as(x))

    def gather(self, x_b: Tensor) -> Tensor:
        parts = [torch.empty_like(x_b) for _ in range(self.num_processes)]
        dist.all_gather(parts, x_b.detach().contiguous())
        return torch.cat(parts).cpu()

    def agree(self, flag: bool) -> bool:
        votes = torch.tensor([int(flag)], device=self.device)
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return bool(votes.item())

    def share(self, value: T) -> T:
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def facts(self) -> dict[str, Any]:
        facts = super().facts() | {"runtime": "group", "backend": dist.get_backend()}
        return facts | {"num_devices": self.num_processes, "num_hosts": self.num_processes}


def join_group(
    kind: str, coordinator: str, index: int, num_processes: int, timeout_s: float = JOIN_TIMEOUT_S
) -> Group:
    """Meet the other processes at `coordinator` (host:port, process 0's).

    Raises `UnavailableError` where not all have come within `timeout_s` seconds.
    """
    try:
        dist.init_process_group(
            "nccl" if kind == "cuda" else "gloo",
            init_method=f"tcp://{coordinator}",
            rank=index,
            world_size=num_processes,
            timeout=timedelta(seconds=timeout_s),
        )
    except (dist.DistError, ValueError) as error:
        raise UnavailableError(
            f"process {index} of {num_processes}: not all met at {coordinator} within {timeout_s:.0f} s: {error}",
            "See the logs of the other hosts; the first that has none is the one that is missing.",
        ) from None
    return Group(kind, index, num_processes)
