"""Conditions of Kubernetes objects: looked up by type, since their order means nothing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document

Condition = dict[str, Any]


def condition(document: Document | None, kind: str) -> Condition | None:
    """The condition of that type, or None where there is none (which means neither true nor false)."""
    if document is None:
        return None
    for one in document.get("status", {}).get("conditions") or []:
        if one["type"] == kind:
            found: Condition = one
            return found
    return None


def true(document: Document | None, kind: str) -> Condition | None:
    """The condition of that type where it holds."""
    found = condition(document, kind)
    return found if found is not None and found["status"] == "True" else None


def last_sign(documents: Iterable[Document]) -> float | None:
    """When the controller of these objects last wrote to the status of one, in seconds since the epoch.

    None where it never did, or the server does not say.
    """
    times = []
    for document in documents:
        times += [one["lastTransitionTime"] for one in document.get("status", {}).get("conditions") or []]
        times += [
            one["time"]
            for one in document["metadata"].get("managedFields") or []
            if one.get("subresource") == "status" and "time" in one
        ]
    return max(map(seconds, times), default=None)


def seconds(timestamp: str) -> float:
    """`2026-11-23T00:59:17Z` as seconds since the epoch."""
    return datetime.fromisoformat(timestamp).timestamp()
