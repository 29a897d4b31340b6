"""A run as the document that Kubernetes gets: plain data in, plain data out, no network."""

from __future__ import annotations

import copy
import hashlib
import json
from functools import lru_cache
from typing import Any

import jinja2
import yaml

from octjob import env
from octjob.records.layout import run_uri
from octjob.spec import multislice, pod
from octjob.spec.accelerator import Accelerator
from octjob.spec.encoding import reads_features
from octjob.spec.pod import holds, mount_paths
from octjob.spec.run import Run
from octjob.targets.kubernetes import gke, kueue
from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes.documents.cache_mount import cache_mount
from octjob.targets.kubernetes.documents.names import REPLICATED_JOB, jobset_name, label_value, pod_hostname
from octjob.targets.kubernetes.documents.pod import with_pod
from octjob.targets.kubernetes.documents.policy import jobset_rules, pod_rules
from octjob.targets.kubernetes.documents.settings import Settings

Manifest = dict[str, Any]

CONTAINER = pod.RUN_CONTAINER
# Where host 0 waits for the others: the port of torch.distributed's own examples.
COORDINATOR_PORT = 12355
GRACE_PERIOD_S = pod.GRACE_PERIOD_S
SHM_SIZE = "16Gi"
SPEC_HASH = "octjob.dev/spec-hash"
OUTPUT = "octjob.dev/output"
# The encoding that a run waits for.
FEATURES = "octjob.dev/features"
# On all that belongs to an encoding.
ENCODES = "octjob.dev/encoding"

# libyaml parses twenty times faster; both read the same.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def run_labels(run: Run) -> dict[str, str]:
    """The labels of a run's JobSet, Job and pods; what is too long for a label is its digest there."""
    texts = {key: label_value(value) for key, value in run_annotations(run).items()}
    # A component of its own it is not: rules for the pods of runs are for it as well.
    encoding = {ENCODES: "true"} if run.encodes else {}
    return {"app.kubernetes.io/name": "octjob", "app.kubernetes.io/component": "run", **texts, **encoding}


def run_annotations(run: Run) -> dict[str, str]:
    """The same in full."""
    return {
        "octjob.dev/sweep": run.sweep,
        "octjob.dev/run": run.run_id,
        "octjob.dev/checkpoint": run.checkpoint_name,
        "octjob.dev/config": run.config_name,
    }


def render_jobset(
    run: Run, settings: Settings, *, message_patterns: bool = True, required_topology: bool = False
) -> Manifest:
    """The JobSet of `run`, with a hash of what octjob decides about it as annotation `octjob.dev/spec-hash`.

    message_patterns: whether the cluster's JobSet knows `onJobFailureMessagePatterns` (0.10 and later); see
    `octjob.targets.kubernetes.documents.policy` for what is lost without. required_topology: whether the queue's
    flavors let Kueue keep a run in one node pool; where the sweep leaves no choice it is rendered so in any case.
    """
    settings = settings.of(run)
    required_topology &= settings.cores is None
    asked = settings.asks_kueue
    required_topology |= asked
    document = _render(run, settings, message_patterns, required_topology)
    # The hash describes what was asked for, so an upgrade of the cluster's JobSet or queue does not change it.
    as_asked = message_patterns and required_topology == asked
    whole = document if as_asked else _render(run, settings, message_patterns=True, required_topology=asked)
    compute = settings.compute
    values = (settings.image, compute.queue or "", compute.priority or "", compute.namespace or "")
    document["metadata"]["annotations"][SPEC_HASH] = spec_hash(base_hash(whole, settings), *values)
    return document


def spec_hash(base: str, image: str, queue: str, priority: str, namespace: str) -> str:
    """16 hex digits that change with anything octjob decides about a run's JobSet.

    Made of `base_hash` and four values by means that a Helm template has too.
    """
    return hashlib.sha256("\n".join((base, image, queue, priority, namespace)).encode()).hexdigest()[:16]


def base_hash(document: Manifest, settings: Settings) -> str:
    """SHA-256 of a rendered JobSet but for image, queue, priority and namespace."""
    rest = copy.deepcopy(document)
    rest["metadata"].pop("namespace", None)
    rest["metadata"]["annotations"].pop(SPEC_HASH, None)
    for label in (kueue.QUEUE_LABEL, kueue.PRIORITY_LABEL):
        rest["metadata"]["labels"].pop(label, None)
    rest["metadata"]["labels"][kueue.MAX_EXEC_LABEL] = str(settings.max_runtime_s)
    (container,) = jobset_containers(rest)
    del container["image"]
    container["env"] = [one for one in container["env"] if one["name"] != env.IMAGE]
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def jobset_containers(document: Manifest) -> list[dict[str, Any]]:
    """Those of a JobSet's pods; the objects themselves, not copies."""
    containers: list[dict[str, Any]] = document["spec"]["replicatedJobs"][0]["template"]["spec"]["template"][
        "spec"
    ]["containers"]
    return containers


def _render(run: Run, settings: Settings, message_patterns: bool, required_topology: bool) -> Manifest:
    name = jobset_name(run.sweep, run.run_id)
    features = _features(run, settings)
    annotations = run_annotations(run) | ({FEATURES: features} if features else {})
    text = _template("jobset.yaml.j2").render(
        name=name,
        leader=pod_hostname(name, 0) if settings.shape.hosts > 1 else "localhost",
        coordinator_port=COORDINATOR_PORT,
        labels=run_labels(run),
        annotations=annotations,
        pod_annotations=annotations | (_one_pool(settings.slice) if required_topology else {}),
        required_topology=required_topology,
        output=run.output,
        command=_command(run, features),
        settings=settings,
        compute=settings.compute,
        slice=settings.shape,
        multislice=multislice,
        env=env,
        gke=gke,
        jobset_api=jobset_api,
        kueue=kueue,
        replicated_job=REPLICATED_JOB,
        container=CONTAINER,
        grace_period_s=GRACE_PERIOD_S,
        shm_size=SHM_SIZE,
        mounts=_mounts(run, settings),
        pod_rules=pod_rules(CONTAINER, message_patterns=message_patterns),
        jobset_rules=jobset_rules(CONTAINER, message_patterns=message_patterns),
    )
    document: Manifest = yaml.load(text, Loader=_SafeLoader)
    job = document["spec"]["replicatedJobs"][0]["template"]["spec"]
    compute = settings.compute
    for added in (cache_mount(run, compute), compute.pod):
        job["template"] = with_pod(job["template"], added, privileged=compute.privileged)
    return document


def _one_pool(where: Accelerator) -> dict[str, str]:
    """What asks Kueue for one node pool, or one part of one, for each slice."""
    part = {} if where.pool is None else {gke.PART_ANNOTATION: where.topology}
    if where.slices == 1:
        return part | {kueue.REQUIRED_TOPOLOGY: gke.level_of(where)}
    return part | {kueue.SLICE_REQUIRED_TOPOLOGY: gke.level_of(where), kueue.SLICE_SIZE: str(where.hosts)}


def _features(run: Run, settings: Settings) -> str:
    """The id of the encoding that makes a run's features; empty where it makes them itself, or reads none."""
    return settings.features_of[run.run_id] if settings.cores is not None and reads_features(run) else ""


def _command(run: Run, features: str) -> list[str]:
    """The run's URI last: it alone differs among runs of one shape."""
    waits = ["--features", features] if features else []
    return ["octjob", "train", *waits, "--run", run_uri(run.output, run.run_id)]


def _mounts(run: Run, settings: Settings) -> list[dict[str, str]]:
    """Directories that a run writes to; everything else in the container is read-only."""
    cache = run.config.data.cache_dir
    mounts = [{"name": "tmp", "path": "/tmp"}]
    if cache and not any(holds(path, cache) for path in ("/tmp", *mount_paths(settings.compute.pod))):
        mounts.append({"name": "cache", "path": cache})
    return mounts


@lru_cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("octjob.targets.kubernetes.documents"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    environment.filters["q"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.get_template(name)
