"""Whether JobSets came to life: each must have its Job within seconds, suspended or not.

A Job that is refused leaves no trace on its JobSet, only an event, and none at all where JobSet's controller is away.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from octjob.targets.kubernetes.admission import kubectl
from octjob.targets.kubernetes.existing import sweep_selector
from octjob.targets.kubernetes.manifest import Manifest
from octjob.targets.kubernetes.names import job_name
from octjob.targets.kubernetes.refusal import ClusterError
from octjob.targets.kubernetes.resources import EVENTS, JOBS

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster

TIMEOUT_S = 15.0
_POLL_S = 0.5
_REASONS = ("JobCreationFailed", "HeadlessServiceCreationFailed", "FailedCreate")


class NoJob(ClusterError):
    """A JobSet was created and has no Job."""


def verify(cluster: Cluster, sweep: str, jobsets: Sequence[Manifest], timeout_s: float = TIMEOUT_S) -> None:
    """Return once every JobSet has its Job; one list call a look.

    timeout_s: how long to wait without a new Job appearing.

    Raises `NoJob` that says why, as far as the cluster says it.
    """
    runs = {job_name(each["metadata"]["name"]): each for each in jobsets}
    missing = dict(runs)
    deadline = time.monotonic() + timeout_s
    while missing:
        jobs = {each["metadata"]["name"] for each in cluster.list(JOBS, sweep_selector(sweep))}
        still = {name: each for name, each in missing.items() if name not in jobs}
        if len(still) < len(missing):
            deadline = time.monotonic() + timeout_s
        missing = still
        if missing and time.monotonic() > deadline:
            raise _lifeless(cluster, missing, len(runs))
        if missing:
            time.sleep(_POLL_S)


def _lifeless(cluster: Cluster, missing: Mapping[str, Manifest], num_runs: int) -> NoJob:
    reasons: dict[str, str] = {}
    for event in cluster.list(EVENTS, fields="type=Warning"):
        if event.get("reason") in _REASONS:
            reasons[event["involvedObject"]["name"]] = f"{event['reason']}: {event.get('message', '')}"
    for job, jobset in missing.items():
        name = jobset["metadata"]["name"]
        reason = reasons.get(name) or reasons.get(job)
        if reason:
            run = jobset["metadata"]["annotations"]["octjob.dev/run"]
            return NoJob(
                f"{len(missing)} of {num_runs} runs were created but have no Job; run {run}: {reason}",
                f"`{kubectl(cluster)} describe jobset {name}` shows more; `octjob cancel` removes them.",
            )
    return NoJob(
        f"{len(missing)} of {num_runs} runs were created but have no Job, and no event says why:"
        " JobSet's controller seems to be away",
        f"`{kubectl(cluster, 'jobset-system')} get pods` shows it; once it works the runs"
        " start by themselves, and the same command looks again.",
    )
