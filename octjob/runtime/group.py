"""Several processes with one device each: a batch is divided among them, gradients are summed over them.

Not DDP: with an encoder that is frozen for some epochs its ranks wait for gradients that never come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from octjob.errors import SpecError, UnavailableError
from octjob.runtime.base import LostPeerError, T, round_up
from octjob.runtime.single import Single

# Host 0 may still pull its image while the others wait for it.
JOIN_TIMEOUT_S = 900.0
# A process may load a checkpoint, or score a run, while the others wait in an operation.
OPERATION_TIMEOUT_S = 3600.0
_CONNECT_S = 5.0
_POLL_S = 0.2


class Group(Single):
    """See `octjob.runtime.base.Runtime`: a `Single` device that has peers.

    Raises `LostPeerError` from whatever is collective, as soon as a peer's connection is gone.
    """

    def __init__(self, kind: str, index: int, num_processes: int, store: TCPStore, num_hosts: int) -> None:
        super().__init__(kind)
        self.num_hosts = num_hosts
        self.kind = "group"
        self.index = index
        self.num_processes = self.num_shards = num_processes
        self.store = store

    def padded(self, num_rows: int, full: int) -> int:
        return round_up(num_rows, self.num_processes)

    def rows(self, num_padded: int) -> slice:
        share = num_padded // self.num_processes
        return slice(self.index * share, (self.index + 1) * share)

    def seed(self, *key: int) -> None:
        super().seed(*key, self.index)

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """By one flat sum."""
        flat = torch.cat([x.detach().flatten() for x in tensors])
        with self._peers():
            dist.all_reduce(flat)
        for x, part in zip(tensors, torch.split(flat, [x.numel() for x in tensors]), strict=True):
            x.copy_(part.view_as(x))

    def gather(self, x_b: Tensor) -> Tensor:
        parts = [torch.empty_like(x_b) for _ in range(self.num_processes)]
        with self._peers():
            dist.all_gather(parts, x_b.detach().contiguous())
        return torch.cat(parts).cpu()

    def agree(self, flag: bool) -> bool:
        votes = torch.tensor([int(flag)], device=self.device)
        with self._peers():
            dist.all_reduce(votes, dist.ReduceOp.MAX)
        return bool(votes.item())

    def share(self, make: Callable[[], T]) -> T:
        box: list[Any] = [make() if self.index == 0 else None]
        with self._peers():
            dist.broadcast_object_list(box, src=0)
        shared: T = box[0]
        return shared

    def collect(self, value: T) -> list[T]:
        box: list[Any] = [None] * self.num_processes
        with self._peers():
            dist.all_gather_object(box, value)
        return box

    def tell(self, words: str) -> None:
        with self._peers():
            self.store.set(_left_by(self.index), words)

    def told(self) -> list[str]:
        """What others have left; nothing where process 0, which keeps it, is gone."""
        try:
            keys = [_left_by(i) for i in range(self.num_processes) if i != self.index]
            return [self.store.get(key).decode() for key in keys if self.store.check([key])]
        except RuntimeError:
            return []

    def close(self) -> None:
        dist.destroy_process_group()

    def facts(self) -> dict[str, Any]:
        facts = super().facts() | {"runtime": "group", "backend": dist.get_backend()}
        return facts | {"num_devices": self.num_processes, "num_hosts": self.num_hosts}

    @contextmanager
    def _peers(self) -> Iterator[None]:
        try:
            yield
        except (
            RuntimeError
        ) as error:  # All that gloo and nccl raise, a lost connection as well as a time-out.
            raise LostPeerError(
                f"process {self.index} of {self.num_processes} has lost another one: {error}",
                "The logs of the other hosts say which ended, and why.",
            ) from None


def _left_by(index: int) -> str:
    return f"octjob/left/{index}"


def join_group(
    kind: str,
    coordinator: str,
    index: int,
    num_processes: int,
    wait: Callable[[], None],
    timeout_s: float = JOIN_TIMEOUT_S,
    num_hosts: int | None = None,
) -> Group:
    """Meet the other processes at `coordinator` (host:port, process 0's).

    num_hosts: those that the processes are on; default one for each.
    wait: called again and again until all are there; may raise.

    Raises `UnavailableError` where not all have come within `timeout_s` seconds, naming those that have not.
    """
    deadline = time.monotonic() + timeout_s
    me = f"process {index} of {num_processes}"
    try:
        store = _connect(coordinator, index, num_processes, wait, deadline)
        store.set(_here(index), "")
        while missing := [i for i in range(num_processes) if not store.check([_here(i)])]:
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{me}: {_named(missing)} did not come to {coordinator} within {timeout_s:.0f} s",
                    "Its log and `kubectl describe pod` say why it did not start.",
                )
            wait()
            time.sleep(_POLL_S)
        dist.init_process_group(
            "nccl" if kind == "cuda" else "gloo",
            store=store,
            rank=index,
            world_size=num_processes,
            timeout=timedelta(seconds=OPERATION_TIMEOUT_S),
        )
    except RuntimeError as error:
        raise UnavailableError(
            f"{me}: the meeting at {coordinator} broke off: {error}",
            "The logs of the other hosts say which ended, and why.",
        ) from None
    return Group(kind, index, num_processes, store, num_hosts or num_processes)


def _connect(
    coordinator: str, index: int, num_processes: int, wait: Callable[[], None], deadline: float
) -> TCPStore:
    """The first process's store, which may not be there yet."""
    host, port = _address(coordinator)
    while True:
        try:
            return TCPStore(
                host,
                port,
                num_processes,
                is_master=index == 0,
                timeout=timedelta(seconds=_CONNECT_S),
                wait_for_workers=False,
            )
        except RuntimeError:
            if index == 0:
                raise
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"process {index} of {num_processes}: process 0 did not open {coordinator}",
                    "Its log says why; a NetworkPolicy that keeps the pods apart would do it too.",
                ) from None
            wait()


def _here(index: int) -> str:
    return f"octjob/here/{index}"


def _named(indices: Sequence[int]) -> str:
    word = "process" if len(indices) == 1 else "processes"
    return f"{word} {', '.join(map(str, indices))}"


def _address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise SpecError(f"{coordinator}: not where processes can meet", "Give host:port.")
    return host, int(port)
