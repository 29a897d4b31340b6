"""A TPU slice as the environment of one of its hosts describes it, checked before torch_xla goes by it.

torch_xla and libtpu wait for minutes for a host or a chip that is named and not there. Where TPU_SKIP_MDS_QUERY is
unset they ask a metadata server of the machine, which describes no pod of GKE.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octjob import env
from octjob.errors import SpecError
from octjob.spec.accelerator import GENERATIONS, Generation
from octjob.spec.multislice import COORDINATOR_ADDRESS, read_slices

_PCI = Path("/sys/bus/pci/devices")
_GOOGLE = "0x1ae0"
# What torch_xla counts as a chip; a test compares.
CHIP_IDS = ("0x0027", "0x005e", "0x0063", "0x006f", "0x0056", "0x0062", "0x0076")
_ACCELERATOR = re.compile(r"(?P<generation>(?:v|tpu)\d[A-Za-z]{0,7})-\d+")
_HOST_BOUNDS = ("TPU_PROCESS_BOUNDS", "TPU_HOST_BOUNDS")
_CHIP_BOUNDS = ("TPU_CHIPS_PER_PROCESS_BOUNDS", "TPU_CHIPS_PER_HOST_BOUNDS")
_WORKER = ("CLOUD_TPU_TASK_ID", "TPU_WORKER_ID")
_SET_BY_GKE = "GKE sets it in a container that asks for google.com/tpu; elsewhere set it as the slice is."


@dataclass(frozen=True)
class Topology:
    """A slice, and this host's place in it; of several that make a run, this host's.

    accelerator: its type, e.g. `v4-32`. host_bounds, chip_bounds: hosts, and chips of a host, along three axes.
    worker: this host's number from 0; it need not be that of the process that leads. slices: those of the run, all
    alike.
    """

    accelerator: str
    host_bounds: tuple[int, ...]
    chip_bounds: tuple[int, ...]
    worker: int
    slices: int = 1

    @property
    def hosts(self) -> int:
        """Hosts of the slice."""
        return math.prod(self.host_bounds)

    @property
    def chips(self) -> int:
        """Chips of the slice."""
        return self.hosts * math.prod(self.chip_bounds)

    @property
    def generation(self) -> Generation | None:
        """That of the chips, where octjob knows it."""
        prefix = self.accelerator.rpartition("-")[0]
        return next((one for one in GENERATIONS if prefix in one.prefixes), None)

    @property
    def chip_memory(self) -> int | None:
        """Bytes of a chip for programs, where octjob knows them: what a run is submitted by is what it goes by."""
        gib = None if self.generation is None else self.generation.memory_gib
        return None if gib is None else int(gib * 2**30)

    def facts(self) -> dict[str, Any]:
        """For the log and the result."""
        return {
            "accelerator": self.accelerator,
            "host_bounds": ",".join(map(str, self.host_bounds)),
            "chips_per_host_bounds": ",".join(map(str, self.chip_bounds)),
            "worker": self.worker,
            **({"num_slices": self.slices} if self.slices > 1 else {}),
        }


def count_chips(devices: Path = _PCI) -> int:
    """TPU chips on this host's PCI bus."""
    vendors = [path for path in devices.glob("*/vendor") if path.read_text().strip() == _GOOGLE]
    return sum((path.parent / "device").read_text().strip() in CHIP_IDS for path in vendors)


def read_topology(environ: Mapping[str, str], num_processes: int, num_chips: int) -> Topology:
    """The slice that the variables describe: one of those that `num_processes` hosts of `num_chips` chips make.

    Raises `SpecError` for a variable that is missing or makes no sense, and where they contradict each other, the
    processes of the run, or the chips on this host.
    """
    if not environ.get("TPU_SKIP_MDS_QUERY"):
        raise SpecError(
            "TPU_SKIP_MDS_QUERY is not set: torch_xla would ask a metadata server for the slice", _SET_BY_GKE
        )
    accelerator = _text(environ, ("TPU_ACCELERATOR_TYPE",))[1]
    if not _ACCELERATOR.fullmatch(accelerator):
        raise SpecError(
            f"TPU_ACCELERATOR_TYPE={accelerator}: not a type of slice",
            "One looks like v4-32 or v5litepod-16.",
        )
    slices, _ = read_slices(environ)
    bounds = _bounds(environ, _HOST_BOUNDS), _bounds(environ, _CHIP_BOUNDS)
    topology = Topology(accelerator, *bounds, _worker(environ), slices)
    if slices > 1:
        _text(environ, (COORDINATOR_ADDRESS,))
    _check_hosts(environ, topology, num_processes)
    _check_chips(environ, topology, num_chips)
    return topology


def check_found(
    topology: Topology | None, num_processes: int, found_processes: int, found_devices: int
) -> None:
    """Raise `SpecError` unless torch_xla has found the processes of the run, and the chips of the slice.

    topology: None off TPUs, where any number of devices will do. A chip of the 7x is two devices, or one.
    """
    if found_processes != num_processes:
        raise SpecError(
            f"the run has {num_processes} processes, but torch_xla has found {found_processes}",
            "Start one process on each host of the slice, and no other.",
        )
    if topology is None:
        return
    sevens = topology.generation is not None and topology.generation.name == "7x"
    chips = topology.slices * topology.chips
    if found_devices not in (chips, 2 * chips if sevens else chips):
        several = f"{topology.slices} x " if topology.slices > 1 else ""
        raise SpecError(
            f"{several}{topology.accelerator} has {chips} chips by the environment,"
            f" but torch_xla has found {found_devices} devices",
            "Another process may hold chips of this slice, or the variables may be another slice's;"
            " `env | grep TPU_` in the container shows them.",
        )


def _check_hosts(environ: Mapping[str, str], topology: Topology, num_processes: int) -> None:
    hosts, (bounds, value) = topology.hosts, _text(environ, _HOST_BOUNDS)
    if hosts * topology.slices != num_processes:
        each = f"each of {topology.slices} slices" if topology.slices > 1 else "the slice"
        raise SpecError(
            f"{bounds}={value}: {each} has {hosts} hosts, but this run has {num_processes} processes",
            f"Start one process on each host, with {env.NUM_HOSTS}={hosts} and {env.COORDINATOR} in all of them."
            if hosts > 1
            else f"Unset {env.NUM_HOSTS}: one host has one process.",
        )
    if topology.worker >= hosts:
        name, value = _text(environ, _WORKER)
        raise SpecError(f"{name}={value}: the slice has hosts 0 to {hosts - 1} only", _SET_BY_GKE)
    names = _text(environ, ("TPU_WORKER_HOSTNAMES",))[1].split(",")
    if len(names) != hosts or not all(names):
        raise SpecError(
            f"TPU_WORKER_HOSTNAMES names {len(list(filter(None, names)))} hosts, but the slice has {hosts}"
            f" ({bounds}={_text(environ, _HOST_BOUNDS)[1]})",
            _SET_BY_GKE,
        )


def _check_chips(environ: Mapping[str, str], topology: Topology, num_chips: int) -> None:
    wanted, (bounds, value) = math.prod(topology.chip_bounds), _text(environ, _CHIP_BOUNDS)
    if num_chips == 0:
        raise SpecError(
            "PJRT_DEVICE=TPU, but there is no TPU on this host's PCI bus",
            f"Start it on a TPU host, in a pod that asks for google.com/tpu, or set {env.DEVICE}=cpu.",
        )
    if num_chips < wanted:
        raise SpecError(
            f"{bounds}={value}: {wanted} chips a host, but this host's PCI bus has {num_chips}",
            "Ask for all chips of the host (google.com/tpu in the pod's limits).",
        )


def _bounds(environ: Mapping[str, str], names: tuple[str, ...]) -> tuple[int, ...]:
    name, text = _text(environ, names)
    parts = text.split(",")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise SpecError(f"{name}={text}: not three whole numbers from 1 on", "It looks like 2,2,1.")
    return tuple(int(part) for part in parts)


def _worker(environ: Mapping[str, str]) -> int:
    name, text = _text(environ, _WORKER)
    if not text.isdecimal():
        raise SpecError(f"{name}={text}: not the number of a host", _SET_BY_GKE)
    return int(text)


def _text(environ: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str]:
    """Name and value of the first variable that is set: the order is torch_xla's."""
    for name in names:
        if environ.get(name):
            return name, environ[name]
    raise SpecError(
        f"PJRT_DEVICE=TPU, but {' and '.join(reversed(names))} {_are(names)} not set", _SET_BY_GKE
    )


def _are(names: tuple[str, ...]) -> str:
    return "are" if len(names) > 1 else "is"
