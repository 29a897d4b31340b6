"""GPU nodes: what `compute.accelerator: h100:8x2` means, 8 GPUs on each of 2 nodes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from octjob.errors import SpecError
from octjob.spec.show import elided

GPU_LABEL = "cloud.google.com/gke-accelerator"
MACHINE_TYPE_LABEL = "node.kubernetes.io/instance-type"


@dataclass(frozen=True)
class Gpu:
    """One model of GPU.

    names: what it may be called, the usual one first. label: the value of `cloud.google.com/gke-accelerator` on its
    nodes, a name too. memory_gb: of each. machines: machine type to the GPUs it has.
    """

    names: tuple[str, ...]
    label: str
    memory_gb: int
    machines: dict[str, int]

    @property
    def counts(self) -> list[int]:
        """GPUs that a node may have."""
        return sorted(set(self.machines.values()))


@dataclass(frozen=True)
class GpuNodes:
    """Nodes that one run occupies: `hosts` pods of `chips_per_host` GPUs each. machine_type: None for any."""

    gpu: Gpu
    chips_per_host: int
    hosts: int = 1
    machine_type: str | None = None
    kind: Literal["gpu"] = "gpu"
    unit: Literal["GPU"] = "GPU"

    @property
    def name(self) -> str:
        """The shortest name that means the same."""
        nodes = f"x{self.hosts}" if self.hosts > 1 else ""
        return f"{self.gpu.names[0]}:{self.chips_per_host}{nodes}"

    @property
    def in_words(self) -> str:
        """As `Slice` has it."""
        return self.name

    @property
    def slices(self) -> int:
        """GPUs have none: nodes are counted in the name."""
        return 1

    @property
    def pool(self) -> None:
        """Nor are they parts of one."""

    @property
    def chips(self) -> int:
        """GPUs in all."""
        return self.chips_per_host * self.hosts

    @property
    def processes_per_host(self) -> int:
        """Each GPU has a process of its own."""
        return self.chips_per_host

    @property
    def node_selector(self) -> dict[str, str]:
        """The node labels that make a pod land on such a node."""
        machine = {MACHINE_TYPE_LABEL: self.machine_type} if self.machine_type else {}
        return {GPU_LABEL: self.gpu.label, **machine}


# Labels and machines: cloud.google.com/compute/docs/gpus ("GPU machine types") and, of all but A100 80 GB,
# xpk src/xpk/core/system_characteristics.py ("xpk"). Memory: the same page, GPU memory by GPU count.
L4 = Gpu(
    ("l4",),
    "nvidia-l4",
    24,
    {
        "g2-standard-4": 1,
        "g2-standard-8": 1,
        "g2-standard-12": 1,
        "g2-standard-16": 1,
        "g2-standard-24": 2,
        "g2-standard-32": 1,
        "g2-standard-48": 4,
        "g2-standard-96": 8,
    },
)  # "G2 machine series"; xpk
A100 = Gpu(
    ("a100", "a100-40gb"),
    "nvidia-tesla-a100",
    40,
    {"a2-highgpu-1g": 1, "a2-highgpu-2g": 2, "a2-highgpu-4g": 4, "a2-highgpu-8g": 8, "a2-megagpu-16g": 16},
)  # "A2 Standard"; xpk
A100_80 = Gpu(
    ("a100-80gb",),
    "nvidia-a100-80gb",
    80,
    {"a2-ultragpu-1g": 1, "a2-ultragpu-2g": 2, "a2-ultragpu-4g": 4, "a2-ultragpu-8g": 8},
)  # "A2 Ultra"
H100 = Gpu(
    ("h100", "h100-80gb"),
    "nvidia-h100-80gb",
    80,
    {"a3-highgpu-1g": 1, "a3-highgpu-2g": 2, "a3-highgpu-4g": 4, "a3-highgpu-8g": 8},
)  # "A3 High", docs.cloud.google.com/ai-hypercomputer/docs/gpu; xpk
H100_MEGA = Gpu(
    ("h100-mega", "h100-mega-80gb"), "nvidia-h100-mega-80gb", 80, {"a3-megagpu-8g": 8}
)  # "A3 Mega", the same page; xpk
H200 = Gpu(
    ("h200", "h200-141gb"), "nvidia-h200-141gb", 141, {"a3-ultragpu-8g": 8}
)  # "A3 Ultra", the same page; xpk
GPUS = (L4, A100, A100_80, H100, H100_MEGA, H200)

_TEXT = re.compile(r"(?P<name>[a-z][a-z0-9-]*)(:(?P<count>[1-9]\d{0,2})(x(?P<nodes>[1-9]\d{0,3}))?)?")


def parse_gpus(text: str, machine_type: str | None = None) -> GpuNodes | None:
    """The nodes that `h100:8`, `h100:8x2` or `nvidia-h100-80gb:8x2` names; None where no GPU is named.

    machine_type: the nodes' own, where it matters which; it must have as many of these GPUs.

    Raises `SpecError` for a number of GPUs that no such node has.
    """
    match = _TEXT.fullmatch(text.lower())
    name = match["name"] if match else text.lower().partition(":")[0]
    gpu = next((one for one in GPUS if name in (*one.names, one.label)), None)
    if gpu is None:
        return None
    counts = ", ".join(map(str, gpu.counts))
    if match is None or match["count"] is None:
        raise SpecError(
            f"compute.accelerator: {elided(text)} does not say how many GPUs each node has",
            f"Write {name}:{gpu.counts[0]}, or {name}:{gpu.counts[-1]}x2 for two nodes;"
            f" a node of {gpu.label} has {counts}.",
        )
    count, nodes = int(match["count"]), int(match["nodes"] or 1)
    if count not in gpu.counts:
        raise SpecError(
            f"compute.accelerator: {text}: no node has {count} GPUs {gpu.label}; one has {counts}",
            f"Write {name}:{max((n for n in gpu.counts if n <= count), default=gpu.counts[0])};"
            f" {name}:{gpu.counts[-1]}x2 are two nodes.",
        )
    if machine_type is not None and gpu.machines.get(machine_type, 0) < count:
        fitting = ", ".join(machine for machine, has in gpu.machines.items() if has >= count)
        raise SpecError(
            f"compute.machine_type: {elided(machine_type)} has no {count} GPUs {gpu.label}",
            f"{text} is had on {fitting}; without compute.machine_type any of them will do.",
        )
    return GpuNodes(gpu, count, nodes, machine_type)
