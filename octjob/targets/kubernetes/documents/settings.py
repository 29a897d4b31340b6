"""What a sweep's `compute` means on a cluster: resolved, complete and consistent, before anything is rendered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from octjob.env import DEVICE, SET_BY_MANIFEST
from octjob.errors import SpecError
from octjob.spec.accelerator import Accelerator, accelerator_of
from octjob.spec.compute import Compute
from octjob.spec.cpu import Cores
from octjob.spec.effects import compute_notes
from octjob.spec.encoding import needs_chips
from octjob.spec.expand import Plan
from octjob.spec.pod import check_pod
from octjob.spec.run import Run
from octjob.spec.yaml import Document, error_at
from octjob.targets.kubernetes import capacity, gke

_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Settings:
    """Where and how runs are carried out: the same for all runs of a sweep, but for those that `of` sends elsewhere.

    cores: where these compute, in place of the slice. features_of: the id of the encoding whose features a run trains
    on, by the run's id.
    """

    slice: Accelerator
    image: str
    compute: Compute
    cores: Cores | None = None
    features_of: Mapping[str, str] = field(default_factory=dict)

    def for_plan(self, plan: Plan) -> Settings:
        """The same, knowing which run trains on which features."""
        return replace(self, features_of={run: one.run_id for run, one in plan.features_of.items()})

    def of(self, run: Run) -> Settings:
        """Those of one run: with `compute.probe` a run that needs no chips gets cores, on nodes of their own."""
        probe = self.compute.probe
        if probe is None or needs_chips(run):
            return self
        changed = {
            "queue": probe.queue,
            "memory": probe.memory,
            "spot": probe.spot,
            "capacity": None,
            "priority": None,
            "reservation": None,
            "topology": "exclusive",
            "privileged": False,
            "cache_gcsfuse": False,
            "cache_disk": None,
        }
        return replace(self, compute=self.compute.model_copy(update=changed), cores=Cores(probe))

    @property
    def shape(self) -> Accelerator | Cores:
        """What each pod computes on."""
        return self.cores or self.slice

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
        on_slice = self.compute.topology == "required" or self.slice.pool is not None
        return on_slice and self.cores is None

    @property
    def env(self) -> dict[str, str]:
        """The plain environment of the container; the sweep's own values win."""
        if self.cores is not None:
            # Torch counts the cores of the node, not those of the pod.
            threads = {"OMP_NUM_THREADS": str(self.cores.chips_per_host)}
            return {**threads, "HOME": "/tmp", **self.compute.env, DEVICE: "cpu"}
        if self.slice.kind == "gpu":
            device = {DEVICE: "cuda", "LD_LIBRARY_PATH": gke.DRIVER_LIBRARIES}
        else:
            device = {DEVICE: "xla", "PJRT_DEVICE": "TPU"}
        return {**device, "HOME": "/tmp", **self.compute.env}

    @property
    def resource(self) -> str:
        """What each pod asks for, and the key of the taint on nodes that have it."""
        return gke.resource_of(self.shape)

    @property
    def secrets(self) -> list[tuple[str, str]]:
        """(environment variable, Secret that holds it under that key)."""
        return [(key, name) for name, keys in self.compute.secrets.items() for key in keys]

    @property
    def node_selector(self) -> dict[str, str]:
        """Labels of the nodes a run may use."""
        return {**self.shape.node_selector, **capacity.node_selector(self.compute)}

    @property
    def tolerations(self) -> list[dict[str, str]]:
        """Of the taints that such nodes have."""
        chips = {"key": self.resource, "operator": "Equal", "value": "present", "effect": "NoSchedule"}
        return [*([chips] if self.cores is None else []), *capacity.tolerations(self.compute)]

    @property
    def jobset_annotations(self) -> dict[str, str]:
        """What Kueue passes on to those who make nodes."""
        return capacity.jobset_annotations(self.compute, self.max_runtime_s)


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
    where = accelerator_of(compute, document)
    return Settings(where, compute.image, compute)


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
    found += compute_notes(settings.compute, plan.runs)
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
    return error_at(document, ("compute", key), message, f"{hint}.")
