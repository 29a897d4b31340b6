"""The PersistentVolumeClaim of `compute.cache_disk`, looked up before anything is created."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octjob.targets.kubernetes.refusal import ClusterError, Forbidden
from octjob.targets.kubernetes.resources import CLAIMS
from octjob.targets.kubernetes.submission.admission import kubectl

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster

_OF_MANY = {"ReadOnlyMany", "ReadWriteMany"}
_MAKE_IT = "docs/platform.md says how to make one from the bucket; or remove cache_disk."


def check_claim(cluster: Cluster, name: str | None) -> list[str]:
    """Warnings; raises `ClusterError` where the claim is not there, or is not for pods of several nodes."""
    if name is None:
        return []
    try:
        there = cluster.get(CLAIMS, name)
    except Forbidden:
        return [f"PersistentVolumeClaim {name} was not checked: no right to get it"]
    where = f"compute.cache_disk: PersistentVolumeClaim {name} in namespace {cluster.namespace}"
    if there is None:
        raise ClusterError(f"{where} is not there", f"`{kubectl(cluster)} get pvc` lists them; {_MAKE_IT}")
    modes = there["spec"].get("accessModes", [])
    if not _OF_MANY.intersection(modes):
        said = f"{where} is {', '.join(modes)}, which nodes cannot share"
        raise ClusterError(said, f"It must be ReadOnlyMany: {_MAKE_IT}")
    phase = there.get("status", {}).get("phase")
    if phase != "Bound":
        return [f"PersistentVolumeClaim {name} is {phase}: runs wait until it is Bound"]
    return []
