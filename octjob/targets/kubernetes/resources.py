"""The kinds of objects that octjob reads or writes, and where the API serves them."""

from __future__ import annotations

from dataclasses import dataclass

from octjob.targets.kubernetes import jobset, kueue


@dataclass(frozen=True)
class Resource:
    """One kind: `path()` is its collection, below the server's address."""

    group_version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group, empty for the core."""
        return self.group_version.rpartition("/")[0]

    @property
    def full_name(self) -> str:
        """As `kubectl auth can-i` writes it: `jobsets.jobset.x-k8s.io`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "") -> str:
        """The path of the collection or of one object; namespace empty: all of them."""
        parts = ["apis" if self.group else "api", self.group_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        return "/" + "/".join([*parts, name] if name else parts)


JOBSETS = Resource(jobset.GROUP_VERSION, "jobsets", "JobSet")
JOBS = Resource("batch/v1", "jobs", "Job")
PODS = Resource("v1", "pods", "Pod")
EVENTS = Resource("v1", "events", "Event")
CONFIG_MAPS = Resource("v1", "configmaps", "ConfigMap")
SECRETS = Resource("v1", "secrets", "Secret")
SERVICE_ACCOUNTS = Resource("v1", "serviceaccounts", "ServiceAccount")
CLAIMS = Resource("v1", "persistentvolumeclaims", "PersistentVolumeClaim")
NAMESPACES = Resource("v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("v1", "nodes", "Node", namespaced=False)
# `Cluster` reads an earlier version where only that is served.
WORKLOADS = Resource(kueue.GROUP_VERSION, "workloads", "Workload")
LOCAL_QUEUES = Resource(kueue.GROUP_VERSION, "localqueues", "LocalQueue")
CLUSTER_QUEUES = Resource(kueue.GROUP_VERSION, "clusterqueues", "ClusterQueue", namespaced=False)
RESOURCE_FLAVORS = Resource(kueue.GROUP_VERSION, "resourceflavors", "ResourceFlavor", namespaced=False)
TOPOLOGIES = Resource(kueue.GROUP_VERSION, "topologies", "Topology", namespaced=False)
ADMISSION_CHECKS = Resource(kueue.GROUP_VERSION, "admissionchecks", "AdmissionCheck", namespaced=False)
PRIORITY_CLASSES = Resource(
    kueue.GROUP_VERSION, "workloadpriorityclasses", "WorkloadPriorityClass", namespaced=False
)
ACCESS_REVIEWS = Resource(
    "authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
