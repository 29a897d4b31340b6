"""What became of a run's ask for nodes: of a ProvisioningRequest, as Kueue's admission check repeats it. Pure.

Kueue copies the autoscaler's message into the check's state (pkg/controller/admissionchecks/provisioning), so the
requests themselves need not be read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.observation.conditions import seconds, true

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document


_REFUSED = "its nodes were refused"


def asking_checks(checks: Iterable[Document]) -> frozenset[str]:
    """Names of the admission checks that ask an autoscaler for nodes."""
    return frozenset(
        one["metadata"]["name"] for one in checks if one["spec"]["controllerName"] == kueue.PROVISIONING
    )


def waits_for_checks(workload: Document | None) -> bool:
    """Whether it has quota and an admission check that is not done."""
    reserved = true(workload, kueue.QUOTA_RESERVED) and not true(workload, kueue.ADMITTED)
    return bool(reserved and workload is not None and open_checks(workload))


def open_checks(workload: Document) -> list[Document]:
    """The states of its admission checks that are not done."""
    states: list[Document] = workload.get("status", {}).get("admissionChecks") or []
    return [one for one in states if one.get("state") != kueue.CHECK_READY]


def asked(workload: Document, asking: Collection[str], now: float) -> str:
    """`asked for nodes, not granted yet since 12 min`, and the autoscaler's words; empty where it waits for others.

    asking: see `asking_checks`. now: seconds since the epoch.
    """
    states = open_checks(workload)
    if not states or any(
        one["name"] not in asking or one.get("state") == kueue.CHECK_REJECTED for one in states
    ):
        return ""
    reserved = true(workload, kueue.QUOTA_RESERVED) or {}
    minutes = int((now - seconds(reserved["lastTransitionTime"])) // 60) if reserved else 0
    since = f" since {minutes} min" if minutes > 0 else ""
    said = "; ".join(message for one in states if (message := one.get("message", "").strip()))
    if refused := kueue.PROVISIONING_RETRY.search(said):
        # Kueue 0.19 leaves it its quota until it may ask again.
        return f"{_REFUSED}: {refused['message']}{_again(workload, now)}"
    return f"asked for nodes, not granted yet{since}" + (f": {said}" if said else "")


def put_back(workload: Document, message: str, now: float) -> str:
    """Why an admission check had a run put back, and when it is asked again. message: of its eviction."""
    said = by_checks(message) or message
    retry = kueue.PROVISIONING_RETRY.search(said)
    why = f"{_REFUSED}: {retry['message']}" if retry else f"put back: {said}"
    return why + _again(workload, now)


def by_checks(message: str) -> str:
    """What admission checks said, out of a message of Kueue's that quotes them; empty where it quotes none."""
    found = kueue.CHECKS_SAID.search(message)
    if found is None:
        return ""
    said = []
    for text in re.split(r'; (?=")', found["checks"]):
        one = kueue.CHECK_SAID.fullmatch(text)
        said.append(f"admission check {one['name']}: {one['message'] or 'no reason'}" if one else text)
    return "; ".join(said)


def _again(workload: Document, now: float) -> str:
    at = (workload.get("status", {}).get("requeueState") or {}).get("requeueAt")
    wait_s = round(seconds(at) - now) if at else 0
    return f"; asked again in {wait_s} s" if wait_s > 0 else ""


def flavor_of(workload: Document | None, resources: Collection[str]) -> str:
    """The flavor whose quota of one of these resources a run holds; empty where it holds none."""
    admission = (workload or {}).get("status", {}).get("admission") or {}
    names = [
        flavor
        for assigned in admission.get("podSetAssignments") or []
        for resource, flavor in (assigned.get("flavors") or {}).items()
        if resource in resources
    ]
    return ", ".join(dict.fromkeys(names))
