"""A run's objects as a dry run on the server: what would be refused later is refused before anything is there."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING

from octjob.spec.run import Run
from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes.documents.derived import child_job, child_pod
from octjob.targets.kubernetes.documents.manifest import Manifest, jobset_containers
from octjob.targets.kubernetes.refusal import Refused
from octjob.targets.kubernetes.resources import JOBS, JOBSETS, PODS
from octjob.targets.kubernetes.submission.admission import (
    Admission,
    quantity,
    requested_resources,
    require_covered,
)

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster

_EXCEEDED = re.compile(
    r"exceeded quota: (?P<name>[^,]+), requested: (?P<requested>.+), used: .+, limited: (?P<limited>.+)"
)
_POD_SECURITY = "violates PodSecurity"


def shape(jobset: Manifest) -> str:
    """What the Jobs and pods of a JobSet have in common with those of other runs.

    All but names, labels, annotations and the run's URI: runs of one sweep mostly have one shape.
    """
    template = copy.deepcopy(jobset["spec"]["replicatedJobs"][0]["template"])
    del template["metadata"], template["spec"]["template"]["metadata"]
    template["spec"]["template"]["spec"]["containers"][0]["command"].pop()
    # Its pods meet at a name made of the JobSet's.
    return json.dumps(template, sort_keys=True).replace(jobset["metadata"]["name"], "")


def dry_run(
    cluster: Cluster, admission: Admission | None, run: Run, jobset: Manifest, *, children: bool = True
) -> list[str]:
    """Let the server check the JobSet of a run, with `children` its Job and pod too (three calls); warnings.

    Raises `ClusterError` that names the run and what was refused.
    """
    try:
        cluster.apply(JOBSETS, jobset, dry_run=True)
        if not children:
            return []
        cluster.dry_run_create(JOBS, child_job(jobset, cluster.namespace))
        return _dry_run_pod(cluster, admission, jobset)
    except Refused as error:
        hint = error.hint or "Nothing was created; `octjob render` writes the documents that were refused."
        if _POD_SECURITY in error.message:
            hint = (
                f"{_mended(jobset)}, or let the namespace allow it: `kubectl label namespace"
                f" {cluster.namespace} --overwrite pod-security.kubernetes.io/enforce=privileged`."
            )
        raise type(error)(f"run {run.run_id}: {error.message}", hint, error.status) from None


def _mended(jobset: Manifest) -> str:
    """What makes pods keep to the level `restricted`: octjob's own do, unless they are privileged."""
    (container,) = jobset_containers(jobset)
    if container["securityContext"].get("privileged"):
        return "Set compute.privileged: false"
    return "Correct compute.pod"


def _dry_run_pod(cluster: Cluster, admission: Admission | None, jobset: Manifest) -> list[str]:
    try:
        pod = cluster.dry_run_create(PODS, child_pod(jobset, cluster.namespace))
    except Refused as error:
        if quota := used_up(error.message, jobset_api.num_pods(jobset)):
            return [f"ResourceQuota {quota} is used up for now: pods wait until it has room"]
        raise
    if admission is not None and admission.covered is not None:
        # Only the server's answer shows the CPU and memory that a LimitRange adds.
        wanted = requested_resources(pod["spec"])
        require_covered(cluster, admission.cluster_queue, admission.covered, wanted)
    return []


def used_up(message: str, num_pods: int) -> str | None:
    """The ResourceQuota that refused a pod, where it would have room for all pods of the run if nothing else ran."""
    match = _EXCEEDED.search(message)
    if match is None:
        return None
    requested, limited = _amounts(match["requested"]), _amounts(match["limited"])
    fits = all(requested[name] * num_pods <= limited[name] for name in requested)
    return match["name"] if fits else None


def _amounts(text: str) -> dict[str, float]:
    pairs = (part.split("=") for part in text.split(","))
    return {name: float(quantity(value)) for name, value in pairs}
