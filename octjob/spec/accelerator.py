"""What `compute.accelerator` means in chips, hosts, machines and node labels: TPU slices; GPUs are in `gpu`.

The topology is what a slice is; a short name such as `v4-32` is an alias for it. Its number counts TensorCores for
v4, v5p and 7x but chips for v5e and v6e: a v4-32 has 32 TensorCores on 16 chips in 4 hosts.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from octjob.errors import SpecError
from octjob.spec.gpu import GPUS, MACHINE_TYPE_LABEL, GpuNodes, parse_gpus
from octjob.spec.show import elided, shown

if TYPE_CHECKING:
    from octjob.spec.compute import Compute
    from octjob.spec.yaml import Document

ACCELERATOR_LABEL = "cloud.google.com/gke-tpu-accelerator"
TOPOLOGY_LABEL = "cloud.google.com/gke-tpu-topology"


@dataclass(frozen=True)
class Generation:
    """What the slices of one TPU generation share.

    prefixes: what names start with, the usual one first.
    label: the value of `cloud.google.com/gke-tpu-accelerator` on its nodes.
    any_order: whether GKE accepts the axes of a topology in any order.
    memory_gib: of a chip, for programs: the limit that libtpu names when one does not fit. None: not seen yet.
    peak_tflops: dense bfloat16 operations of a chip in a second, from cloud.google.com/tpu/docs. parts: topologies of
    slices that may be parts of a larger one's node pool.
    """

    name: str
    prefixes: tuple[str, ...]
    label: str
    cores_per_chip: int
    counts_cores: bool
    any_order: bool = False
    memory_gib: float | None = None
    peak_tflops: float | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slice:
    """What one run occupies whole: a slice of `hosts` pods with `chips_per_host` chips each, or `slices` of them.

    chips: of all slices. pool: topology of the node pool that it is a part of; None where it is a pool of its own.
    """

    generation: Generation
    name: str
    topology: str
    chips: int
    hosts: int
    machine_type: str
    slices: int = 1
    pool: str | None = None
    kind: Literal["tpu"] = "tpu"
    unit: Literal["chip"] = "chip"

    @property
    def processes_per_host(self) -> int:
        """One process has all chips of its host."""
        return 1

    @property
    def chips_per_host(self) -> int:
        """The `google.com/tpu` request of each pod: all chips of its host."""
        return self.chips // (self.hosts * self.slices)

    @property
    def in_words(self) -> str:
        """`v4-32`, or `2 x v4-32`."""
        return self.name if self.slices == 1 else f"{self.slices} x {self.name}"

    @property
    def cores(self) -> int:
        """TensorCores in all."""
        return self.chips * self.generation.cores_per_chip

    @property
    def ambiguous(self) -> bool:
        """Whether generation and topology leave open how many hosts there are."""
        return len(_rows(self.generation, self.topology)) > 1

    @property
    def node_selector(self) -> dict[str, str]:
        """The node labels that make a pod land on such a slice; the machine type only where it decides."""
        labels = {ACCELERATOR_LABEL: self.generation.label, TOPOLOGY_LABEL: self.pool or self.topology}
        return {**labels, MACHINE_TYPE_LABEL: self.machine_type} if self.ambiguous else labels


# What a run has to itself.
Accelerator = Slice | GpuNodes

# Labels, cores per chip and what names count: xpk src/xpk/core/system_characteristics.py, every row.
V4 = Generation(
    "v4", ("v4",), "tpu-v4-podslice", 2, True, any_order=True, memory_gib=30.75, peak_tflops=275
)  # also cloud.google.com/tpu/docs/v4
V5E = Generation(
    "v5e", ("v5litepod", "v5e"), "tpu-v5-lite-podslice", 1, False, memory_gib=15.75, peak_tflops=197
)  # xpk
V5P = Generation("v5p", ("v5p",), "tpu-v5p-slice", 2, True, memory_gib=95.74, peak_tflops=459)  # xpk
V6E = Generation(
    "v6e",
    ("v6e",),
    "tpu-v6e-slice",
    1,
    False,
    memory_gib=31.25,
    peak_tflops=918,
    parts=("2x4", "4x4", "4x8", "8x8", "8x16"),
)  # xpk; parts: its SUB_SLICING_TOPOLOGIES
V7X = Generation("7x", ("tpu7x", "7x"), "tpu7x", 2, True)  # xpk; axlearn names it 7x
GENERATIONS = (V4, V5E, V5P, V6E, V7X)

# Topologies and machines: xpk's table ("xpk"). Hosts: xpk's arithmetic, chips by chips per host, with which
# axlearn's infer_tpu_workers agrees wherever it knows the name ("axlearn").
SLICES = (
    Slice(V4, "v4-8", "2x2x1", 4, 1, "ct4p-hightpu-4t"),  # xpk, axlearn
    Slice(V4, "v4-16", "2x2x2", 8, 2, "ct4p-hightpu-4t"),  # xpk, axlearn
    Slice(V4, "v4-32", "2x2x4", 16, 4, "ct4p-hightpu-4t"),  # xpk, axlearn, GKE device plugin's test
    Slice(V4, "v4-64", "2x4x4", 32, 8, "ct4p-hightpu-4t"),  # xpk, axlearn
    Slice(V4, "v4-128", "4x4x4", 64, 16, "ct4p-hightpu-4t"),  # xpk, axlearn
    Slice(V4, "v4-256", "4x4x8", 128, 32, "ct4p-hightpu-4t"),  # xpk, axlearn
    Slice(V4, "v4-512", "4x8x8", 256, 64, "ct4p-hightpu-4t"),  # xpk, axlearn
    Slice(V5E, "v5litepod-1", "1x1", 1, 1, "ct5lp-hightpu-1t"),  # xpk
    Slice(V5E, "v5litepod-4", "2x2", 4, 1, "ct5lp-hightpu-4t"),  # xpk, axlearn
    Slice(V5E, "v5litepod-8", "2x4", 8, 1, "ct5lp-hightpu-8t"),  # xpk: one host of eight
    Slice(V5E, "v5litepod-8", "2x4", 8, 2, "ct5lp-hightpu-4t"),  # axlearn: two hosts of four
    Slice(V5E, "v5litepod-16", "4x4", 16, 4, "ct5lp-hightpu-4t"),  # xpk, axlearn
    Slice(V5E, "v5litepod-32", "4x8", 32, 8, "ct5lp-hightpu-4t"),  # xpk, axlearn
    Slice(V5E, "v5litepod-64", "8x8", 64, 16, "ct5lp-hightpu-4t"),  # xpk, axlearn
    Slice(V5E, "v5litepod-128", "8x16", 128, 32, "ct5lp-hightpu-4t"),  # xpk, axlearn
    Slice(V5E, "v5litepod-256", "16x16", 256, 64, "ct5lp-hightpu-4t"),  # xpk, axlearn
    Slice(V5P, "v5p-8", "2x2x1", 4, 1, "ct5p-hightpu-4t"),  # xpk, axlearn
    Slice(V5P, "v5p-16", "2x2x2", 8, 2, "ct5p-hightpu-4t"),  # xpk, axlearn
    Slice(V5P, "v5p-32", "2x2x4", 16, 4, "ct5p-hightpu-4t"),  # xpk, axlearn
    Slice(V5P, "v5p-64", "2x4x4", 32, 8, "ct5p-hightpu-4t"),  # xpk, axlearn
    Slice(V5P, "v5p-128", "4x4x4", 64, 16, "ct5p-hightpu-4t"),  # xpk, axlearn
    Slice(V6E, "v6e-1", "1x1", 1, 1, "ct6e-standard-1t"),  # xpk
    Slice(V6E, "v6e-4", "2x2", 4, 1, "ct6e-standard-4t"),  # xpk, axlearn
    Slice(V6E, "v6e-8", "2x4", 8, 2, "ct6e-standard-4t"),  # xpk, axlearn: two hosts of four
    Slice(V6E, "v6e-8", "2x4", 8, 1, "ct6e-standard-8t"),  # xpk: one host of eight
    Slice(V6E, "v6e-16", "4x4", 16, 4, "ct6e-standard-4t"),  # xpk, axlearn, torchprime's v6e-16 log
    Slice(V6E, "v6e-32", "4x8", 32, 8, "ct6e-standard-4t"),  # xpk, axlearn
    Slice(V6E, "v6e-64", "8x8", 64, 16, "ct6e-standard-4t"),  # xpk, axlearn
    Slice(V6E, "v6e-128", "8x16", 128, 32, "ct6e-standard-4t"),  # xpk, axlearn
    Slice(V6E, "v6e-256", "16x16", 256, 64, "ct6e-standard-4t"),  # xpk, axlearn
    Slice(V7X, "tpu7x-8", "2x2x1", 4, 1, "tpu7x-standard-4t"),  # xpk, axlearn
    Slice(V7X, "tpu7x-16", "2x2x2", 8, 2, "tpu7x-standard-4t"),  # xpk, axlearn
    Slice(V7X, "tpu7x-32", "2x2x4", 16, 4, "tpu7x-standard-4t"),  # xpk, axlearn
    Slice(V7X, "tpu7x-64", "2x4x4", 32, 8, "tpu7x-standard-4t"),  # xpk, axlearn
    Slice(V7X, "tpu7x-128", "4x4x4", 64, 16, "tpu7x-standard-4t"),  # xpk, axlearn
)

_TEXT = re.compile(
    r"(?P<prefix>[a-z0-9]{1,20})(-(?P<number>[0-9]{1,6})|[-:](?P<topology>[0-9]{1,4}(x[0-9]{1,4}){1,3}))"
)


def accelerator_of(compute: Compute, document: Document | None = None) -> Accelerator:
    """What each run of a sweep has, whose `compute` names an accelerator.

    document: the sweep as written, for file and line in messages.

    Raises `SpecError` as `parse_accelerator`, `as_part` and `with_slices` do.
    """
    key = "accelerator"
    try:
        where = parse_accelerator(compute.accelerator or "", compute.machine_type)
        key = "part_of"
        if compute.part_of is not None:
            where = as_part(where, compute.part_of)
        key = "slices"
        return with_slices(where, compute.slices)
    except SpecError as error:
        mark = f"{document.mark(('compute', key))}: " if document else ""
        raise SpecError(f"{mark}{error.message}", error.hint) from None


def parse_accelerator(text: str, machine_type: str | None = None) -> Accelerator:
    """The slice that `v4-32`, `v4:2x2x4` or `v4-2x2x4` names, or the nodes that `h100:8x2` names.

    Raises `SpecError` as `parse_slice` and `parse_gpus` do.
    """
    return parse_gpus(text, machine_type) or parse_slice(text, machine_type)


def with_slices(where: Accelerator, slices: int) -> Accelerator:
    """`where` that many times over, for one run.

    Raises `SpecError` for GPUs, whose nodes are counted in their name, and for slices of one host: GKE's Multislice
    takes only slices of several (cloud.google.com/kubernetes-engine/docs/how-to/tpu-multislice).
    """
    if slices == 1:
        return where
    if where.kind == "gpu":
        wanted = f"{where.gpu.names[0]}:{where.chips_per_host}x{where.hosts * slices}"
        raise SpecError(
            f"compute.slices: {slices}, but {where.name} are GPUs, which have no slices",
            f"Write accelerator: {wanted} for {where.hosts * slices} nodes, and leave slices out.",
        )
    if where.hosts == 1:
        rows = [row for row in SLICES if row.generation == where.generation and row.hosts > 1]
        larger = min((row for row in rows if not row.ambiguous), key=lambda row: row.chips)
        raise SpecError(
            f"compute.slices: {slices}, but {where.name} has one host, and GKE puts only slices of several hosts"
            " together",
            f"Choose a larger slice, e.g. accelerator: {larger.name}, or leave slices out.",
        )
    return replace(where, chips=where.chips * slices, slices=slices)


def as_part(where: Accelerator, whole: str) -> Slice:
    """The slice `where` as a part of node pools that are slices `whole`.

    Raises `SpecError` for what GKE's nodes have no label for, and for a part that is no smaller than the whole.
    """
    if where.kind == "gpu" or not where.generation.parts:
        what = (
            f"{where.name} are GPUs" if where.kind == "gpu" else f"{where.name} is a {where.generation.name}"
        )
        able = " and ".join(one.name for one in GENERATIONS if one.parts)
        raise SpecError(
            f"compute.part_of: {what}, of whose node pools octjob knows no parts; it does of {able}",
            "Leave part_of out, and name a slice that is a node pool.",
        )
    try:
        pool = parse_slice(whole, where.machine_type)
    except SpecError as error:
        raise SpecError(error.message.replace("compute.accelerator", "compute.part_of"), error.hint) from None
    shapes = [one for one in pool.generation.parts if _fits(one, pool.topology)]
    if pool.generation != where.generation or where.topology not in shapes:
        raise SpecError(
            f"compute.part_of: {where.name} ({where.topology}) is no part of a {pool.name} ({pool.topology})",
            _advice(pool, shapes),
        )
    return replace(where, pool=pool.topology)


def _advice(pool: Slice, shapes: list[str]) -> str:
    """The largest part of a pool, in words that can be typed."""
    if not shapes:
        return "Leave part_of out: it has no parts."
    machine = pool.machine_type
    rows = (row for row in _rows(pool.generation, shapes[-1]) if row.machine_type == machine)
    largest = next(rows)
    also = f" and machine_type: {machine}" if largest.ambiguous else ""
    return f"Parts of it are {', '.join(shapes)}; write accelerator: {largest.name}{also}."


def _fits(part: str, whole: str) -> bool:
    """Whether a topology goes into a larger one a whole number of times along each axis."""
    axes = [(int(small), int(large)) for small, large in zip(part.split("x"), whole.split("x"), strict=True)]
    return part != whole and all(large % small == 0 for small, large in axes)


def parse_slice(text: str, machine_type: str | None = None) -> Slice:
    """The slice that a text names.

    machine_type: decides between one host of eight chips and two of four; elsewhere it must be the only one.

    Raises:
        SpecError: not an accelerator, an ambiguous one, or one that the machine type does not make.
    """
    match = _TEXT.fullmatch(text.lower())
    generation = _generation(match["prefix"]) if match else None
    if match is None or generation is None:
        raise _unknown(text)
    topology = match["topology"] or _topology(generation, int(match["number"]))
    rows = _rows(generation, topology) if topology else []
    if topology is None or not rows:
        raise _unknown(text)
    machines = ", ".join(row.machine_type for row in rows)
    if machine_type is not None:
        rows = [row for row in rows if row.machine_type == machine_type]
        if not rows:
            raise SpecError(
                f"compute.machine_type: {elided(machine_type)} makes no {text} slice",
                f"{text} is made of {machines}.",
            )
    if len(rows) > 1:
        counts = " or ".join(
            f"{row.hosts} of {row.chips_per_host} chips ({row.machine_type})" for row in rows
        )
        raise SpecError(
            f"compute.accelerator: {text} is ambiguous: its hosts may be {counts}",
            f"Set compute.machine_type to one of {machines}.",
        )
    row = rows[0]
    return Slice(generation, row.name, topology, row.chips, row.hosts, row.machine_type)


def _generation(prefix: str) -> Generation | None:
    return next((generation for generation in GENERATIONS if prefix in generation.prefixes), None)


def _topology(generation: Generation, number: int) -> str | None:
    cores = generation.cores_per_chip if generation.counts_cores else 1
    rows = (row for row in SLICES if row.generation == generation and row.chips * cores == number)
    return next((row.topology for row in rows), None)


def _rows(generation: Generation, topology: str) -> list[Slice]:
    same = _axes(topology) if generation.any_order else topology
    return [
        row
        for row in SLICES
        if row.generation == generation
        and (_axes(row.topology) if generation.any_order else row.topology) == same
    ]


def _axes(topology: str) -> tuple[int, ...]:
    return tuple(sorted(int(size) for size in topology.split("x")))


def topology_chips(topology: str) -> int:
    """Chips in a topology: the product of its axes."""
    return math.prod(_axes(topology))


def _unknown(text: str) -> SpecError:
    known = list(dict.fromkeys(row.name for row in SLICES))
    known += list(dict.fromkeys(f"{row.generation.prefixes[0]}:{row.topology}" for row in SLICES))
    known += [f"{gpu.names[0]}:{count}" for gpu in GPUS for count in gpu.counts]
    close = difflib.get_close_matches(text.lower()[:40], known, n=1, cutoff=0.5)
    names = ", ".join(dict.fromkeys(generation.prefixes[0] for generation in GENERATIONS))
    gpus = ", ".join(gpu.names[0] for gpu in GPUS)
    there = f"The generations are {names}; e.g. v4-32. The GPUs are {gpus}; e.g. h100:8."
    hint = f"Did you mean {close[0]}? {there}" if close else there
    return SpecError(f"compute.accelerator: {shown(text)} is no TPU slice and no GPU that octjob knows", hint)
