"""Chip-hours that a sweep's runs have used so far, and what they cost. Pure: documents and states in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from octjob.spec.accelerator import ACCELERATOR_LABEL, GENERATIONS
from octjob.spec.capacity import WORDS, Capacity
from octjob.spec.gpu import GPU_LABEL, GPUS
from octjob.targets.kubernetes import gke
from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes.capacity import capacity_of
from octjob.targets.kubernetes.select import annotation
from octjob.targets.kubernetes.submission.admission import quantity

if TYPE_CHECKING:
    from octjob.records.status import RunStatus
    from octjob.targets.kubernetes.api import Document
    from octjob.targets.prices import Prices

_HOUR_S = 3600.0
_TPUS = {one.label: one.name for one in GENERATIONS}
_GPUS = {one.label: one.names[0] for one in GPUS}


@dataclass(frozen=True)
class Used:
    """What runs on one kind of capacity have used: from their last attempt's start to its last sign of life.

    num_runs: that have begun. chip_hours: that time, times their chips. at_least: some run had earlier attempts, of
    which the store keeps no times. The rest is of the price table, None where there is no price for it.
    """

    accelerator: str
    capacity: Capacity
    unit: Literal["chip", "GPU"]
    num_runs: int
    chip_hours: float
    at_least: bool
    per_chip_hour: float | None = None
    cost: float | None = None
    currency: str | None = None
    date: str | None = None

    def __str__(self) -> str:
        what = f"{self.chip_hours:,.1f} {self.unit}-hours of {self.accelerator} {WORDS[self.capacity]}"
        what = f"at least {what}" if self.at_least else what
        return what if self.cost is None else f"{what}, {self.cost:,.2f} {self.currency}"


def used(jobsets: Iterable[Document], runs: Iterable[RunStatus], prices: Prices | None) -> list[Used]:
    """By accelerator and capacity, in the order of the runs; of runs on chips whose JobSet is there."""
    of_run = {annotation(one, "run"): one for one in jobsets}
    hours: dict[tuple[str, Capacity, Literal["chip", "GPU"]], list[float]] = {}
    again: set[tuple[str, Capacity, Literal["chip", "GPU"]]] = set()
    for run in runs:
        jobset = of_run.get(run.run_id)
        if jobset is None or run.duration_s is None:
            continue
        pod = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
        labels: Mapping[str, str] = pod.get("nodeSelector") or {}
        name, unit = _accelerator(labels)
        chips = jobset_api.num_pods(jobset) * _chips(pod)
        if not chips:  # `compute.probe`: on cores
            continue
        key = name, capacity_of(labels), unit
        hours.setdefault(key, []).append(run.duration_s / _HOUR_S * chips)
        if (run.attempt or 1) > 1:
            again.add(key)
    return [_used(*key, values, key in again, prices) for key, values in hours.items()]


def _accelerator(labels: Mapping[str, str]) -> tuple[str, Literal["chip", "GPU"]]:
    if GPU_LABEL in labels:
        return _GPUS.get(labels[GPU_LABEL], labels[GPU_LABEL]), "GPU"
    label = labels.get(ACCELERATOR_LABEL, "")
    return _TPUS.get(label, label or "unknown"), "chip"


def _chips(pod: Document) -> int:
    limits = [one.get("resources", {}).get("limits", {}) for one in pod["containers"]]
    return int(sum(quantity(each[name]) for each in limits for name in (gke.TPU, gke.GPU) if name in each))


def _used(
    name: str,
    capacity: Capacity,
    unit: Literal["chip", "GPU"],
    hours: list[float],
    at_least: bool,
    prices: Prices | None,
) -> Used:
    rate = prices.rate(name, capacity) if prices is not None else None
    total = sum(hours)
    if prices is None or rate is None:
        return Used(name, capacity, unit, len(hours), total, at_least)
    money = prices.table
    return Used(
        name, capacity, unit, len(hours), total, at_least, rate, total * rate, money.currency, money.date
    )
