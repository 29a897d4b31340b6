"""The mount of the shared volume cache as what a pod gets for it: plain data in, plain data out.

Names and options are those of cloud.google.com/kubernetes-engine/docs/how-to/cloud-storage-fuse-csi-driver-ephemeral
and of the driver's own source (pkg/csi_driver/utils.go, pkg/webhook/config.go), read in December 2026. GKE adds the
sidecar that serves the mount to pods with the annotation, as an init container that the level restricted admits.
"""

from __future__ import annotations

import posixpath
from typing import Any

from octjob import env
from octjob.spec.compute import Compute
from octjob.spec.mounts import PATH, VOLUME, mounts_cache
from octjob.spec.pod import RUN_CONTAINER
from octjob.spec.run import Run
from octjob.spec.uri import parse_uri

GCSFUSE = "gcsfuse.csi.storage.gke.io"
GCSFUSE_VOLUMES = "gke-gcsfuse/volumes"
GCSFUSE_STORAGE = "gke-gcsfuse/ephemeral-storage-limit"
# What the mount keeps of what it has read, on the node's disk; the sidecar needs room for more than that.
FILE_CACHE_MIB = 16 * 1024
_STORAGE = "20Gi"
# Volumes are in folders that no object stands for; the mount's files are the run's user's.
_OPTIONS = ("implicit-dirs", "uid=10001", "gid=10001")


def cache_mount(run: Run, compute: Compute) -> dict[str, Any]:
    """A partial pod template, to be merged into the run's; empty where it has no mount."""
    if not mounts_cache(run, compute):
        return {}
    if compute.cache_disk is not None:
        claim = {"claimName": compute.cache_disk, "readOnly": True}
        return _template(PATH, {"persistentVolumeClaim": claim}, {})
    cache = parse_uri(run.cache)
    # With `data.cache_dir` octjob itself keeps on the node what it has read.
    keeps = run.config.data.cache_dir is None
    options = (*_OPTIONS, *([f"file-cache:max-size-mb:{FILE_CACHE_MIB}"] if keeps else []))
    attributes = {"bucketName": cache.bucket, "mountOptions": ",".join(options)}
    volume = {"csi": {"driver": GCSFUSE, "readOnly": True, "volumeAttributes": attributes}}
    annotations = {GCSFUSE_VOLUMES: "true", **({GCSFUSE_STORAGE: _STORAGE} if keeps else {})}
    return _template(posixpath.join(PATH, cache.path).rstrip("/"), volume, annotations)


def _template(folder: str, source: dict[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
    """folder: what stands for the sweep's `cache`. source: the volume's."""
    container = {
        "name": RUN_CONTAINER,
        "env": [{"name": env.CACHE_MOUNT, "value": folder}],
        "volumeMounts": [{"name": VOLUME, "mountPath": PATH, "readOnly": True}],
    }
    spec = {"containers": [container], "volumes": [{"name": VOLUME, **source}]}
    return {**({"metadata": {"annotations": annotations}} if annotations else {}), "spec": spec}
