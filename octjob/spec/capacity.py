"""Where the chips of a run come from: `compute.capacity`, beside the older `spot` and `reservation`.

`spot: true` is short for `capacity: spot`, a `reservation` without `capacity` for `capacity: reservation`, and
neither for `on_demand`. Several capacities are alternatives: Kueue takes the first that its queue has quota of.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from octjob.spec.accelerator import V5E, V5P, V6E, V7X, Accelerator
from octjob.spec.yaml import Document, error_at

if TYPE_CHECKING:
    from octjob.spec.compute import Compute

Capacity = Literal["on_demand", "spot", "reservation", "flex_start", "queued_provisioning"]

WORDS: dict[Capacity, str] = {
    "on_demand": "on demand",
    "spot": "Spot",
    "reservation": "reservation",
    "flex_start": "flex-start",
    "queued_provisioning": "flex-start with queued provisioning",
}
_FLEXIBLE: tuple[Capacity, ...] = ("flex_start", "queued_provisioning")

# v5e and v6e: cloud.google.com/tpu/docs/request-using-flex-start. 7x, and v6e again, on GKE in both ways: Google's
# Cluster Toolkit, examples/gke-consumption-options/dws-flex-start*. v5p: as VMs of Compute Engine, which GKE's nodes
# are; no page of GKE's was found to name it. v4: its only zone, us-central2-b
# (cloud.google.com/tpu/docs/regions-zones), is in no list of flex-start's zones.
FLEX_START_TPUS = (V5E, V5P, V6E, V7X)
# "For up to seven days": cloud.google.com/kubernetes-engine/docs/concepts/dws.
MAX_FLEX_START_HOURS = 168

# As gcloud's --reservation has it: R, or projects/P/reservations/R, and then reservationBlocks/B; or short, P/R.
_RESERVATION = re.compile(
    r"(?:projects/(?P<project>[^/\s]+)/reservations/|(?P<short>[^/\s]+)/)?(?P<name>[^/\s]+)"
    r"(?:/reservationBlocks/(?P<block>[^/\s]+))?"
)


def _alternatives(value: Any) -> Any:
    """One name as a list of one; lists as tuples."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _distinct(value: tuple[Capacity, ...]) -> tuple[Capacity, ...]:
    if not value:
        raise ValueError("is empty; name at least one, or remove it")
    if len(set(value)) != len(value):
        raise ValueError("names a capacity twice")
    return value


Capacities = Annotated[
    tuple[Capacity, ...],
    BeforeValidator(_alternatives, json_schema_input_type=Capacity | list[Capacity]),
    AfterValidator(_distinct),
]


def capacities(compute: Compute) -> tuple[Capacity, ...]:
    """Those that a sweep may use, the preferred one first."""
    if compute.capacity is not None:
        return compute.capacity
    if compute.reservation:
        return ("reservation",)
    return ("spot",) if compute.spot else ("on_demand",)


def in_words(compute: Compute) -> str:
    """`Spot, else on demand`; `reservation my-project/oct`."""
    names = {**WORDS, "reservation": f"reservation {compute.reservation}"}
    return ", else ".join(names[one] for one in capacities(compute))


def parse_reservation(text: str) -> tuple[str, str, str]:
    """Name, project and block of a reservation; empty where it names none. Raises `ValueError`."""
    match = _RESERVATION.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is no reservation; write <name>, <project>/<name> or"
            " projects/<project>/reservations/<name>, each with /reservationBlocks/<block> where it matters"
        )
    return match["name"], match["project"] or match["short"] or "", match["block"] or ""


def check_capacity(compute: Compute, where: Accelerator, document: Document | None = None) -> None:
    """Raise `SpecError` where keys contradict each other, or the chips are not to be had that way.

    document: the sweep as written, for file and line in messages.
    """

    def fail(key: str, message: str, hint: str) -> None:
        raise error_at(document, ("compute", key), message, hint)

    wanted = capacities(compute)
    if compute.capacity is None and compute.spot and compute.reservation:
        fail("reservation", "reserved nodes are not Spot nodes", "Remove one of the two.")
    if compute.capacity is not None and compute.spot and wanted != ("spot",):
        said = ", ".join(wanted)
        fail("spot", f"means capacity: spot, but capacity says {said}", "Remove spot.")
    if compute.reservation and "reservation" not in wanted:
        said = ", ".join(wanted)
        fail("reservation", f"is not used by capacity: {said}", "Add reservation to capacity, or remove it.")
    if "reservation" in wanted and not compute.reservation:
        fail("capacity", "reservation: which one is not said", "Set compute.reservation to its name.")
    if compute.queue is None and (len(wanted) > 1 or "queued_provisioning" in wanted):
        why = "Kueue chooses between several" if len(wanted) > 1 else "Kueue is who asks for the nodes"
        fail("capacity", f"needs compute.queue: {why}", "Set queue, or name one other capacity.")
    flexible = next((one for one in wanted if one in _FLEXIBLE), None)
    if flexible is None:
        return
    if where.kind == "tpu" and where.generation not in FLEX_START_TPUS:
        there = ", ".join(one.name for one in FLEX_START_TPUS)
        fail(
            "capacity",
            f"{flexible}: TPU {where.generation.name} is not to be had by flex-start; {there} are",
            "Name another capacity, or another compute.accelerator.",
        )
    if compute.queue is not None and compute.max_runtime_hours > MAX_FLEX_START_HOURS:
        fail(
            "max_runtime_hours",
            f"{compute.max_runtime_hours:g}, but {flexible} gives nodes for {MAX_FLEX_START_HOURS} hours at most",
            f"Set max_runtime_hours: {MAX_FLEX_START_HOURS} or less.",
        )
