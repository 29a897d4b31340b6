"""What a cluster shows of one run, and what it would have to be asked besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.observation.conditions import condition, seconds, true
from octjob.targets.kubernetes.observation.pools import Pool
from octjob.targets.kubernetes.observation.waiting import Place, lacks_slice

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Document

# JobSet makes its Jobs within a second of its creation, Kueue the Workload.
SETTLED_AFTER_S = 15.0


@dataclass(frozen=True)
class Seen:
    """What the cluster shows of one run; `jobset` None: nothing.

    pods: of the JobSet, of any attempt. place: in its queue, while it waits. events: texts of why Jobs or pods
    could not be created, latest last; only there where `wants_events` asked for them. has_job: some of them are the
    Job's own, so there is one. jobset_sign, kueue_sign: when JobSet's and Kueue's controllers last wrote to a status
    here. preemptor: who took its place, in words. broken: node pools it waits for that lack nodes, and absent: that
    no node of its kind is there; only there where `wants_nodes` asked for them. asking: the admission checks that ask
    for nodes; only there where it waits for one.
    """

    jobset: Document | None = None
    workload: Document | None = None
    pods: Sequence[Document] = ()
    place: Place | None = None
    events: Sequence[str] = ()
    has_job: bool = False
    jobset_sign: float | None = None
    kueue_sign: float | None = None
    preemptor: str = ""
    broken: Sequence[Pool] = ()
    absent: str = ""
    asking: frozenset[str] = frozenset()

    @property
    def without_jobs(self) -> bool:
        """Whether nothing shows that JobSet ever made its Job.

        JobSet counts no Job whose pods are being stopped, or could not be created.
        """
        assert self.jobset is not None
        restarts = self.jobset.get("status", {}).get("restarts", 0)
        return not (_has_jobs(self.jobset) or restarts or self.pods or self.has_job)


def wants_events(seen: Seen, now: float) -> bool:
    """Whether only events can say what is wrong: there are no Jobs, or no pods, and time has passed."""
    jobset = seen.jobset
    if jobset is None or true(jobset, jobset_api.FAILED) or true(jobset, jobset_api.COMPLETED):
        return False
    if seen.without_jobs:
        return age_s(jobset, now) > SETTLED_AFTER_S
    if seen.pods or jobset["spec"].get("suspend"):
        return False
    admitted = true(seen.workload, kueue.ADMITTED)
    since = seconds(admitted["lastTransitionTime"]) if admitted else now - age_s(jobset, now)
    return now - since > SETTLED_AFTER_S


def wants_nodes(seen: Seen) -> bool:
    """Whether a run waits for nodes: no slice is free, or a pod of its has none."""
    jobset = seen.jobset
    if jobset is None or true(jobset, jobset_api.FAILED) or true(jobset, jobset_api.COMPLETED):
        return False
    if jobset["spec"].get("suspend"):
        return seen.workload is not None and lacks_slice(seen.workload)
    scheduled = [condition(pod, "PodScheduled") for pod in seen.pods]
    return any(one is not None and one["status"] == "False" for one in scheduled)


def age_s(jobset: Document, now: float) -> float:
    """Seconds since its creation."""
    return max(0.0, now - seconds(jobset["metadata"]["creationTimestamp"]))


def _has_jobs(jobset: Document) -> bool:
    """JobSet counts Jobs, also suspended ones; before the first there is no status at all."""
    counts = jobset.get("status", {}).get("replicatedJobsStatus") or []
    return any(one.get(kind, 0) for one in counts for kind in jobset_api.JOB_COUNTS)
