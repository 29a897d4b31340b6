"""The Job that prepares a sweep's volumes on a cluster: create it, leave it alone while it runs, wait for its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from octjob.errors import FailedRunsError, Interrupted
from octjob.targets.kubernetes.documents.manifest import GRACE_PERIOD_S, Manifest
from octjob.targets.kubernetes.observation.conditions import true
from octjob.targets.kubernetes.refusal import ClusterError
from octjob.targets.kubernetes.resources import JOBS
from octjob.tick import Tick

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document

# Pods that are asked to stop may use their grace period.
_GONE_WITHIN_S = GRACE_PERIOD_S + 60.0
_LOOK_EVERY_S = 5.0

Became = Literal["created", "is running already", "created again"]


def check(cluster: Cluster, job: Manifest) -> None:
    """Let the server check the Job as a dry run; nothing is created. Raises `ClusterError`."""
    cluster.apply(JOBS, _in_namespace(cluster, job), dry_run=True)


def create(cluster: Cluster, job: Manifest, sleep: Callable[[float], None] = time.sleep) -> Became:
    """Create the Job; one that runs is left alone, one that has ended makes way, since there may be new volumes.

    Raises `ClusterError`.
    """
    name = job["metadata"]["name"]
    there = cluster.get(JOBS, name)
    if there is not None and not _ended(there) and "deletionTimestamp" not in there["metadata"]:
        return "is running already"
    if there is not None:
        cluster.delete(JOBS, name, uid=there["metadata"]["uid"])
        _wait_until_gone(cluster, name, sleep)
    cluster.apply(JOBS, _in_namespace(cluster, job))
    return "created" if there is None else "created again"


def wait(cluster: Cluster, name: str, tick: Tick, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait for the Job's end; `tick(done, total)` counts its pods.

    Raises:
        FailedRunsError: some index failed for good, or the Job is gone.
        ClusterError: the cluster does not answer.
        Interrupted: Ctrl-C; the Job goes on.
    """
    try:
        while not _looked_at(cluster, name, tick):
            sleep(_LOOK_EVERY_S)
    except KeyboardInterrupt:
        raise Interrupted(f"Job {name} goes on", "The same command waits for it again.") from None


def _looked_at(cluster: Cluster, name: str, tick: Tick) -> bool:
    """Whether the Job has completed."""
    logs = f"`kubectl{cluster.flags} logs -l batch.kubernetes.io/job-name={name} --tail=3` says why."
    job = cluster.get(JOBS, name)
    if job is None:
        raise FailedRunsError(f"Job {name} is gone from {cluster.namespace}", "Create it again.")
    tick(job.get("status", {}).get("succeeded", 0), job["spec"]["completions"])
    if failed := true(job, "Failed"):
        indexes = job["status"].get("failedIndexes", "")
        which = f", of parts {indexes}" if indexes else ""
        raise FailedRunsError(f"Job {name} has failed{which}: {failed.get('message', '')}", logs)
    return true(job, "Complete") is not None


def _wait_until_gone(cluster: Cluster, name: str, sleep: Callable[[float], None]) -> None:
    deadline = time.monotonic() + _GONE_WITHIN_S
    while cluster.get(JOBS, name) is not None:
        if time.monotonic() > deadline:
            raise ClusterError(
                f"Job {name} was deleted but is not gone after {_GONE_WITHIN_S:.0f} s",
                f"`kubectl{cluster.flags} describe job {name}` shows what holds it.",
            )
        sleep(0.5)


def _ended(job: Document) -> bool:
    return any(true(job, kind) for kind in ("Complete", "Failed"))


def _in_namespace(cluster: Cluster, job: Manifest) -> Document:
    return {**job, "metadata": {**job["metadata"], "namespace": cluster.namespace}}
