"""Batches that do not divide evenly over the chips of a slice: some chips then compute on padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from octjob.spec.experiment import Experiment
from octjob.spec.run import Run


@dataclass(frozen=True)
class IdleChips:
    """A batch size that leaves chips idle.

    configs: those that have it. key: where it is written. size: volumes of a batch. idle: share of the chips' time
    that goes into padding, above 0 and below 1. nearest: the nearest size that leaves none.
    """

    configs: tuple[str, ...]
    key: str
    size: int
    chips: int
    idle: float
    nearest: int
    unit: Literal["chip", "GPU"] = "chip"

    def __str__(self) -> str:
        share = "half" if self.idle == 0.5 else f"{self.idle:.0%}"
        return (
            f"{self.key} {self.size} on {self.chips} {self.unit}s: {share} idle; {self.nearest} leaves none"
        )


def idle_chips(
    name: str, config: Experiment, chips: int, unit: Literal["chip", "GPU"] = "chip"
) -> list[IdleChips]:
    """Of one configuration. Encoding, which is all that a probe does on chips, is shared out volume by volume."""
    if config.mode != "finetune":
        return []
    sizes = {
        "data.batch_size": config.data.batch_size,
        "data.val_batch_size": config.data.val_batch_size,
    }
    return [
        IdleChips(
            (name,), key, size, chips, (-size % chips) / (size + -size % chips), _nearest(size, chips), unit
        )
        for key, size in sizes.items()
        if size % chips
    ]


def idle_runs(runs: Sequence[Run], chips: int, unit: Literal["chip", "GPU"] = "chip") -> list[IdleChips]:
    """Of a plan, each batch size once, with all configurations that have it."""
    found: dict[tuple[str, int], IdleChips] = {}
    for name, config in {run.config_name: run.config for run in runs}.items():
        for one in idle_chips(name, config, chips, unit):
            before = found.get((one.key, one.size))
            found[one.key, one.size] = replace(one, configs=(*before.configs, name)) if before else one
    return list(found.values())


def _nearest(size: int, chips: int) -> int:
    """The multiple of `chips` nearest to `size`; of two the larger."""
    return max(chips, (size + chips // 2) // chips * chips)
