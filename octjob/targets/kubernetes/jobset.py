"""What JobSet promises: names, conditions, reasons and events, read at JobSet 0.12.0 unless another is named.

Where: api/jobset/v1alpha2/jobset_types.go for labels and conditions, pkg/constants/constants.go for reasons.
"""

from __future__ import annotations

from typing import Any

GROUP_VERSION = "jobset.x-k8s.io/v1alpha2"

# The least that octjob can be used with in full: `onJobFailureMessagePatterns` is from 0.10 on.
NEEDED_VERSION = "0.10"

# Each is a label and an annotation of the Job and the pods.
NAME_KEY = "jobset.sigs.k8s.io/jobset-name"
UID_KEY = "jobset.sigs.k8s.io/jobset-uid"
REPLICATED_JOB_KEY = "jobset.sigs.k8s.io/replicatedjob-name"
REPLICAS_KEY = "jobset.sigs.k8s.io/replicatedjob-replicas"
GLOBAL_REPLICAS_KEY = "jobset.sigs.k8s.io/global-replicas"
RESTART_KEY = "jobset.sigs.k8s.io/restart-attempt"
JOB_INDEX_KEY = "jobset.sigs.k8s.io/job-index"
JOB_GLOBAL_INDEX_KEY = "jobset.sigs.k8s.io/job-global-index"
# SHA-1 of `<namespace>/<job>` (pkg/controllers/jobset_controller.go, jobHashKey).
JOB_KEY = "jobset.sigs.k8s.io/job-key"
# Annotation of a JobSet: all pods of a Job in one domain of this node label, and no other Job in it.
EXCLUSIVE_KEY = "alpha.jobset.sigs.k8s.io/exclusive-topology"

# Conditions; each also the JobSet's `status.terminalState`, but for the last.
FAILED = "Failed"
COMPLETED = "Completed"
# From 0.12 on, true between an attempt that failed and the pods of the next.
RESTARTING = "RestartingJobSet"

# Reason of Failed.
REACHED_MAX_RESTARTS = "ReachedMaxRestarts"
# Reasons of events on a JobSet: why it has no Job (from 0.11 on).
JOB_CREATION_FAILED = "JobCreationFailed"
SERVICE_CREATION_FAILED = "HeadlessServiceCreationFailed"

# Actions of a failure policy's rules.
RESTART_UNCOUNTED = "RestartJobSetAndIgnoreMaxRestarts"
FAIL = "FailJobSet"
# The names of a failure policy rule's own fields that not every version knows (from 0.10 on).
MESSAGE_PATTERNS_FIELD = "onJobFailureMessagePatterns"

# Names of counts in `status.replicatedJobsStatus`.
JOB_COUNTS = ("ready", "succeeded", "failed", "active", "suspended")


def restart_reason(rule: str) -> str:
    """The reason of RestartingJobSet where the failure policy's rule of this name restarted it."""
    return f"FailurePolicy_{rule}"


def job_indices(jobset: dict[str, Any]) -> range:
    """Those of the Jobs of a JobSet with one replicated job: a run's slices."""
    return range(jobset["spec"]["replicatedJobs"][0].get("replicas", 1))


def num_pods(jobset: dict[str, Any], *, of_one_job: bool = False) -> int:
    """How many pods run at a time when all do, or all of one Job."""
    total = 0
    for one in jobset["spec"]["replicatedJobs"]:
        spec = one["template"]["spec"]
        jobs = 1 if of_one_job else one.get("replicas", 1)
        total += jobs * min(spec.get("parallelism", 1), spec.get("completions") or 10**9)
    return total
