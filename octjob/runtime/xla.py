"""All chips of a slice as one program: torch_xla with SPMD, one process a host, parameters on every chip alike."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
import torch_xla
import torch_xla.backends as backends
import torch_xla.core.xla_model as xm
import torch_xla.debug.metrics as xla_metrics
import torch_xla.distributed.spmd as xs
import torch_xla.runtime as xr
from torch import Tensor

from octjob.models.attention import Attend
from octjob.models.choice import Backend
from octjob.models.recompute import Recompute
from octjob.runtime.base import Module, Runtime, T, map_tensors, round_up, seed_of
from octjob.runtime.flash import flash_attention, xla_recompute
from octjob.runtime.topology import Topology, check_found


class Xla:
    """See `octjob.runtime.base.Runtime`.

    Operations are recorded; `end_step` compiles what was recorded, once for every shape, and starts it. A number of
    Python's is a part of the program, so what varies from step to step comes in as a tensor.

    hosts: by which the slice's processes agree on what no chip knows. topology: the slice; None off TPUs.

    Raises `SpecError` where torch_xla has found other processes or chips than these.
    """

    kind = "xla"
    compiled = True

    def __init__(self, hosts: Runtime, topology: Topology | None = None) -> None:
        self.hosts = hosts
        self.topology = topology
        xr.use_spmd()
        self.device = torch_xla.device()
        self.num_shards = xr.global_runtime_device_count()
        # The host that leads need not be XLA's first process.
        self.index = hosts.index
        self.num_processes = xr.process_count()
        check_found(topology, hosts.num_processes, self.num_processes, self.num_shards)
        self.own_shards = self.num_shards // self.num_processes
        self.memory = None if topology is None else topology.chip_memory
        self.backend: Backend = "tpu" if xr.device_type() == "TPU" else "xla"
        _multiply_as_stored()
        self.mesh = xs.Mesh(np.arange(self.num_shards), (self.num_shards,), ("data",))

    def recompute(self) -> Recompute:
        return xla_recompute()

    def flash(self) -> Attend | None:
        return flash_attention(self.mesh) if self.backend == "tpu" else None

    def place(self, module: Module) -> Module:
        """Also everything that is recorded until now is carried out, lest it becomes part of the first step."""
        placed = module.to(self.device)
        torch_xla.sync()
        return placed

    def constant(self, x: Tensor) -> Tensor:
        return x.to(self.device)

    def padded(self, num_rows: int, full: int) -> int:
        """A full batch always: every other shape would be another program."""
        return round_up(max(num_rows, full), self.num_shards)

    def rows(self, num_padded: int) -> slice:
        share = num_padded // self.num_processes
        first = xr.process_index() * share
        return slice(first, first + share)

    def batch(self, x_b: Tensor) -> Tensor:
        spec = xs.ShardingSpec(
            self.mesh, ("data", *([None] * (x_b.ndim - 1))), minibatch=self.num_processes > 1
        )
        (sent,) = xm.send_cpu_data_to_device([x_b], self.device, spec)
        return sent  # type: ignore[no-any-return]

    def autocast(self, enabled: bool) -> AbstractContextManager[Any]:
        return torch.autocast("xla", torch.bfloat16, enabled=enabled)

    def seed(self, *key: int) -> None:
        """Every `end_step` moves XLA's generator on, so its state cannot be kept: it is set before each step."""
        xm.set_rng_state(seed_of(key) % 2**31)

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Gradients of parameters that are the same everywhere are summed by the partitioner."""

    def end_step(self) -> None:
        torch_xla.sync()

    def gather(self, x_b: Tensor) -> Tensor:
        xs.mark_sharding(x_b, self.mesh, (None,) * x_b.ndim)
        torch_xla.sync()
        return x_b.detach().cpu()

    def agree(self, flag: bool) -> bool:
        return self.hosts.agree(flag)

    def share(self, make: Callable[[], T]) -> T:
        return self.hosts.share(make)

    def collect(self, value: T) -> list[T]:
        return self.hosts.collect(value)

    def tell(self, words: str) -> None:
        self.hosts.tell(words)

    def told(self) -> list[str]:
        return self.hosts.told()

    def close(self) -> None:
        self.hosts.close()

    def to_host(self, tree: T) -> T:
        torch_xla.sync()
        found: list[Tensor] = []
        map_tensors(tree, lambda x: found.append(x.detach()))
        copies = iter(xm._maybe_convert_to_cpu(found))
        copied: T = map_tensors(tree, lambda x: next(copies))
        return copied

    def prime(self, optimizer: torch.optim.Optimizer) -> None:
        """By a step that is undone: zeros are what a first step begins with, Adam's and momentum's alike."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        before = [p.detach().clone() for p in parameters]
        for group in optimizer.param_groups:
            group["lr"] = self.constant(torch.tensor(1.0)) if group.get("capturable") else 1.0
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
            for state in optimizer.state.values():
                for x in state.values():
                    x.zero_()
        torch_xla.sync()

    def compiles(self) -> int:
        data = xla_metrics.metric_data("CompileTime")
        return int(data[0]) if data else 0

    def facts(self) -> dict[str, Any]:
        attributes = xr.global_runtime_device_attributes()
        return {
            "runtime": self.kind,
            "device": str(attributes[0].get("name", xr.device_type())) if attributes else xr.device_type(),
            "num_devices": self.num_shards,
            "num_hosts": self.num_processes,
            "torch_xla": torch_xla.__version__,
            "matmul_precision": backends.get_mat_mul_precision(),
            **({} if self.topology is None else {"libtpu": _libtpu(), **self.topology.facts()}),
        }


def _multiply_as_stored() -> None:
    """Have float32 matrices multiplied in float32: a TPU would cut them to bfloat16, whatever a config asks for.

    Products of bfloat16, which `train.precision: bf16` makes, take as long as without.
    """
    if backends.get_mat_mul_precision() != "highest":
        # It warns of setting it twice, the first time.
        logging.getLogger(backends.__name__).setLevel(logging.ERROR)
        backends.set_mat_mul_precision("highest")


def _libtpu() -> str:
    """The version of the package; TPU_LIBRARY_PATH may name a library that no package brought."""
    try:
        return version("libtpu")
    except PackageNotFoundError:
        return "not from a package"
