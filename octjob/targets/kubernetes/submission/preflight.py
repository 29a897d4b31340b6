"""What a cluster must have before a sweep is submitted to it, asked before anything is created.

A cluster accepts a JobSet whose Secret, queue or nodes are missing, and its pods then hang; so each of these is
looked up first. What the user may not read is not checked, and said.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from octjob.errors import SpecError
from octjob.spec.accelerator import ACCELERATOR_LABEL, TOPOLOGY_LABEL, Accelerator
from octjob.spec.expand import Plan
from octjob.spec.gpu import GPU_LABEL
from octjob.targets.kubernetes import gke
from octjob.targets.kubernetes.capacity import check_offer, grows_from_none
from octjob.targets.kubernetes.documents.fields import Schema, check_fields, check_pod_fields
from octjob.targets.kubernetes.documents.manifest import Manifest
from octjob.targets.kubernetes.documents.settings import Settings
from octjob.targets.kubernetes.jobset import NEEDED_VERSION
from octjob.targets.kubernetes.refusal import ClusterError, Forbidden
from octjob.targets.kubernetes.resources import (
    JOBS,
    JOBSETS,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    Resource,
)
from octjob.targets.kubernetes.submission.admission import (
    Admission,
    check_admission,
    check_priority,
    kubectl,
    readable,
)
from octjob.targets.kubernetes.submission.claim import check_claim
from octjob.targets.kubernetes.submission.cpu_queue import check_cpu_queue

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document

MAX_RUN_ID = 200
# Dry runs need the right that the real thing needs; JobSet's controller creates Jobs and pods, we only try.
_RIGHTS: tuple[tuple[str, Resource], ...] = (
    ("list", JOBSETS),
    ("create", JOBSETS),
    ("patch", JOBSETS),
    ("create", JOBS),
    ("list", JOBS),
    ("create", PODS),
)


@dataclass(frozen=True)
class Preflight:
    """What the checks found. admission: None without a queue."""

    admission: Admission | None
    warnings: tuple[str, ...]


def preflight(cluster: Cluster, settings: Settings, jobset: Manifest, num_runs: int) -> Preflight:
    """Check the cluster for `num_runs` runs like `jobset`.

    Raises `ClusterError` for the first kind of thing that is missing.
    """
    compute = settings.compute
    pod = pod_spec(jobset)
    warnings = [
        *check_namespace(cluster),
        *check_rights(cluster),
        *check_service_account(cluster, compute.service_account),
        *check_secrets(cluster, compute.secrets),
        *check_claim(cluster, compute.cache_disk),
    ]
    if settings.cores is not None:
        found = check_cpu_queue(cluster, compute.queue, pod) if compute.queue else None
        return Preflight(found, (*warnings, *(found.warnings if found else ())))
    admission = None
    if compute.queue:
        admission = check_admission(cluster, compute.queue, pod, settings.slice.chips)
        warnings += admission.warnings
        if admission.home is not None and admission.flavors:
            warnings += check_offer(compute, admission.home, admission.flavors)
        if compute.priority:
            warnings += check_priority(cluster, compute.priority)
    else:
        warnings.append(
            f"no compute.queue: all {num_runs} runs start at once and ask for"
            f" {num_runs * settings.slice.chips} {settings.slice.unit}s, {settings.slice.chips} each"
        )
    warnings += check_nodes(cluster, pod["nodeSelector"], admission)
    warnings += check_gpus(cluster, settings.slice)
    return Preflight(admission, tuple(warnings))


def pod_spec(jobset: Manifest) -> dict[str, Any]:
    """The pod template's spec of a rendered JobSet."""
    spec: dict[str, Any] = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    return spec


def check_names(plan: Plan) -> None:
    """Raise `SpecError` where a run's id is too long for a folder and a log file of that name.

    Kubernetes' own limits need no check: names derived for it are cut and end in a digest.
    """
    for run in plan.runs:
        if len(run.run_id) > MAX_RUN_ID:
            longer = max(
                (run.checkpoint_name, "checkpoint"), (run.config_name, "config"), key=lambda x: len(x[0])
            )
            raise SpecError(
                f"run id of {len(run.run_id)} characters, at most {MAX_RUN_ID} are possible:"
                f" {longer[1]} {longer[0][:40]}... is too long",
                f"Shorten the {longer[1]}'s name in the sweep.",
            )


def check_schema(jobset: Manifest, schema: Schema, server: str, pod: Mapping[str, Any] | None = None) -> None:
    """Raise `ClusterError` where the served JobSet does not know a field that octjob sends.

    pod: the sweep's `compute.pod`, whose fields are its own to correct.
    """
    added = check_pod_fields(pod or {}, schema)
    if added:
        raise ClusterError(
            f"{added[0]}: no field that the JobSet served by {server} knows; nothing was created",
            "Correct it: `kubectl explain pod.spec --recursive` lists the fields.",
        )
    unknown = check_fields(jobset, schema)
    if unknown:
        more = f" and {len(unknown) - 1} more fields" if len(unknown) > 1 else ""
        raise ClusterError(
            f"the JobSet served by {server} does not know {unknown[0]}{more}",
            f"octjob needs JobSet {NEEDED_VERSION} or later: upgrade it as docs/platform.md says.",
        )


def check_namespace(cluster: Cluster) -> list[str]:
    """Raises `ClusterError` where the namespace is not there; silent where it may not be read."""
    try:
        there = cluster.get(NAMESPACES, cluster.namespace)
    except Forbidden:
        return []
    if there is None:
        raise ClusterError(
            f"namespace {cluster.namespace} is not there",
            f"`{kubectl(cluster, '')} create namespace {cluster.namespace}`, or choose another with --namespace"
            " or compute.namespace.",
        )
    return []


def check_rights(cluster: Cluster) -> list[str]:
    """Raises `Forbidden` that names every right that is missing."""
    missing = [(verb, kind.full_name) for verb, kind in _RIGHTS if not cluster.allowed(verb, kind)]
    if missing:
        verb, kind = missing[0]
        raise Forbidden(
            f"namespace {cluster.namespace}: no right to {', '.join(f'{verb} {kind}' for verb, kind in missing)}",
            f"`{kubectl(cluster)} auth can-i {verb} {kind}` must say yes; ask for the submitter role of the chart"
            " octjob.",
            403,
        )
    return []


def check_service_account(cluster: Cluster, name: str | None) -> list[str]:
    """Warnings; raises `ClusterError` where the pods' service account is not there. None is `default`."""
    if name is None:
        return []
    try:
        there = cluster.get(SERVICE_ACCOUNTS, name)
    except Forbidden:
        return [f"ServiceAccount {name} was not checked: no right to get it"]
    if there is None:
        raise ClusterError(
            f"compute.service_account: no ServiceAccount {name} in namespace {cluster.namespace}",
            f"`{kubectl(cluster)} create serviceaccount {name}`, and give it access to the bucket; the chart octjob"
            " does both.",
        )
    return []


def check_secrets(cluster: Cluster, secrets: Mapping[str, Sequence[str]]) -> list[str]:
    """Warnings; raises `ClusterError` that names every Secret and key that is missing. Values are not kept."""
    problems: list[str] = []
    unchecked: list[str] = []
    worst = ""
    for name, keys in secrets.items():
        try:
            there = cluster.get(SECRETS, name)
        except Forbidden:
            unchecked.append(name)
            continue
        if there is None:
            problems.append(f"no Secret {name} (keys {', '.join(keys)})")
            worst = worst or name
            continue
        filled = {key for key, value in (there.get("data") or {}).items() if base64.b64decode(value)}
        missing = [key for key in keys if key not in filled]
        if missing:
            problems.append(f"Secret {name} has no value for {', '.join(missing)}")
            worst = worst or name
    if problems:
        create = f"create secret generic {worst} --from-env-file=FILE --dry-run=client -o yaml"
        raise ClusterError(
            f"namespace {cluster.namespace}: {'; '.join(problems)}",
            f"Put KEY=value lines for {', '.join(secrets[worst])} into FILE, then"
            f" `{kubectl(cluster)} {create} | {kubectl(cluster)} apply -f -`.",
        )
    if not unchecked:
        return []
    what = "Secret" if len(unchecked) == 1 else "Secrets"
    return [
        f"{what} {', '.join(unchecked)}: not checked, no right to get secrets; pods wait if a key is missing"
    ]


def check_nodes(cluster: Cluster, selector: Mapping[str, str], admission: Admission | None) -> list[str]:
    """Warnings; raises `ClusterError` where neither a node nor a flavor of the queue has the labels asked for.

    A flavor suffices: autoscaled node pools may have no node yet. One that does not name all labels (no Spot, no
    reservation) admits the run all the same, which then holds quota until there is such a node: a warning.
    """
    flavors = admission.flavors if admission and admission.flavors else ()
    promised = [flavor["spec"].get("nodeLabels", {}) for flavor in flavors]
    if any(selector.items() <= labels.items() for labels in promised):
        return []
    shape = _shape(selector)
    wanted = " ".join(selector[key] for key in shape)
    nodes = readable(lambda: cluster.list(NODES, shape[-1]))
    if nodes is None:
        return [f"whether a node pool has {wanted} was not checked: no right to list nodes"]
    labels = [node["metadata"].get("labels", {}) for node in nodes]
    if any(selector.items() <= each.items() for each in labels):
        return []
    if any(shape[-1] in each for each in promised):
        return [
            f"no node has {_described(selector)} now, and no flavor of the queue promises one: a run holds its quota"
            " until such a node pool grows"
        ]
    if grows_from_none(selector):
        return [
            f"no node has {_described(selector)} now: runs wait until the cluster's autoscaler makes some"
        ]
    if not nodes:
        kind = "GPU" if GPU_LABEL in shape else "TPU"
        return [f"no {kind} node is there now: runs wait until a node pool of {wanted} grows"]
    raise ClusterError(
        f"compute.accelerator: no node pool has {_described(selector)}; there are {_pools(labels, shape)}",
        "Choose one of these as compute.accelerator, or create the node pool:"
        f" `{kubectl(cluster, '')} get nodes -L {shape[-1]}` shows what there is.",
    )


def check_gpus(cluster: Cluster, where: Accelerator) -> list[str]:
    """A warning where every node of the GPU that is there now has fewer than a pod asks for."""
    if where.kind != "gpu":
        return []
    nodes = readable(lambda: cluster.list(NODES, f"{GPU_LABEL}={where.gpu.label}")) or []
    most = max((int(node["status"].get("capacity", {}).get(gke.GPU, 0)) for node in nodes), default=None)
    if most is None or most >= where.chips_per_host:
        return []
    return [
        f"no node of {where.gpu.label} has {where.chips_per_host} GPUs now, the largest has {most}: runs wait until a"
        f" node pool of larger ones grows, or ask for {where.gpu.names[0]}:{most}"
    ]


def _shape(selector: Mapping[str, str]) -> tuple[str, ...]:
    """The labels that say what a node has, the one that only such nodes have last."""
    return (GPU_LABEL,) if GPU_LABEL in selector else (ACCELERATOR_LABEL, TOPOLOGY_LABEL)


def _described(selector: Mapping[str, str]) -> str:
    shape = _shape(selector)
    others = [f"{key.rpartition('/')[2]}={value}" for key, value in selector.items() if key not in shape]
    return " ".join([*(selector[key] for key in shape), *others])


def _pools(labels: Sequence[Document], shape: Sequence[str]) -> str:
    counts = Counter(
        (" ".join(each.get(key, "?") for key in shape), each.get(gke.SPOT_LABEL) == "true") for each in labels
    )
    return ", ".join(
        f"{name}{' (Spot)' if spot else ''} ({count} nodes)" for (name, spot), count in sorted(counts.items())
    )
