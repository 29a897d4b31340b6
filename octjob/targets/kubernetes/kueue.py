"""What Kueue promises: names, conditions, reasons and messages, read at Kueue 0.19.2 unless another is named.

Where: apis/kueue/v1beta2/workload_types.go for conditions and reasons, pkg/controller/constants for labels. Messages
are no interface of Kueue's: each pattern names the file it was read in.
"""

from __future__ import annotations

import re

GROUP = "kueue.x-k8s.io"
# Stored and served from Kueue 0.14 on; earlier ones serve v1beta1 alone, with the fields that octjob reads.
VERSION = "v1beta2"
GROUP_VERSION = f"{GROUP}/{VERSION}"

# pkg/controller/constants/constants.go
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
MAX_EXEC_LABEL = "kueue.x-k8s.io/max-exec-time-seconds"
JOB_UID_LABEL = "kueue.x-k8s.io/job-uid"
# Annotation of a pod template: all pods of a run in one domain of this node label
# (apis/kueue/v1beta2/topology_types.go). Only flavors whose Topology has that level are then considered; one without
# a Topology is passed over (pkg/scheduler/flavorassigner/tas_flavorassigner.go). On by default from 0.14 on.
REQUIRED_TOPOLOGY = "kueue.x-k8s.io/podset-required-topology"
# Annotation of a job that becomes the parameter of its ProvisioningRequest, maxRunDurationSeconds
# (pkg/controller/admissionchecks/provisioning, passProvReqParams); GKE ends the nodes after it.
MAX_RUN_DURATION = "provreq.kueue.x-k8s.io/maxRunDurationSeconds"
# `spec.controllerName` of admission checks that ask an autoscaler for nodes (provisioningrequestconfig_types.go).
PROVISIONING = "kueue.x-k8s.io/provisioning-request"
# The same for every so many pods of one pod template, by the order of JobSet's Jobs and their indices
# (pkg/controller/jobs/jobset/jobset_controller.go). Before 0.18 pods that have only these are never let go (#10282).
SLICE_REQUIRED_TOPOLOGY = "kueue.x-k8s.io/podset-slice-required-topology"
SLICE_SIZE = "kueue.x-k8s.io/podset-slice-size"

# Conditions of a Workload.
QUOTA_RESERVED = "QuotaReserved"
ADMITTED = "Admitted"
EVICTED = "Evicted"
FINISHED = "Finished"
# Condition of a ClusterQueue and of a LocalQueue.
ACTIVE = "Active"
# `spec.stopPolicy` of a queue that is not stopped.
NOT_STOPPED = "None"
# States of a Workload's admission checks (admissioncheck_types.go).
CHECK_READY = "Ready"
CHECK_REJECTED = "Rejected"

# Reasons of Evicted. Those that only begin with Deactivated are Kueue's own doing, e.g.
# DeactivatedDueToRequeuingLimitExceeded.
PREEMPTED = "Preempted"
PODS_READY_TIMEOUT = "PodsReadyTimeout"
CLUSTER_QUEUE_STOPPED = "ClusterQueueStopped"
LOCAL_QUEUE_STOPPED = "LocalQueueStopped"
NODE_FAILURES = "NodeFailures"
DEACTIVATED = "Deactivated"
ADMISSION_CHECK = "AdmissionCheck"
# pkg/controller/core/workload_controller.go, buildAdmissionChecksMessage: of one check or several.
CHECKS_SAID = re.compile(r'AdmissionChecks? in (Rejected|Retry) state: (?P<checks>".*)')
CHECK_SAID = re.compile(r'"(?P<name>[^"]+)"(?: \((?P<message>.*)\))?\.?')
# pkg/controller/admissionchecks/provisioning/controller.go, syncCheckStates
PROVISIONING_RETRY = re.compile(r"Retrying after (failure|booking expired): (?P<message>.*)")
# In 0.19 the reason is DeactivatedDueToMaximumExecutionTimeExceeded and the message says the same in words
# (pkg/controller/core/workload_controller.go); either, in reason or message, is enough.
TIME_LIMIT = ("MaximumExecutionTimeExceeded", "maximum execution time")

# Reasons of QuotaReserved not being true.
WAITING_FOR_QUOTA = "WaitingForQuota"
EXCEEDS_MAX_QUOTA = "ExceedsMaxQuota"
NO_MATCHING_FLAVOR = "NoMatchingFlavor"
SUSPENDED = "Suspended"
MISCONFIGURED = "Misconfigured"
WAITING_FOR_PREEMPTED = "WaitingForPreemptedWorkloads"
WAITING_FOR_PODS_READY = "WaitingForPodsReady"
TOPOLOGY_PLACEMENT_FAILED = "TopologyPlacementFailed"
PENDING_EVALUATION = "PendingEvaluation"
# No reason of Kueue's, but a case of NoMatchingFlavor that its message tells apart.
NOT_COVERED = "NotCovered"
# Kueue before 0.19, and later ones without their gate UnadmittedWorkloadsObservability, give nearly all reasons as
# one of these; then the message is what tells them apart.
GENERAL_REASONS = ("Pending", "Inadmissible", "Waiting")
# (reason, what the message holds where the reason is a general one); the first that matches.
REASON_BY_MESSAGE = (
    # pkg/scheduler/flavorassigner/flavorassigner.go
    (WAITING_FOR_QUOTA, re.compile(r"insufficient unused quota")),
    # pkg/cache/scheduler/tas_flavor_snapshot.go, notFitMessage
    (TOPOLOGY_PLACEMENT_FAILED, re.compile(r'topology "[^"]*" (doesn\'t allow|allows) to fit')),
    # pkg/scheduler/flavorassigner/flavorassigner.go
    (EXCEEDS_MAX_QUOTA, re.compile(r"> maximum capacity")),
    (NOT_COVERED, re.compile(r"resource (?P<resource>\S+) unavailable in ClusterQueue")),
    (NO_MATCHING_FLAVOR, re.compile(r"doesn't match node affinity|untolerated taint")),
    # pkg/cache/scheduler/clusterqueue.go, pkg/scheduler/scheduler.go
    (SUSPENDED, re.compile(r"is inactive|is stopped")),
    (MISCONFIGURED, re.compile(r"doesn't exist|not found|doesn't match ClusterQueue selector")),
    (WAITING_FOR_PREEMPTED, re.compile(r"[Pp]ending the preemption")),
)
# pkg/scheduler/flavorassigner/flavorassigner.go, fitsResourceQuota
MORE_NEEDED = re.compile(
    r"insufficient unused quota for (?P<resource>\S+) in flavor (?P<flavor>\S+), (?P<more>\S+) more"
)
NEVER_ENOUGH = re.compile(
    r"insufficient quota for (?P<resource>\S+) in flavor (?P<flavor>\S+),.*? current podset request"
    r" \((?P<asked>[^)]*)\) > maximum capacity \((?P<most>[^)]*)\)"
)
# pkg/scheduler/preemption/preemption.go, preemptionMessage
PREEMPTED_BY = re.compile(r"\(UID: (?P<uid>[^,]+), JobUID: (?P<job>[^)]+)\) due to (?P<due>[^;]+)")
BY_PRIORITY = "prioritization in the ClusterQueue"

# What Kueue writes into a pod template when it admits a run (pkg/podset/podset.go, Merge), beside labels and
# annotations; on eviction it restores them from its Workload's copy.
INJECTED = ("nodeSelector", "tolerations", "schedulingGates")
