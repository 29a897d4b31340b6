"""Preparing a sweep's volumes as an Indexed Job of pods without chips: plain data in, plain data out, no network.

Each index takes its share of the volumes and leaves alone what is in the cache, so pods need not speak to each other,
and whatever ends one, the next of its index makes the rest:

- Disruption (node drained, Spot taken), 75 and 143 (stopped): again, not counted.
- 2, 3, 4: starting again cannot mend it. That index fails; the others go on.
- Everything else: again, up to `compute.max_restarts` times for each index.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from octjob.errors import SpecError
from octjob.records.preparation import Preparation
from octjob.spec.compute import Compute
from octjob.targets.kubernetes import gke, kueue
from octjob.targets.kubernetes.documents.manifest import GRACE_PERIOD_S, OUTPUT, Manifest
from octjob.targets.kubernetes.documents.names import dns_label, label_value
from octjob.targets.kubernetes.documents.policy import NO_RETRY_CODES, RESTART_CODES

CONTAINER = "prepare"
_MAX_NAME = 40
_DIGEST = 8
# The Job controller sets it in every container.
_INDEX = "$(JOB_COMPLETION_INDEX)"


def render_job(preparation: Preparation, uri: str, compute: Compute) -> Manifest:
    """The Job that makes the volumes of the preparation stored at `uri`.

    Its name follows from all that octjob decides about it: the same sweep has the same Job, a changed one another.

    Raises `SpecError` where the sweep names no image.
    """
    if compute.image is None:
        raise SpecError(
            "compute.image: is required by target kubernetes and missing",
            "e.g. europe-docker.pkg.dev/my-project/octjob/octjob@sha256:<digest>.",
        )
    labels = {
        "app.kubernetes.io/name": "octjob",
        "app.kubernetes.io/component": "prepare",
        "octjob.dev/sweep": label_value(preparation.sweep),
    }
    annotations = {"octjob.dev/sweep": preparation.sweep, OUTPUT: preparation.cache}
    job_labels = {**labels, **({kueue.QUEUE_LABEL: compute.prepare.queue} if compute.prepare.queue else {})}
    document: Manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"labels": job_labels, "annotations": annotations},
        "spec": _spec(uri, compute, {"labels": labels, "annotations": annotations}),
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
    readable = dns_label(f"prepare-{preparation.sweep}", _MAX_NAME - _DIGEST - 1)
    namespace = {"namespace": compute.namespace} if compute.namespace else {}
    document["metadata"] = {"name": f"{readable}-{digest}", **namespace, **document["metadata"]}
    return document


def _spec(uri: str, compute: Compute, metadata: dict[str, Any]) -> dict[str, Any]:
    pods = compute.prepare.pods
    ttl = compute.ttl_seconds_after_finished
    return {
        "completionMode": "Indexed",
        "completions": pods,
        "parallelism": pods,
        "backoffLimitPerIndex": compute.max_restarts,
        "podFailurePolicy": {"rules": _rules()},
        **({} if ttl is None else {"ttlSecondsAfterFinished": ttl}),
        "template": {"metadata": metadata, "spec": _pod(uri, compute)},
    }


def _rules() -> list[dict[str, Any]]:
    def on_exit(action: str, codes: tuple[int, ...]) -> dict[str, Any]:
        exits = {"containerName": CONTAINER, "operator": "In", "values": sorted(codes)}
        return {"action": action, "onExitCodes": exits}

    disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    return [disrupted, on_exit("Ignore", RESTART_CODES), on_exit("FailIndex", NO_RETRY_CODES)]


def _pod(uri: str, compute: Compute) -> dict[str, Any]:
    where = compute.prepare
    selector = {**where.node_selector, **({gke.SPOT_LABEL: "true"} if where.spot else {})}
    spot = {"key": gke.SPOT_LABEL, "operator": "Equal", "value": "true", "effect": "NoSchedule"}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_PERIOD_S,
        **({"serviceAccountName": compute.service_account} if compute.service_account else {}),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **({"nodeSelector": selector} if selector else {}),
        **({"tolerations": [spot]} if where.spot else {}),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(uri, compute)],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def _container(uri: str, compute: Compute) -> dict[str, Any]:
    where = compute.prepare
    resources = {"cpu": str(where.cpu), "memory": where.memory}
    plain = {"HOME": "/tmp", "OMP_NUM_THREADS": "1", **compute.env}
    secrets = [(key, name) for name, keys in compute.secrets.items() for key in keys]
    return {
        "name": CONTAINER,
        "image": compute.image,
        "imagePullPolicy": compute.image_pull_policy,
        # No shell: octjob is PID 1 and gets SIGTERM itself.
        "command": [
            *("octjob", "prepare", "--preparation", uri),
            *("--part", f"{_INDEX}/{where.pods}", "--workers", str(where.cpu)),
        ],
        "env": [
            *({"name": name, "value": value} for name, value in plain.items()),
            *(
                {"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
                for key, secret in secrets
            ),
        ],
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
