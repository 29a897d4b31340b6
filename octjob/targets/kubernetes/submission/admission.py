"""Whether Kueue can ever admit a run: asked of its queue before the run waits in it for nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.gke import GPU, TPU
from octjob.targets.kubernetes.refusal import ClusterError, Forbidden
from octjob.targets.kubernetes.resources import (
    CLUSTER_QUEUES,
    LOCAL_QUEUES,
    PRIORITY_CLASSES,
    RESOURCE_FLAVORS,
)

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document

T = TypeVar("T")

_SUFFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|[kMGT]?|[KMGT]i)")
_BLOCKING = ("NoSchedule", "NoExecute")


@dataclass(frozen=True)
class Admission:
    """What is known of a queue. covered, flavors, home: None where the user may not read it.

    covered: resources that the ClusterQueue has quota for. flavors: those that suit the run, as documents, in Kueue's
    order. home: the ClusterQueue itself.
    """

    queue: str
    cluster_queue: str
    covered: frozenset[str] | None = None
    flavors: tuple[Document, ...] | None = None
    warnings: tuple[str, ...] = ()
    home: Document | None = None


def readable(read: Callable[[], T]) -> T | None:
    """What `read` returns, None where the user has no right to it."""
    try:
        return read()
    except Forbidden:
        return None


def quantity(text: str | int | float) -> Decimal:
    """A Kubernetes quantity (`16`, `500m`, `2Gi`) as a number."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f"not a quantity: {text!r}")
    number, suffix = Decimal(match[1]), match[2]
    return number / 1000 if suffix == "m" else number * {**_SUFFIXES, **_BINARY}[suffix]


def requested_resources(pod: Mapping[str, Any]) -> frozenset[str]:
    """Names of the resources that a pod spec's containers ask for; a limit is a request too."""
    names: set[str] = set()
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        resources = container.get("resources", {})
        names |= {*resources.get("requests", {}), *resources.get("limits", {})}
    return frozenset(names)


def check_admission(cluster: Cluster, name: str, pod: Mapping[str, Any], chips: int) -> Admission:
    """The LocalQueue `name` and what stands behind it, for runs of pods like `pod` with `chips` chips in all.

    Raises `ClusterError` where such a run would never be admitted.
    """
    queues = {queue["metadata"]["name"]: queue for queue in cluster.list(LOCAL_QUEUES)}
    if name not in queues:
        raise _missing_queue(cluster, name, sorted(queues))
    queue = queues[name]
    home = queue["spec"]["clusterQueue"]
    try:
        cluster_queue = cluster.get(CLUSTER_QUEUES, home)
    except Forbidden:
        note = f"ClusterQueue {home} may not be read: whether its quota suffices was not checked"
        return Admission(
            name, home, warnings=(note, *(_stopped(queue, "LocalQueue") or _inactive(queue, "LocalQueue")))
        )
    if cluster_queue is None:
        raise ClusterError(
            f"LocalQueue {name}: its ClusterQueue {home} is not there",
            f"Create it, or correct the queue: `{kubectl(cluster)} edit localqueue {name}`.",
        )
    notes = [*_stopped(queue, "LocalQueue"), *_stopped(cluster_queue, "ClusterQueue")]
    if not notes:
        _require_active(cluster, cluster_queue, "ClusterQueue")
        _require_active(cluster, queue, "LocalQueue")
    covered = frozenset(
        resource for group in _groups(cluster_queue) for resource in group.get("coveredResources", [])
    )
    require_covered(cluster, home, covered, requested_resources(pod))
    flavors = readable(lambda: cluster.list(RESOURCE_FLAVORS))
    suiting = None if flavors is None else _suiting(cluster, cluster_queue, flavors, pod)
    if suiting is None:
        notes.append("ResourceFlavors may not be read: whether one suits the runs was not checked")
    notes += _require_quota(cluster, cluster_queue, suiting, chips, _chips_of(pod))
    return Admission(name, home, covered, suiting, tuple(notes), cluster_queue)


def require_covered(
    cluster: Cluster, cluster_queue: str, covered: frozenset[str], wanted: frozenset[str]
) -> None:
    """Raise `ClusterError` where pods ask for a resource that a ClusterQueue has no quota for.

    Kueue then never admits them, whatever else is free. octjob asks for chips and `compute.memory`; anything else
    comes from `compute.pod` or a LimitRange of the namespace.
    """
    missing = sorted(wanted - covered)
    if not missing:
        return
    asked_by = (
        "compute.memory, compute.pod or a LimitRange"
        if "memory" in missing
        else "compute.pod or a LimitRange"
    )
    source = "" if {TPU, GPU} & set(missing) else f" (from {asked_by}: `{kubectl(cluster)} get limitrange`)"
    raise ClusterError(
        f"ClusterQueue {cluster_queue} has no quota for {', '.join(missing)}, which the pods ask for{source},"
        " so no run would ever be admitted",
        f"Add {', '.join(missing)} to its coveredResources (`{kubectl(cluster, '')} edit clusterqueue"
        f" {cluster_queue}`), or choose another compute.queue.",
    )


def check_priority(cluster: Cluster, name: str) -> list[str]:
    """Warnings about the WorkloadPriorityClass `name`; raises `ClusterError` where it is not there."""
    found = readable(lambda: cluster.list(PRIORITY_CLASSES))
    if found is None:
        return [f"WorkloadPriorityClass {name} was not checked: no right to list them"]
    names = sorted(each["metadata"]["name"] for each in found)
    if name in names:
        return []
    raise ClusterError(
        f"compute.priority: no WorkloadPriorityClass {name}; there are {', '.join(names) or 'none'}",
        f"Set compute.priority to one of `{kubectl(cluster, '')} get workloadpriorityclasses`, or remove it.",
    )


def kubectl(cluster: Cluster, namespace: str | None = None) -> str:
    """How the user calls kubectl for this cluster; namespace: default the cluster's, empty none."""
    where = cluster.namespace if namespace is None else namespace
    flags = f" --context {cluster.context}" if cluster.context else ""
    return f"kubectl{flags}{f' -n {where}' if where else ''}"


def suits(labels: Mapping[str, str], selector: Mapping[str, str], keys: frozenset[str]) -> bool:
    """Whether a flavor's node labels fit a pod's node selector; keys: those any flavor of its group has.

    Kueue overlooks selectors that no flavor of the group speaks of (flavorassigner.go, flavorSelector).
    """
    return all(labels.get(key) == value for key, value in selector.items() if key in keys)


def tolerated(taint: Mapping[str, str], tolerations: Sequence[Mapping[str, str]]) -> bool:
    """Whether one of the tolerations covers a taint, as the scheduler sees it."""
    return taint.get("effect") not in _BLOCKING or any(
        toleration.get("effect") in (None, "", taint["effect"])
        and toleration.get("key") in (None, "", taint["key"])
        and (toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", ""))
        for toleration in tolerations
    )


def _missing_queue(cluster: Cluster, name: str, there: list[str]) -> ClusterError:
    message = f"compute.queue: no LocalQueue {name} in namespace {cluster.namespace}"
    if there:
        return ClusterError(
            f"{message}; there are {', '.join(there)}",
            f"Set compute.queue to one of `{kubectl(cluster)} get localqueues`.",
        )
    return ClusterError(
        f"{message}, nor any other",
        "The chart octjob makes one: `helm install octjob charts/octjob"
        f" --namespace {cluster.namespace}`; or choose another namespace with --namespace.",
    )


def _stopped(queue: Document, kind: str) -> list[str]:
    policy = queue["spec"].get("stopPolicy", kueue.NOT_STOPPED)
    if policy == kueue.NOT_STOPPED:
        return []
    return [
        f"{kind} {queue['metadata']['name']} is stopped (stopPolicy {policy}): runs wait until it goes on"
    ]


def _inactive(queue: Document, kind: str) -> list[str]:
    """Why Kueue admits nothing from a queue; empty where it does."""
    return [
        f"{kind} {queue['metadata']['name']} is not active: {condition['reason']}: {condition['message']}"
        for condition in queue.get("status", {}).get("conditions", [])
        if condition["type"] == kueue.ACTIVE and condition["status"] == "False"
    ]


def _require_active(cluster: Cluster, queue: Document, kind: str) -> None:
    for problem in _inactive(queue, kind):
        scope = kubectl(cluster, None if kind == "LocalQueue" else "")
        raise ClusterError(
            problem, f"`{scope} describe {kind.lower()} {queue['metadata']['name']}` shows what it lacks."
        )


def _groups(cluster_queue: Document) -> list[Document]:
    return list(cluster_queue["spec"].get("resourceGroups", []))


def _chips_of(pod: Mapping[str, Any]) -> str:
    """The resource that the pod's chips are."""
    return GPU if GPU in requested_resources(pod) else TPU


def _quotas(cluster_queue: Document, chips: str) -> dict[str, Document]:
    """Flavor to its quota of chips, which are the resource `chips`, in Kueue's order."""
    return {
        flavor["name"]: resource
        for group in _groups(cluster_queue)
        for flavor in group.get("flavors", [])
        for resource in flavor.get("resources", [])
        if resource["name"] == chips
    }


def _own(cluster_queue: Document, flavors: Sequence[Document], chips: str) -> list[Document]:
    """The flavors that a ClusterQueue has chips of, in its order."""
    named = {each["metadata"]["name"]: each for each in flavors}
    return [named[flavor] for flavor in _quotas(cluster_queue, chips) if flavor in named]


def suiting_flavors(
    cluster_queue: Document, flavors: Sequence[Document], pod: Mapping[str, Any]
) -> tuple[Document, ...]:
    """The queue's flavors of chips that pods may use. flavors: all of the cluster's."""
    own = _own(cluster_queue, flavors, _chips_of(pod))
    keys = frozenset(key for each in own for key in each["spec"].get("nodeLabels", {}))
    return tuple(
        each
        for each in own
        if suits(each["spec"].get("nodeLabels", {}), pod.get("nodeSelector", {}), keys)
        and all(
            tolerated(taint, [*pod.get("tolerations", []), *each["spec"].get("tolerations", [])])
            for taint in each["spec"].get("nodeTaints", [])
        )
    )


def _suiting(
    cluster: Cluster, cluster_queue: Document, flavors: Sequence[Document], pod: Mapping[str, Any]
) -> tuple[Document, ...]:
    """The queue's flavors that pods may use; raises where there is none."""
    name = cluster_queue["metadata"]["name"]
    own = _own(cluster_queue, flavors, _chips_of(pod))
    suiting = suiting_flavors(cluster_queue, flavors, pod)
    if suiting:
        return suiting
    keys = frozenset(key for each in own for key in each["spec"].get("nodeLabels", {}))
    selector = pod.get("nodeSelector", {})
    wanted = ", ".join(f"{key.rpartition('/')[2]}={value}" for key, value in selector.items() if key in keys)
    there = "; ".join(f"{each['metadata']['name']} ({_labels(each)})" for each in own)
    raise ClusterError(
        f"ClusterQueue {name} has no flavor for {wanted or 'these pods'}; its flavors are {there or 'none'}",
        "Set compute.accelerator (capacity, reservation) to one of them, or choose another compute.queue:"
        f" `{kubectl(cluster)} get localqueues`.",
    )


def _labels(flavor: Document) -> str:
    labels = flavor["spec"].get("nodeLabels", {})
    return (
        ", ".join(f"{key.rpartition('/')[2]}={value}" for key, value in sorted(labels.items())) or "any node"
    )


def _require_quota(
    cluster: Cluster, cluster_queue: Document, suiting: Sequence[Document] | None, chips: int, resource: str
) -> list[str]:
    """Raise where no flavor can ever hold one run, whose pods are all of one flavor; warn where it must borrow."""
    name = cluster_queue["metadata"]["name"]
    quotas = _quotas(cluster_queue, resource)
    if suiting is not None:
        quotas = {each["metadata"]["name"]: quotas[each["metadata"]["name"]] for each in suiting}
    nominal = max((quantity(quota["nominalQuota"]) for quota in quotas.values()), default=Decimal(0))
    if nominal >= chips:
        return []
    cohort = cluster_queue["spec"].get("cohortName") or cluster_queue["spec"].get("cohort")
    if cohort and any(
        quota.get("borrowingLimit") is None
        or quantity(quota["nominalQuota"]) + quantity(quota["borrowingLimit"]) >= chips
        for quota in quotas.values()
    ):
        return [
            f"ClusterQueue {name} has {nominal} {resource} of its own and a run needs {chips}:"
            f" runs wait until cohort {cohort} lends the rest"
        ]
    raise ClusterError(
        f"{kueue.EXCEEDS_MAX_QUOTA}: a run needs {chips} {resource}, ClusterQueue {name} has at most {nominal}"
        f" for it ({', '.join(quotas)}), so it would never be admitted",
        "Choose a smaller compute.accelerator or another compute.queue, or raise the quota:"
        f" `{kubectl(cluster, '')} edit clusterqueue {name}`.",
    )
