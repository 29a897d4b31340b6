"""The cluster autoscaler's side of ProvisioningRequests: the API that it brings, and what it answers.

The schema is that of the types in the module k8s.io/autoscaler/cluster-autoscaler/apis
(provisioningrequest/autoscaling.x-k8s.io/v1), which has no CRD. Kueue looks for the API when it starts.
"""

from __future__ import annotations

import json
import time
from typing import Any

from .access import ClusterAccess

Document = dict[str, Any]

GROUP = "autoscaling.x-k8s.io"
_IMMUTABLE = [{"rule": "self == oldSelf", "message": "Value is immutable"}]
_NAME = {
    "type": "string",
    "maxLength": 253,
    "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
}


def _object(required: list[str], **properties: Any) -> Document:
    return {"type": "object", "required": required, "properties": properties}


def _texts(most: int, length: int, **more: Any) -> Document:
    values = {"type": "string", "maxLength": length}
    return {"type": "object", "maxProperties": most, "additionalProperties": values, **more}


_POD_SETS = {
    "type": "array",
    "minItems": 1,
    "maxItems": 32,
    "items": _object(
        ["podTemplateRef", "count"],
        podTemplateRef=_object(["name"], name=_NAME),
        count={"type": "integer", "format": "int32", "minimum": 1},
    ),
    "x-kubernetes-validations": _IMMUTABLE,
}
_CONDITIONS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
    "items": _object(
        ["type", "status", "lastTransitionTime", "reason", "message"],
        type={"type": "string"},
        status={"enum": ["True", "False", "Unknown"], "type": "string"},
        lastTransitionTime={"type": "string", "format": "date-time"},
        observedGeneration={"type": "integer", "format": "int64"},
        reason={"type": "string", "minLength": 1},
        message={"type": "string"},
    ),
}
_SCHEMA = _object(
    ["spec"],
    spec=_object(
        ["podSets", "provisioningClassName"],
        podSets=_POD_SETS,
        provisioningClassName={**_NAME, "x-kubernetes-validations": _IMMUTABLE},
        parameters=_texts(100, 255, **{"x-kubernetes-validations": _IMMUTABLE}),
    ),
    status=_object([], conditions=_CONDITIONS, provisioningClassDetails=_texts(64, 32768)),
)
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": f"provisioningrequests.{GROUP}",
        "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/autoscaler/pull/5848"},
    },
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {
            "plural": "provisioningrequests",
            "singular": "provisioningrequest",
            "kind": "ProvisioningRequest",
            "listKind": "ProvisioningRequestList",
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": _SCHEMA},
            }
        ],
    },
}


class Autoscaler:
    """Answers the ProvisioningRequests of one namespace as it is told to."""

    def __init__(self, cluster: ClusterAccess, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    def requests(self) -> dict[str, Document]:
        """Those that wait for an answer, by the JobSet that they are for."""
        workloads = {one["metadata"]["name"]: one for one in self._cluster.list("workloads", self._namespace)}
        found = {}
        for one in self._cluster.list("provisioningrequests", self._namespace):
            conditions = one.get("status", {}).get("conditions", [])
            if any(
                each["type"] in ("Provisioned", "Failed") and each["status"] == "True" for each in conditions
            ):
                continue
            workload = workloads[one["metadata"]["ownerReferences"][0]["name"]]
            found[workload["metadata"]["ownerReferences"][0]["name"]] = one
        return found

    def accept(self, request: Document, message: str) -> None:
        """It will be tried."""
        self._answer(request, {"Accepted": ("True", "accepted"), "Provisioned": ("False", message)})

    def provision(self, request: Document, details: dict[str, str]) -> None:
        """The nodes are there."""
        answers = {"Accepted": ("True", "accepted"), "Provisioned": ("True", "nodes are there")}
        self._answer(request, answers, details)

    def refuse(self, request: Document, message: str) -> None:
        """There will be none."""
        self._answer(request, {"Failed": ("True", message)})

    def _answer(
        self, request: Document, said: dict[str, tuple[str, str]], details: dict[str, str] | None = None
    ) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        conditions = [
            {"type": kind, "status": status, "reason": kind, "message": text, "lastTransitionTime": now}
            for kind, (status, text) in said.items()
        ]
        status = {"conditions": conditions, **({"provisioningClassDetails": details} if details else {})}
        self._cluster.kubectl(
            *("patch", "provisioningrequest", request["metadata"]["name"], "-n", self._namespace),
            *("--subresource=status", "--type=merge", "-p", json.dumps({"status": status})),
        )
