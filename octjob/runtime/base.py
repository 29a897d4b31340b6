"""What a run computes on, behind one door: one device, one in each of several processes, or all chips of a slice.

A batch is global: its rows are padded to `padded` rows, of which each process holds `rows`. Methods marked
*collective* are called by every process, in the same order. Shapes: B rows of the padded batch, b those of this
process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from octjob.errors import Interrupted
from octjob.models.attention import Attend
from octjob.models.choice import Backend
from octjob.models.recompute import Recompute

T = TypeVar("T")
Module = TypeVar("Module", bound=nn.Module)


class LostPeerError(Interrupted):
    """Another process of the run is gone, or silent: without it nothing collective can end."""


class Runtime(Protocol):
    """Where a run's tensors are and how their sums are made.

    kind: `cpu`, `cuda`, `group` or `xla`. num_shards: parts that a batch is divided into, one a device.
    index, num_processes: this process's place; index 0 writes and speaks for all.
    backend: who compiles, on which an encoder's attention depends.
    memory: bytes of one device for programs, where they are known and a program that takes more is refused.
    compiled: operations are recorded and compiled, so a number that changes from step to step has to be a tensor.
    """

    kind: str
    num_shards: int
    index: int
    num_processes: int
    compiled: bool
    backend: Backend
    memory: int | None

    @property
    def own_shards(self) -> int:
        """Devices of this process."""
        ...

    def recompute(self) -> Recompute:
        """How blocks are computed again in the backward pass."""
        ...

    def flash(self) -> Attend | None:
        """The flash attention kernel, where there is one of the runtime's own."""
        ...

    def place(self, module: Module) -> Module:
        """The module with its parameters on every device, alike."""
        ...

    def constant(self, x: Tensor) -> Tensor:
        """A tensor of the CPU, the same in every process, on every device."""
        ...

    def padded(self, num_rows: int, full: int) -> int:
        """Rows to pad a batch of `num_rows` to, where a full batch has `full`."""
        ...

    def rows(self, num_padded: int) -> slice:
        """This process's rows of a padded batch."""
        ...

    def batch(self, x_b: Tensor) -> Tensor:
        """This process's rows, on the CPU, as its part of the batch on its devices."""
        ...

    def autocast(self, enabled: bool) -> AbstractContextManager[Any]:
        """bfloat16 where torch thinks it safe."""
        ...

    def seed(self, *key: int) -> None:
        """Seed what is drawn on the devices next, by whole numbers from 0 on."""
        ...

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """*Collective.* Replace each by its sum over the processes."""
        ...

    def end_step(self) -> None:
        """What was asked for until now is one program: carry it out. Nothing is read back."""
        ...

    def gather(self, x_b: Tensor) -> Tensor:
        """*Collective.* All rows of a batch, on the CPU of every process."""
        ...

    def agree(self, flag: bool) -> bool:
        """*Collective.* Whether any process says so."""
        ...

    def share(self, make: Callable[[], T]) -> T:
        """*Collective.* Process 0 makes a value; every process gets it."""
        ...

    def collect(self, value: T) -> list[T]:
        """*Collective.* Every process's value, by index."""
        ...

    def tell(self, words: str) -> None:
        """Leave the others word of why this process ends; they read it once they miss it."""
        ...

    def told(self) -> list[str]:
        """What others have left."""
        ...

    def close(self) -> None:
        """Leave the others; nothing collective after that."""
        ...

    def to_host(self, tree: T) -> T:
        """Nested dicts, lists and tuples with every tensor copied to the CPU, in one go."""
        ...

    def prime(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the optimizer's state now, where making it within the first step would be another program."""
        ...

    def compiles(self) -> int:
        """Programs compiled by this process so far."""
        ...

    def facts(self) -> dict[str, Any]:
        """What is really used, for the log and the result: kind, devices, processes, versions."""
        ...


def map_tensors(tree: Any, function: Any) -> Any:
    """The tree with `function` applied to its tensors."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return type(tree)((key, map_tensors(value, function)) for key, value in tree.items())
    if isinstance(tree, list | tuple):
        return type(tree)(map_tensors(value, function) for value in tree)
    return tree


def seed_of(key: Sequence[int]) -> int:
    """One 63-bit seed for a key of whole numbers; different keys have unrelated ones."""
    import numpy as np

    high, low = np.random.SeedSequence(list(key)).generate_state(2, np.uint32)
    return (int(high) << 31) ^ int(low)


def round_up(number: int, multiple: int) -> int:
    """The least multiple that is not less."""
    return -(-number // multiple) * multiple


def on_cpu(tree: T) -> T:
    """Every tensor detached and copied to the CPU."""
    copied: T = map_tensors(tree, lambda x: torch.empty_like(x, device="cpu").copy_(x.detach()))
    return copied
