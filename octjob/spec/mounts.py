"""`compute.cache_gcsfuse`, `compute.cache_disk`: the shared volume cache as a directory of the runs' pods.

Either is for reading. What is not there is read from the sweep's `cache` through its API, and all is written there.
"""

from __future__ import annotations

from collections.abc import Iterable

from octjob.spec.compute import Compute
from octjob.spec.encoding import needs_chips, reads_features
from octjob.spec.run import Run
from octjob.spec.yaml import Document, error_at

# The pod's volume, and where it is mounted.
VOLUME = "octjob-cache"
PATH = "/mnt/octjob-cache"


def check_mounts(compute: Compute, cache: str, document: Document | None = None) -> None:
    """Raise `SpecError` where a mount of the sweep's `cache` cannot be.

    document: the sweep as written, for file and line in messages.
    """

    if not compute.cache_gcsfuse:
        return
    if compute.cache_disk is not None:
        said = "a run reads its volumes from one directory, and compute.cache_gcsfuse is another"
        raise error_at(document, ("compute", "cache_disk"), said, "Keep one of the two.")
    if not cache.startswith("gs://"):
        said = f"Cloud Storage FUSE mounts buckets of Cloud Storage, and the sweep's cache is {cache}"
        raise error_at(
            document, ("compute", "cache_gcsfuse"), said, "Set cache to a gs:// URI, or remove it."
        )
    if compute.service_account is None:
        raise error_at(
            document,
            ("compute", "cache_gcsfuse"),
            "the mount reads the bucket as the pods' service account, and none is named",
            "Set compute.service_account to one that reaches the bucket by Workload Identity; the chart octjob makes"
            " octjob-run.",
        )


def mounts_cache(run: Run, compute: Compute) -> bool:
    """Whether a run's pods get the mount: it looks for volumes in the shared cache."""
    wanted = compute.cache_gcsfuse or compute.cache_disk is not None
    return wanted and run.config.data.shared_cache is not None


def mount_notes(compute: Compute, runs: Iterable[Run]) -> list[str]:
    """Where a mount changes nothing."""
    key = "cache_gcsfuse" if compute.cache_gcsfuse else "cache_disk"
    if not compute.cache_gcsfuse and compute.cache_disk is None:
        return []
    if compute.target == "local":
        return [f"compute.{key}: changes nothing with target local, which has no pods"]
    on_cores = compute.probe is not None
    readers = [run for run in runs if not on_cores or needs_chips(run) or reads_features(run)]
    if not any(mounts_cache(run, compute) for run in readers):
        return [f"compute.{key}: changes nothing: no run on the accelerator has data.shared_cache"]
    return []
