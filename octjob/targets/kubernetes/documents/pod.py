"""`compute.pod` on top of the pod that octjob renders: what Kubernetes calls a strategic merge.

A key of the merge is the API's own, x-kubernetes-patch-merge-key in api/openapi-spec/v3/api__v1_openapi.json at
Kubernetes 1.36. Lists without one are atomic, that is replaced; octjob writes one of those, `tolerations`, which is
added to instead: a pod without its toleration of the chips' taint starts nowhere.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

# List of a pod to the field that tells its elements apart; none of these names stands for another list in a pod.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
_ADDED_TO = ("tolerations",)
# Without it namespaces of the level restricted refuse a pod, whatever its other containers do.
_RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def with_pod(template: Mapping[str, Any], pod: Mapping[str, Any], *, privileged: bool) -> dict[str, Any]:
    """The pod `template` with a checked `compute.pod`; neither is changed.

    privileged: leave its init containers the rights that they ask for.
    """
    merged: dict[str, Any] = _merged("", template, pod)
    for container in merged["spec"].get("initContainers", ()):
        if not privileged:
            container["securityContext"] = _merged("", _RESTRICTED, container.get("securityContext", {}))
    return merged


def _merged(field: str, base: Any, over: Any) -> Any:
    """`over` on top of `base`, both values of a field of that name."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        merged = copy.deepcopy(dict(base))
        for key, value in over.items():
            merged[key] = _merged(key, base[key], value) if key in base else copy.deepcopy(value)
        return merged
    if isinstance(base, list) and isinstance(over, list):
        if field in MERGE_KEYS:
            return _merged_list(MERGE_KEYS[field], base, over)
        if field in _ADDED_TO:
            return copy.deepcopy([*base, *(one for one in over if one not in base)])
    return copy.deepcopy(over)


def _merged_list(key: str, base: Sequence[Any], over: Sequence[Any]) -> list[Any]:
    """Elements of one key merged in the place of `base`'s, the others behind them."""
    theirs = {one[key]: one for one in over}
    ours = {one[key] for one in base}
    kept = [_merged("", one, theirs.get(one[key], {})) for one in base]
    return [*kept, *copy.deepcopy([one for one in over if one[key] not in ours])]
