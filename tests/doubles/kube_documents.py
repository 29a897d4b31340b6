"""JobSets, Workloads and pods as an API server sends them (seen with Kubernetes 1.36, JobSet 0.12, Kueue 0.19)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from doubles.cluster_runs import make_run, make_settings
from octjob.targets.kubernetes.documents.manifest import render_jobset

Document = dict[str, Any]

NOW = 1_700_000_000.0
NUM_PODS = 4
_NAME = "name-of-the-checkpoint"


def stamp(ago_s: float = 0.0) -> str:
    """That long before NOW, as the API writes it."""
    return datetime.fromtimestamp(NOW - ago_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(
    kind: str, status: bool = True, reason: str = "Because", message: str = "", ago_s: float = 0
) -> Document:
    return {
        "type": kind,
        "status": str(status),
        "reason": reason,
        "message": message,
        "lastTransitionTime": stamp(ago_s),
    }


def jobset(
    name: str = "a",
    *conditions: Document,
    age_s: float = 100,
    suspend: bool = False,
    jobs: str = "active",
    status: Document | None = None,
    queue: str | None = "tpu",
) -> Document:
    """A run's JobSet. jobs: under what its one Job is counted, empty: there is none, nor any status."""
    document = json.loads(_rendered(queue).replace(_NAME, name))
    document["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": stamp(age_s), "namespace": "team"}
    document["spec"]["suspend"] = suspend
    if jobs:
        kinds = ("active", "failed", "ready", "succeeded", "suspended")
        counts = {"name": "w", **{kind: int(kind == jobs) for kind in kinds}}
        document["status"] = {"conditions": list(conditions), "replicatedJobsStatus": [counts], "restarts": 0}
        document["status"] |= status or {}
    return document


@lru_cache
def _rendered(queue: str | None) -> str:
    run = make_run("linear", sweep="demo", run_id=f"{_NAME}.linear-0000abcd", checkpoint_name=_NAME)
    document = render_jobset(run, make_settings(queue=queue))
    document["metadata"]["name"] = f"{_NAME}-linear-0123abcd"
    return json.dumps(document)


def workload(
    name: str = "a",
    *conditions: Document,
    priority: int = 0,
    active: bool = True,
    age_s: float = 100,
    queue: str = "tpu",
) -> Document:
    owner = {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "name": name, "uid": f"uid-{name}"}
    return {
        "metadata": {
            "name": f"jobset-{name}-4f987",
            "uid": f"workload-{name}",
            "creationTimestamp": stamp(age_s),
            "labels": {"kueue.x-k8s.io/job-uid": f"uid-{name}"},
            "ownerReferences": [owner],
        },
        "spec": {"active": active, "priority": priority, "queueName": queue},
        "status": {"conditions": list(conditions)},
    }


def pending(message: str, reason: str = "Pending") -> Document:
    """Why Kueue reserves no quota."""
    return condition("QuotaReserved", False, reason, message)


def admitted(name: str = "a", *conditions: Document, ago_s: float = 100) -> Document:
    """A Workload that Kueue has let in."""
    own = [condition("QuotaReserved", ago_s=ago_s), condition("Admitted", ago_s=ago_s)]
    return workload(name, *own, *conditions)


def pod(
    jobset: Document, index: int, state: Document | None = None, *conditions: Document, restart: int = 0
) -> Document:
    """A pod; state: of its container, `running` by default."""
    name = jobset["metadata"]["name"]
    state = state or {"running": {"startedAt": stamp(60)}}
    running, ended = "running" in state, state.get("terminated")
    phase = "Running" if running else "Pending"
    if ended is not None:
        phase = "Failed" if ended["exitCode"] else "Succeeded"
    labels = {
        "jobset.sigs.k8s.io/jobset-name": name,
        "jobset.sigs.k8s.io/jobset-uid": jobset["metadata"]["uid"],
        "jobset.sigs.k8s.io/restart-attempt": str(restart),
        "batch.kubernetes.io/job-completion-index": str(index),
    }
    return {
        "metadata": {
            "name": f"{name}-w-0-{index}-nbzgh",
            "uid": f"{name}-{index}-{restart}",
            "labels": labels,
        },
        "spec": {"nodeName": f"gke-v4-32-0-{index}"},
        "status": {
            "phase": phase,
            "conditions": [condition("Ready", running), condition("PodScheduled"), *conditions],
            "containerStatuses": [{"name": "train", "state": state}],
        },
    }


def unscheduled(jobset: Document, index: int, message: str) -> Document:
    """A pod without a node."""
    one = pod(jobset, index, {"waiting": {}})
    del one["spec"]["nodeName"]
    one["status"] = {
        "phase": "Pending",
        "conditions": [condition("PodScheduled", False, "Unschedulable", message)],
    }
    return one


def ended(exit_code: int, message: str = "", ago_s: float = 10, reason: str = "Error") -> Document:
    """The state of a container that has ended."""
    reason = reason if exit_code else "Completed"
    words = {"message": message} if message else {}
    return {"terminated": {"exitCode": exit_code, "reason": reason, "finishedAt": stamp(ago_s), **words}}


def pods(jobset: Document, restart: int = 0) -> list[Document]:
    """All pods, ready."""
    return [pod(jobset, index, restart=restart) for index in range(NUM_PODS)]
