"""One process with one device, the CPU or a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from octjob.models.attention import Attend
from octjob.models.choice import Backend
from octjob.models.recompute import Recompute
from octjob.runtime.base import Module, T, on_cpu, seed_of


class Single:
    """See `octjob.runtime.base.Runtime`. kind: `cpu` or `cuda`."""

    num_shards = 1
    index = 0
    num_processes = 1
    own_shards = 1
    compiled = False
    backend: Backend = "torch"
    memory: int | None = None

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.device = torch.device(kind)

    def recompute(self) -> Recompute:
        return Recompute()

    def flash(self) -> Attend | None:
        return None

    def place(self, module: Module) -> Module:
        return module.to(self.device)

    def constant(self, x: Tensor) -> Tensor:
        return x.to(self.device)

    def padded(self, num_rows: int, full: int) -> int:
        return num_rows

    def rows(self, num_padded: int) -> slice:
        return slice(0, num_padded)

    def batch(self, x_b: Tensor) -> Tensor:
        return x_b.to(self.device)

    def autocast(self, enabled: bool) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def seed(self, *key: int) -> None:
        if self.device.type == "cpu":
            # `torch.manual_seed` also notes it, with a stack trace, for each kind of device that might be used later.
            torch.default_generator.manual_seed(seed_of(key))
        else:
            torch.manual_seed(seed_of(key))

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """One process: they are sums."""

    def end_step(self) -> None:
        """Nothing waits."""

    def gather(self, x_b: Tensor) -> Tensor:
        return x_b.detach().cpu()

    def agree(self, flag: bool) -> bool:
        return flag

    def share(self, make: Callable[[], T]) -> T:
        return make()

    def collect(self, value: T) -> list[T]:
        return [value]

    def tell(self, words: str) -> None:
        """There are no others."""

    def told(self) -> list[str]:
        return []

    def close(self) -> None:
        """There are no others."""

    def to_host(self, tree: T) -> T:
        return on_cpu(tree)

    def prime(self, optimizer: torch.optim.Optimizer) -> None:
        """Made by the first step."""

    def compiles(self) -> int:
        return 0

    def facts(self) -> dict[str, Any]:
        name = torch.cuda.get_device_name(self.device) if self.kind == "cuda" else "cpu"
        return {"runtime": self.kind, "device": name, "num_devices": 1, "num_hosts": 1}
