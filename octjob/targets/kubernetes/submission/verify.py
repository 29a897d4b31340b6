"""Whether JobSets came to life: each must have its Job within seconds, suspended or not.

A Job that is refused leaves no trace on its JobSet, only an event, and none at all where JobSet's controller is away.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from octjob.targets.kubernetes.documents.manifest import Manifest
from octjob.targets.kubernetes.documents.names import job_name
from octjob.targets.kubernetes.jobset import job_indices
from octjob.targets.kubernetes.refusal import ClusterError
from octjob.targets.kubernetes.resources import EVENTS, JOBS
from octjob.targets.kubernetes.submission.admission import kubectl
from octjob.targets.kubernetes.submission.existing import sweep_selector

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster

TIMEOUT_S = 15.0
_POLL_S = 0.5
# A Job that appeared this recently shows that the controller is at work.
_PROGRESS_S = 5.0
_REASONS = ("JobCreationFailed", "HeadlessServiceCreationFailed", "FailedCreate")
# Kueue's webhook looks a Job's JobSet up in its own memory, which may not have it yet: JobSet tries again, less and
# less often.
_NOT_SEEN_YET = re.compile(r'JobSet\.\S+ "[^"]+" not found')
_CATCHING_UP_S = 60.0


class NoJob(ClusterError):
    """A JobSet was created and has no Job."""


def verify(
    cluster: Cluster, sweep: str, jobsets: Sequence[Manifest], timeout_s: float = TIMEOUT_S
) -> list[str]:
    """Return once every JobSet has its Job, or `timeout_s` later while Jobs still appear; warnings.

    JobSet's controller works through a large sweep one by one: that it does, and refuses none, is what can be seen.

    Raises `NoJob` that says why there is none, as far as the cluster says it.
    """
    # Of several slices the last: their Jobs are made together.
    missing = {job_name(each["metadata"]["name"], job_indices(each)[-1]): each for each in jobsets}
    deadline, appeared, shown = time.monotonic() + timeout_s, 0.0, len(missing)
    while missing:
        begun = time.monotonic()
        jobs = {
            each["metadata"]["name"] for each in cluster.list(JOBS, sweep_selector(sweep), names_only=True)
        }
        missing = {name: each for name, each in missing.items() if name not in jobs}
        now = time.monotonic()
        if len(missing) < shown:
            appeared, shown = now, len(missing)
        if missing and now > deadline:
            reasons = _reasons(cluster, missing)
            if now - appeared < _PROGRESS_S and not reasons:
                return [
                    f"{len(missing)} of {len(jobsets)} runs have no Job yet: JobSet's controller is at it"
                ]
            catching_up = reasons and all(map(_NOT_SEEN_YET.search, reasons.values()))
            if not catching_up or now > deadline + _CATCHING_UP_S:
                raise _lifeless(cluster, sweep, missing, len(jobsets), reasons)
        if missing:
            # A long list is work for the server, which has the Jobs to make.
            time.sleep(max(_POLL_S, 4 * (now - begun)))
    return []


def _reasons(cluster: Cluster, missing: Mapping[str, Manifest]) -> dict[str, str]:
    """What events say of JobSets and Jobs, by the name of the Job that is missing."""
    said = {
        event["involvedObject"]["name"]: f"{event['reason']}: {event.get('message', '')}"
        for event in cluster.list(EVENTS, fields="type=Warning")
        if event.get("reason") in _REASONS
    }
    found = {job: said.get(jobset["metadata"]["name"]) or said.get(job) for job, jobset in missing.items()}
    return {job: reason for job, reason in found.items() if reason}


def _lifeless(
    cluster: Cluster, sweep: str, missing: Mapping[str, Manifest], num_runs: int, reasons: Mapping[str, str]
) -> NoJob:
    for job, reason in reasons.items():
        run = missing[job]["metadata"]["annotations"]["octjob.dev/run"]
        name = missing[job]["metadata"]["name"]
        return NoJob(
            f"{len(missing)} of {num_runs} runs were created but have no Job; run {run}: {reason}",
            f"`{kubectl(cluster)} describe jobset {name}` shows more;"
            f" `octjob cancel {sweep}{cluster.flags}` removes them.",
        )
    return NoJob(
        f"{len(missing)} of {num_runs} runs were created but have no Job, and no event says why:"
        " JobSet's controller seems to be away",
        f"`{kubectl(cluster, 'jobset-system')} get pods` shows it; once it works the runs"
        " start by themselves, and the same command looks again.",
    )
