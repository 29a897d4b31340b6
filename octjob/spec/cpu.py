"""A node's cores, in the place of an accelerator: where runs train that compute nothing with an encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from octjob.spec.compute import Probe


@dataclass(frozen=True)
class Cores:
    """One pod of `chips_per_host` cores; there is nothing else that its one process computes on."""

    probe: Probe
    hosts: int = 1
    slices: int = 1
    processes_per_host: int = 1
    kind: Literal["cpu"] = "cpu"

    @property
    def chips_per_host(self) -> int:
        """What the pod asks for of its resource."""
        return self.probe.cpu

    @property
    def node_selector(self) -> dict[str, str]:
        """The labels that the sweep names; any node without a taint will do."""
        return dict(self.probe.node_selector)
