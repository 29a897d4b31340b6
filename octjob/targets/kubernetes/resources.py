"""The kinds of objects that octjob reads or writes, and where the API serves them."""

from __future__ import annotations

from dataclasses import dataclass


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


JOBSETS = Resource("jobset.x-k8s.io/v1alpha2", "jobsets", "JobSet")
JOBS = Resource("batch/v1", "jobs", "Job")
PODS = Resource("v1", "pods", "Pod")
EVENTS = Resource("v1", "events", "Event")
SECRETS = Resource("v1", "secrets", "Secret")
SERVICE_ACCOUNTS = Resource("v1", "serviceaccounts", "ServiceAccount")
NAMESPACES = Resource("v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("v1", "nodes", "Node", namespaced=False)
CRDS = Resource(
    "apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
# v1beta2 is stored and served from Kueue 0.14 on, and `Cluster` reads v1beta1 where only that is served.
WORKLOADS = Resource("kueue.x-k8s.io/v1beta2", "workloads", "Workload")
LOCAL_QUEUES = Resource("kueue.x-k8s.io/v1beta2", "localqueues", "LocalQueue")
CLUSTER_QUEUES = Resource("kueue.x-k8s.io/v1beta2", "clusterqueues", "ClusterQueue", namespaced=False)
RESOURCE_FLAVORS = Resource("kueue.x-k8s.io/v1beta2", "resourceflavors", "ResourceFlavor", namespaced=False)
PRIORITY_CLASSES = Resource(
    "kueue.x-k8s.io/v1beta2", "workloadpriorityclasses", "WorkloadPriorityClass", namespaced=False
)
ACCESS_REVIEWS = Resource(
    "authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
