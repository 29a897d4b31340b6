"""Where the runs of a sweep are carried out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from octjob.spec.capacity import Capacities, parse_reservation
from octjob.spec.section import Count, Section, as_tuple

# Secrets whose keys need not be listed: what octjob itself reads, under the names its documentation uses.
KNOWN_SECRETS = {
    "octjob-b2": ("B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY"),
    "octjob-wandb": ("WANDB_API_KEY",),
}
_KUBERNETES_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD")
_FROM_THE_CLUSTER = re.compile(r"(TPU|MEGASCALE|JOB_COMPLETION)_.*")


def _secret_keys(value: Any) -> Any:
    """A list of well-known Secrets as the mapping it stands for; lists of keys as tuples."""
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        unknown = [name for name in value if name not in KNOWN_SECRETS]
        if unknown:
            raise ValueError(
                f"which keys of Secret {unknown[0]} are needed is not known:"
                f" write secrets: {{{unknown[0]}: [KEY, ...]}}"
            )
        return {name: KNOWN_SECRETS[name] for name in value}
    if isinstance(value, Mapping):
        return {name: as_tuple(keys) for name, keys in value.items()}
    return value


def _looks_secret(name: str) -> bool:
    return any(part.removesuffix("S").endswith(_SECRET_WORDS) for part in name.upper().split("_"))


# Kubernetes' quantities of whole bytes; no `m`, which is a thousandth of one.
_MEMORY = re.compile(r"[1-9]\d{0,14}([KMGTPE]i|[kMGTPE])?")


def _named(value: str) -> str:
    if not _KUBERNETES_NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no name of a Kubernetes object: at most 63 of a-z, 0-9, - and .")
    return value


def _amount(value: str) -> str:
    if not _MEMORY.fullmatch(value):
        raise ValueError(f"{value!r} is no amount of memory; write it like 300Gi")
    return value


class CpuPods(Section):
    """Pods without chips, and the nodes and the queue they go to."""

    cpu: Count = Field(4, le=1024, description="Cores of each pod.")
    memory: str = Field("16Gi", description="Memory that each pod asks for and may not exceed.")
    queue: str | None = Field(
        None,
        description="Kueue LocalQueue that covers `cpu` and `memory`; without it the pods start at once.",
    )
    spot: bool = Field(False, description="Run on Spot nodes: a pod that is taken goes on where it was.")
    node_selector: dict[str, str] = Field(default_factory=dict, description="Labels of the nodes to use.")

    @field_validator("queue")
    @classmethod
    def _kubernetes_name(cls, value: str | None) -> str | None:
        return value if value is None else _named(value)

    @field_validator("memory")
    @classmethod
    def _amount_of_memory(cls, value: str) -> str:
        return _amount(value)


class Prepare(CpuPods):
    """kubernetes: the pods without chips in which `octjob prepare` makes preprocessed volumes."""

    pods: Count = Field(
        16, le=10_000, description="Into so many parts the volumes are divided, a pod for each."
    )
    cpu: Count = Field(
        4, le=1024, description="Cores of each pod; as many volumes are read and decoded at a time."
    )


class Probe(CpuPods):
    """kubernetes: the pods without chips, one a run, that train what does not train its encoder.

    The features that they train on are made once for all, by a JobSet of its own on the accelerator.
    """


class Compute(Section):
    """Where runs are carried out. It changes a result by rounding at most, and by what dropout draws."""

    target: Literal["local", "kubernetes"] = "local"
    concurrency: Count | None = Field(
        None, le=1024, description="local: runs at a time; default one per core, at most 8."
    )
    bundle: Count | None = Field(
        None,
        le=1024,
        description="local: up to so many probes of one encoder share a process: it is started, and checkpoint, "
        "cohort and features are read, once for all, and heads of a grid train together. Default: as many as leave "
        "no process idle, at most 100; 1 for a process each.",
    )
    accelerator: str | None = Field(
        None,
        description="kubernetes: TPU slice by name or topology, e.g. v4-32 or v4:2x2x4; or GPUs of a node, or of "
        "each of several nodes, e.g. h100:8 or h100:8x2.",
    )
    machine_type: str | None = Field(
        None,
        description="kubernetes: only where the accelerator leaves it open, e.g. ct6e-standard-8t; of GPUs where "
        "it matters, e.g. g2-standard-16.",
    )
    slices: Count = Field(
        1,
        le=256,
        description="kubernetes: so many slices for each run, which shares its batches out over all of their chips. "
        "Not of GPUs, whose nodes stand in `accelerator`.",
    )
    part_of: str | None = Field(
        None,
        description="kubernetes: the larger slice, e.g. v6e-64, that the node pools are; a run gets a part. Of "
        "v6e only; needs `queue`.",
    )
    queue: str | None = Field(
        None, description="kubernetes: Kueue LocalQueue; without it runs start at once."
    )
    topology: Literal["auto", "exclusive", "required"] = Field(
        "auto",
        description="kubernetes: who keeps a run's hosts in one node pool, its slice; needs `queue`. exclusive: "
        "JobSet, once the run is admitted. required: Kueue, before that, by flavors with a Topology of node pools. "
        "auto: required where the queue has such a flavor, as the cluster says on submission, else exclusive.",
    )
    priority: str | None = Field(None, description="kubernetes: Kueue WorkloadPriorityClass; needs `queue`.")
    memory: str | None = Field(
        None,
        description="kubernetes: host memory that each pod asks for and may not exceed, e.g. 300Gi; default none "
        "asked for. The queue must cover the resource `memory`.",
    )
    capacity: Capacities | None = Field(
        None,
        description="kubernetes: where the chips come from: on_demand, spot, reservation, flex_start or "
        "queued_provisioning; or a list, of which Kueue takes the first that `queue` has. Default what `spot` and "
        "`reservation` say, else on_demand.",
    )
    spot: bool = Field(False, description="kubernetes: run on Spot node pools; short for `capacity: spot`.")
    reservation: str | None = Field(
        None,
        description="kubernetes: run on this reservation, also of a calendar: <name> or <project>/<name>, with "
        "/reservationBlocks/<block> on one block of it.",
    )
    image: str | None = Field(
        None, description="kubernetes: container image, best by digest (name@sha256:...)."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="kubernetes: when nodes pull the image."
    )
    namespace: str | None = Field(None, description="kubernetes: default the kubeconfig context's.")
    service_account: str | None = Field(
        None,
        description="kubernetes: the pods' service account, which reaches the bucket; default the namespace's.",
    )
    secrets: Annotated[
        dict[str, Annotated[tuple[str, ...], Field(min_length=1)]],
        BeforeValidator(_secret_keys, json_schema_input_type=list[str] | dict[str, list[str]]),
    ] = Field(
        default_factory=dict,
        description="kubernetes: Secret to the keys that become environment variables of the same name, or a list of "
        "octjob-b2 (B2_APPLICATION_KEY_ID, B2_APPLICATION_KEY) and octjob-wandb (WANDB_API_KEY).",
    )
    privileged: bool = Field(
        False,
        description="kubernetes: run the container privileged and as root, for clusters whose TPU devices need it. "
        "The namespace must then allow the privileged Pod Security level.",
    )
    max_restarts: int = Field(
        3,
        ge=0,
        le=1000,
        description="Restarts of a run after failures; interruptions and lost nodes do not count.",
    )
    max_runtime_hours: float = Field(
        72.0,
        gt=0,
        le=10_000,
        description="kubernetes: stop a run that has been running this long, restarts included; needs `queue`.",
    )
    ttl_seconds_after_finished: int | None = Field(
        604800,
        ge=0,
        le=2**31 - 1,
        description="kubernetes: delete a finished run's objects after this; null keeps them.",
    )
    prepare: Prepare = Prepare()
    probe: Probe | None = Field(
        None,
        description="kubernetes: runs that do not train their encoder take a pod without chips each, and the encoder "
        "runs once for all of them, as a JobSet of its own on the accelerator. Default: every run has a slice.",
    )
    cache_gcsfuse: bool = Field(
        False,
        description="kubernetes: runs read prepared volumes (`data.shared_cache`) from the sweep's `cache` in Cloud "
        "Storage as a directory, by GKE's Cloud Storage FUSE driver; needs `service_account`.",
    )
    cache_disk: str | None = Field(
        None,
        description="kubernetes: PersistentVolumeClaim, ReadOnlyMany, with a copy of the cache's prepared volumes, "
        "e.g. of Hyperdisk ML; runs look there first, then in the sweep's `cache`.",
    )
    pod: dict[str, Any] = Field(
        default_factory=dict,
        description="kubernetes: a partial PodTemplateSpec (metadata.labels, metadata.annotations, spec) that the "
        "runs' pods get on top of octjob's.",
    )
    env: dict[str, str] = Field(
        default_factory=dict, description="Environment variables of every run; no credentials: see `secrets`."
    )

    @field_validator("queue", "priority", "namespace", "service_account", "cache_disk")
    @classmethod
    def _kubernetes_name(cls, value: str | None) -> str | None:
        return value if value is None else _named(value)

    @field_validator("memory")
    @classmethod
    def _amount_of_memory(cls, value: str | None) -> str | None:
        return value if value is None else _amount(value)

    @field_validator("reservation")
    @classmethod
    def _a_reservation(cls, value: str | None) -> str | None:
        if value is not None:
            parse_reservation(value)
        return value

    @field_validator("image")
    @classmethod
    def _one_word(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"\S+", value):
            raise ValueError(f"expected one word without spaces, got {value!r}")
        return value

    @field_validator("secrets")
    @classmethod
    def _secret_names(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        seen: dict[str, str] = {}
        for secret, keys in value.items():
            if not _KUBERNETES_NAME.fullmatch(secret):
                raise ValueError(f"{secret!r} is no name of a Secret: at most 63 of a-z, 0-9, - and .")
            for key in keys:
                if not _ENV_NAME.fullmatch(key):
                    raise ValueError(f"key {key!r} of {secret} cannot be an environment variable")
                if key in seen:
                    raise ValueError(f"key {key} is wanted twice, from {seen[key]} and from {secret}")
                seen[key] = secret
        return value

    @field_validator("env")
    @classmethod
    def _plain_env(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _ENV_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be an environment variable")
            if _FROM_THE_CLUSTER.fullmatch(name):
                raise ValueError(f"{name} is set by the cluster; a value set here would disagree with it")
            if _looks_secret(name):
                raise ValueError(
                    f"{name} looks like a credential, and what stands here can be read by everyone who sees the"
                    f" sweep or the cluster: put it into a Secret and write secrets: {{<secret>: [{name}]}},"
                    " or set it in the shell for --target local"
                )
        return value

    @model_validator(mode="after")
    def _one_source_each(self) -> Compute:
        for secret, keys in self.secrets.items():
            for key in keys:
                if key in self.env:
                    raise ValueError(f"{key} is set in env and wanted from Secret {secret}")
        return self
