"""The Job and the pod that JobSet makes of a JobSet, to be validated before there is one.

JobSet's webhook does not look into the Job it embeds, and a Job that is refused later leaves no trace on the JobSet;
so the same Job and pod are sent to the server as a dry run. Names, labels and annotations are those of jobset
pkg/controllers/jobset_controller.go.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Any

from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes.documents.manifest import Manifest
from octjob.targets.kubernetes.documents.names import job_name, pod_name


def child_job(jobset: Manifest, namespace: str) -> Manifest:
    """The one Job of a rendered JobSet, suspended as Kueue would have it."""
    replicated = jobset["spec"]["replicatedJobs"][0]
    template = copy.deepcopy(replicated["template"])
    name = job_name(jobset["metadata"]["name"])
    _mark(template["metadata"], jobset, replicated, name, namespace)
    pod = template["spec"]["template"]
    _mark(pod["metadata"], jobset, replicated, name, namespace)
    if jobset["spec"]["network"]["enableDNSHostnames"]:
        pod["spec"]["subdomain"] = jobset["metadata"]["name"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, **template["metadata"]},
        "spec": {**template["spec"], "suspend": True},
    }


def child_pod(jobset: Manifest, namespace: str) -> Manifest:
    """The first pod of that Job: the leader, on which exclusive placement puts no condition yet."""
    job = child_job(jobset, namespace)
    template = copy.deepcopy(job["spec"]["template"])
    index = {"batch.kubernetes.io/job-completion-index": "0"}
    metadata = {
        "name": pod_name(jobset["metadata"]["name"], 0),
        "namespace": namespace,
        "labels": {
            **template["metadata"]["labels"],
            **index,
            "batch.kubernetes.io/job-name": job["metadata"]["name"],
        },
        "annotations": {**template["metadata"]["annotations"], **index},
    }
    spec = {**template["spec"], "hostname": f"{job['metadata']['name']}-0"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _mark(
    metadata: dict[str, Any], jobset: Manifest, replicated: dict[str, Any], job: str, namespace: str
) -> None:
    keys = {
        jobset_api.NAME_KEY: jobset["metadata"]["name"],
        jobset_api.REPLICATED_JOB_KEY: replicated["name"],
        jobset_api.REPLICAS_KEY: str(replicated["replicas"]),
        jobset_api.GLOBAL_REPLICAS_KEY: str(replicated["replicas"]),
        jobset_api.RESTART_KEY: "0",
        jobset_api.JOB_INDEX_KEY: "0",
        jobset_api.JOB_GLOBAL_INDEX_KEY: "0",
        jobset_api.JOB_KEY: hashlib.sha1(f"{namespace}/{job}".encode()).hexdigest(),
    }
    for kind in ("labels", "annotations"):
        metadata.setdefault(kind, {}).update(keys)
    exclusive = jobset["metadata"]["annotations"].get(jobset_api.EXCLUSIVE_KEY)
    if exclusive:
        metadata["annotations"][jobset_api.EXCLUSIVE_KEY] = exclusive
