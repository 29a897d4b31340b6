"""What a sweep's `compute` means on a cluster: resolved, complete and consistent, before anything is rendered."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from octjob.env import DEVICE, SET_BY_MANIFEST
from octjob.errors import SpecError
from octjob.spec.accelerator import Accelerator, accelerator_of
from octjob.spec.compute import Compute
from octjob.spec.expand import Plan
from octjob.spec.pod import check_pod
from octjob.spec.yaml import Document
from octjob.targets.kubernetes import gke

_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Settings:
    """Where and how runs are carried out: the same for all runs of a sweep."""

    slice: Accelerator
    image: str
    compute: Compute

    def with_values(self, image: str, queue: str, priority: str, namespace: str) -> Settings:
        """The same with the four values that a chart leaves open."""
        values = {"queue": queue, "priority": priority, "namespace": namespace}
        return replace(self, image=image, compute=self.compute.model_copy(update=values))

    @property
    def max_runtime_s(self) -> int:
        """Kueue's limit on the time a run may run, restarts included."""
        return max(1, round(self.compute.max_runtime_hours * 3600))

    @property
    def asks_kueue(self) -> bool:
        """Whether it must be Kueue who keeps a run in one node pool, or in one part of one."""
        return self.compute.topology == "required" or self.slice.pool is not None

    @property
    def env(self) -> dict[str, str]:
        """The plain environment of the container; the sweep's own values win."""
        if self.slice.kind == "gpu":
            device = {DEVICE: "cuda", "LD_LIBRARY_PATH": gke.DRIVER_LIBRARIES}
        else:
            device = {DEVICE: "xla", "PJRT_DEVICE": "TPU"}
        return {**device, "HOME": "/tmp", **self.compute.env}

    @property
    def resource(self) -> str:
        """What each pod asks for, and the key of the taint on nodes that have it."""
        return gke.resource_of(self.slice)

    @property
    def secrets(self) -> list[tuple[str, str]]:
        """(environment variable, Secret that holds it under that key)."""
        return [(key, name) for name, keys in self.compute.secrets.items() for key in keys]

    @property
    def node_selector(self) -> dict[str, str]:
        """Labels of the nodes a run may use."""
        selector = self.slice.node_selector
        if self.compute.spot:
            selector[gke.SPOT_LABEL] = "true"
        if self.compute.reservation:
            project, _, name = self.compute.reservation.rpartition("/")
            selector[gke.RESERVATION_LABEL] = name
            if project:
                selector[gke.RESERVATION_PROJECT_LABEL] = project
        return selector


def resolve_settings(compute: Compute, document: Document | None = None) -> Settings:
    """`compute` for the kubernetes target.

    document: the sweep as written, for file and line in messages.

    Raises:
        SpecError: a key that is missing, contradicts another or has no effect.
    """
    if compute.accelerator is None:
        raise _error(
            document, "accelerator", "is required by target kubernetes and missing", "e.g. v4-32 or h100:8"
        )
    if compute.image is None:
        example = "e.g. europe-docker.pkg.dev/my-project/octjob/octjob@sha256:<digest>"
        raise _error(document, "image", "is required by target kubernetes and missing", example)
    for name in SET_BY_MANIFEST:
        if name in compute.env:
            raise _error(document, "env", f"{name} is set by octjob itself", "Remove it")
    if compute.queue is None:
        for key in ("priority", "max_runtime_hours", "topology", "part_of"):
            if key in compute.model_fields_set and getattr(compute, key) is not None:
                raise _error(document, key, "has no effect without compute.queue", "Set queue, or remove it")
    if compute.part_of is not None and compute.topology == "exclusive":
        said = "exclusive gives a run a whole node pool, compute.part_of a part of one"
        raise _error(document, "topology", said, "Remove one of the two")
    check_pod(compute, document)
    if compute.spot and compute.reservation:
        raise _error(document, "reservation", "reserved nodes are not Spot nodes", "Remove one of the two")
    return Settings(accelerator_of(compute, document), compute.image, compute)


def warnings(plan: Plan, settings: Settings) -> list[str]:
    """What will work but may not be meant, one sentence each."""
    found = []
    if not _DIGEST.fullmatch(settings.image):
        found.append(
            f"compute.image: {settings.image} is not pinned by digest, so restarts may run other code;"
            f" `docker buildx imagetools inspect {settings.image}` prints the digest"
        )
    if (settings.compute.bundle or 1) > 1:
        found.append("compute.bundle: has no effect here: each run has pods of its own")
    places = {"output": plan.output, "cache": plan.cache}
    for run in plan.runs:
        if run.control is None:
            places[f"checkpoint {run.checkpoint_name}"] = run.checkpoint.uri
        places["data.source"] = run.config.data.source or ""
        if run.config.data.table:
            places["data.table"] = run.config.data.table
    local = [what for what, uri in places.items() if uri.startswith("file://")]
    if local:
        found.append(
            f"{', '.join(local)}: file:// is a directory of the pod's own, not of this machine; use gs:// or b2://"
        )
    return found


def offline_warnings(settings: Settings) -> list[str]:
    """What a rendering that no cluster was asked for leaves open."""
    compute = settings.compute
    decided = settings.asks_kueue or compute.topology == "exclusive"
    if settings.slice.hosts == 1 or not compute.queue or decided:
        return []
    return [
        "compute.topology: auto asks the cluster, and none was asked: rendered as exclusive; for a queue whose"
        " flavors have a Topology write topology: required"
    ]


def _error(document: Document | None, key: str, message: str, hint: str) -> SpecError:
    mark = document.mark(("compute", key)) if document else None
    where = f"{mark}: " if mark else ""
    return SpecError(f"{where}compute.{key}: {message}", f"{hint}.")
