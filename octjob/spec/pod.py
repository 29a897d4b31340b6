"""`compute.pod`: what a sweep may add to the pods of its runs, and what it may not since octjob promises it.

Field names are those of `PodTemplateSpec` in core/v1, as its OpenAPI lists them at Kubernetes 1.36. Fields of pod and
run container are a closed list; what lies deeper is the server's to judge, by its dry run.
"""

from __future__ import annotations

import difflib
import math
import posixpath
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from octjob.env import DEVICE, SET_BY_MANIFEST
from octjob.errors import SpecError
from octjob.spec.compute import _FROM_THE_CLUSTER, Compute, _looks_secret
from octjob.spec.mounts import PATH, VOLUME
from octjob.spec.show import describe, elided, shown
from octjob.spec.yaml import Document, KeyPath, dotted

NO_PODS = "compute.pod: changes nothing with target local, which has no pods"
# The container that carries a run out.
RUN_CONTAINER = "train"
# What octjob needs to save a run's state after SIGTERM.
GRACE_PERIOD_S = 120
# Volumes of octjob's own in every pod, and where they and the container's last words are.
OWN_VOLUMES = ("shm", "tmp", "cache", VOLUME)
OWN_PATHS = ("/dev/shm", "/tmp", "/dev/termination-log", PATH)
# Set in every pod; those that `compute.env` may set otherwise are set there.
_BY_ENV = (DEVICE, "PJRT_DEVICE", "HOME")

_OWN_DOMAINS = ("octjob.dev", "kueue.x-k8s.io", "jobset.sigs.k8s.io", "batch.kubernetes.io")
_OWN_KEYS = ("app.kubernetes.io/name", "app.kubernetes.io/component", "job-name", "controller-uid")
_OWN_SELECTORS = (
    "cloud.google.com/gke-tpu-",
    "cloud.google.com/gke-accelerator",
    "cloud.google.com/gke-spot",
    "cloud.google.com/gke-flex-start",
    "cloud.google.com/gke-queued",
    "cloud.google.com/reservation-",
)
_CHIPS = ("google.com/tpu", "nvidia.com/gpu", "amd.com/gpu")

Reason = tuple[str, str]
_REMOVE = "Remove it"
_NOT_A_RUNS = ("is not a run's to choose", _REMOVE)
_NAMED = ("JobSet names the pods, and by these names the hosts of a slice meet", _REMOVE)
_ISOLATION = ("runs share nothing of their node, and namespaces of the level restricted refuse it", _REMOVE)
_ANSWERED = (
    "each end of a pod has its answer in JobSet's failure policy, which needs restartPolicy Never",
    "Set compute.max_restarts",
)
_WATCHED = ("octjob itself notices a run that hangs, and SIGTERM must reach it at once", _REMOVE)
_LAST_WORDS = ("octjob status reads the container's last words from where octjob writes them", _REMOVE)

TEMPLATE_FIELDS = ("metadata", "spec")
METADATA_FIELDS = ("labels", "annotations")
_SECURITY_FIELDS = ("supplementalGroups", "supplementalGroupsPolicy", "fsGroupChangePolicy")

POD_FIELDS = (
    *("affinity", "containers", "dnsConfig", "hostAliases", "imagePullSecrets", "initContainers"),
    *("nodeSelector", "preemptionPolicy", "priorityClassName", "resourceClaims", "runtimeClassName"),
    *("schedulerName", "securityContext", "terminationGracePeriodSeconds", "tolerations"),
    *("topologySpreadConstraints", "volumes"),
)
REFUSED_POD_FIELDS: Mapping[str, Reason] = {
    "restartPolicy": _ANSWERED,
    "activeDeadlineSeconds": ("a pod over its time would count as failed", "Set compute.max_runtime_hours"),
    "hostNetwork": ("pods on the host's network lose Workload Identity and their names", _REMOVE),
    "hostPID": _ISOLATION,
    "hostIPC": _ISOLATION,
    "hostUsers": _ISOLATION,
    "shareProcessNamespace": ("octjob must be PID 1, which gets SIGTERM", _REMOVE),
    "automountServiceAccountToken": (
        "runs talk to no cluster, so they hold no token for it",
        "Mount a projected volume with the token where a sidecar needs one",
    ),
    "serviceAccountName": ("the sweep has a key for it", "Set compute.service_account"),
    "serviceAccount": ("the sweep has a key for it", "Set compute.service_account"),
    "nodeName": ("a pod pinned to a node passes by Kueue and the scheduler", "Use nodeSelector or affinity"),
    "priority": ("the cluster computes it", "Set priorityClassName"),
    "resources": ("Kueue counts what the containers ask for", "Set resources of the container train"),
    "hostname": _NAMED,
    "hostnameOverride": _NAMED,
    "subdomain": _NAMED,
    "setHostnameAsFQDN": _NAMED,
    "dnsPolicy": ("the hosts of a slice find each other by the cluster's DNS", "Use dnsConfig"),
    "enableServiceLinks": _NOT_A_RUNS,
    "ephemeralContainers": ("they are added to pods that run", "Use initContainers"),
    "os": _NOT_A_RUNS,
    "overhead": ("it comes with a runtime class", "Set runtimeClassName"),
    "readinessGates": _WATCHED,
    "evictionResponders": ("a pod that must go is saved and started again", _REMOVE),
    "schedulingGates": ("Kueue holds and lets go of pods", _REMOVE),
    "schedulingGroup": ("Kueue and JobSet keep the pods of a run together", _REMOVE),
}
RUN_FIELDS = ("name", "env", "envFrom", "resources", "volumeDevices", "volumeMounts")
_PRIVILEGED = (
    "runs are neither root nor may they write to the image's files",
    "Set compute.privileged where the cluster's chips need it",
)
_COMMAND = (
    "octjob starts `octjob train` itself, without a shell",
    "Set variables by env, or add an init container",
)
REFUSED_RUN_FIELDS: Mapping[str, Reason] = {
    "image": ("the sweep has a key for it", "Set compute.image"),
    "imagePullPolicy": ("the sweep has a key for it", "Set compute.image_pull_policy"),
    "command": _COMMAND,
    "args": _COMMAND,
    "workingDir": _NOT_A_RUNS,
    "securityContext": _PRIVILEGED,
    "restartPolicy": _ANSWERED,
    "restartPolicyRules": _ANSWERED,
    "lifecycle": _WATCHED,
    "livenessProbe": _WATCHED,
    "readinessProbe": _WATCHED,
    "startupProbe": _WATCHED,
    "terminationMessagePath": _LAST_WORDS,
    "terminationMessagePolicy": _LAST_WORDS,
    "ports": ("a run serves nothing but its own hosts", "Give ports to a sidecar"),
    "resizePolicy": _NOT_A_RUNS,
    "stdin": _NOT_A_RUNS,
    "stdinOnce": _NOT_A_RUNS,
    "tty": _NOT_A_RUNS,
}


def check_pod(compute: Compute, document: Document | None = None) -> None:
    """Raise `SpecError` where `compute.pod` breaks what octjob promises, or sets what it does not know.

    document: the sweep as written, for file and line in messages.
    """
    if compute.pod:
        _Check(compute, document).template(compute.pod)


def mount_paths(pod: Mapping[str, Any]) -> tuple[str, ...]:
    """Where a checked `compute.pod` mounts volumes in the run's container."""
    containers = pod.get("spec", {}).get("containers", ())
    return tuple(
        posixpath.normpath(mount["mountPath"]) for one in containers for mount in one.get("volumeMounts", ())
    )


def holds(outer: str, path: str) -> bool:
    """Whether `path` is the directory `outer` or lies in it."""
    return PurePosixPath(path).is_relative_to(outer)


class _Check:
    """One sweep's `compute.pod`, gone through in the file's order; each method raises for the first complaint."""

    def __init__(self, compute: Compute, document: Document | None) -> None:
        self._compute = compute
        self._document = document

    def template(self, pod: Mapping[str, Any]) -> None:
        at: KeyPath = ("compute", "pod")
        self._plain(pod, at)
        self._fields(pod, at, TEMPLATE_FIELDS, {})
        if "metadata" in pod:
            self._metadata(self._mapping(pod["metadata"], (*at, "metadata")), (*at, "metadata"))
        if "spec" in pod:
            self._spec(self._mapping(pod["spec"], (*at, "spec")), (*at, "spec"))

    def _metadata(self, metadata: Mapping[str, Any], at: KeyPath) -> None:
        named = dict.fromkeys(("name", "generateName", "namespace"), _NAMED)
        self._fields(metadata, at, METADATA_FIELDS, named)
        for kind, texts in metadata.items():
            for key in self._texts(texts, (*at, kind)):
                domain = key.partition("/")[0] if "/" in key else ""
                if key in _OWN_KEYS or any(
                    domain == one or domain.endswith(f".{one}") for one in _OWN_DOMAINS
                ):
                    raise self._error(
                        (*at, kind, key), "belongs to octjob, JobSet or Kueue", "Choose a domain of your own"
                    )

    def _spec(self, spec: Mapping[str, Any], at: KeyPath) -> None:
        self._fields(spec, at, POD_FIELDS, REFUSED_POD_FIELDS)
        for key in self._texts(spec.get("nodeSelector", {}), (*at, "nodeSelector")):
            if key.startswith(_OWN_SELECTORS):
                raise self._error(
                    (*at, "nodeSelector", key),
                    "follows from the slice that the sweep names",
                    "Set compute.accelerator, capacity or reservation",
                )
        grace = spec.get("terminationGracePeriodSeconds", GRACE_PERIOD_S)
        if not isinstance(grace, int) or isinstance(grace, bool) or grace < GRACE_PERIOD_S:
            raise self._error(
                (*at, "terminationGracePeriodSeconds"),
                f"expected at least {GRACE_PERIOD_S}, which a run needs to save its state, got {describe(grace)}",
                f"Write {GRACE_PERIOD_S} or more, or remove it",
            )
        security = self._mapping(spec.get("securityContext", {}), (*at, "securityContext"))
        others = {key: _PRIVILEGED for key in security if key not in _SECURITY_FIELDS}
        self._fields(security, (*at, "securityContext"), _SECURITY_FIELDS, others)
        self._list(spec, "tolerations", at, None)
        for index, volume in enumerate(self._list(spec, "volumes", at, "name")):
            if volume["name"] in OWN_VOLUMES:
                raise self._error(
                    (*at, "volumes", index, "name"),
                    f"octjob has a volume {volume['name']} itself",
                    "Choose another name",
                )
        for index, one in enumerate(self._list(spec, "containers", at, "name")):
            self._run_container(one, (*at, "containers", index))
        for index, one in enumerate(self._list(spec, "initContainers", at, "name")):
            self._other_container(one, (*at, "initContainers", index))

    def _run_container(self, one: Mapping[str, Any], at: KeyPath) -> None:
        if one["name"] != RUN_CONTAINER:
            raise self._error(
                (*at, "name"),
                f"{shown(one['name'])}: only {RUN_CONTAINER}, octjob's own, is a container here: the pod of a run"
                " that is done would wait for another",
                "Write a sidecar: an initContainer with restartPolicy: Always",
            )
        self._fields(one, at, RUN_FIELDS, REFUSED_RUN_FIELDS)
        self._environment(one, at)
        self._resources(one, at, "memory")
        for index, mount in enumerate(self._list(one, "volumeMounts", at, "mountPath")):
            path = mount["mountPath"]
            if not path.startswith("/") or any(holds(posixpath.normpath(path), own) for own in OWN_PATHS):
                raise self._error(
                    (*at, "volumeMounts", index, "mountPath"),
                    f"{shown(path)} hides what octjob mounts there, or is no absolute path",
                    "Choose another directory, such as /scratch",
                )

    def _environment(self, one: Mapping[str, Any], at: KeyPath) -> None:
        compute = self._compute
        ours = {
            **dict.fromkeys(SET_BY_MANIFEST, ("is set by octjob itself", _REMOVE)),
            **dict.fromkeys(_BY_ENV, ("the sweep has a key for it", "Set compute.env")),
            **dict.fromkeys(compute.env, ("is set in compute.env too", "Keep one of the two")),
            **{
                key: ("comes from compute.secrets too", "Keep one of the two")
                for keys in compute.secrets.values()
                for key in keys
            },
        }
        self._list(one, "envFrom", at, None)
        for index, variable in enumerate(self._variables(one, at)):
            name = variable["name"]
            if name in ours:
                reason, hint = ours[name]
                raise self._error((*at, "env", index, "name"), f"{name} {reason}", hint)
            if _FROM_THE_CLUSTER.fullmatch(name):
                raise self._error((*at, "env", index, "name"), f"{name} is set by the cluster", _REMOVE)

    def _other_container(self, one: Mapping[str, Any], at: KeyPath) -> None:
        if one["name"] == RUN_CONTAINER:
            raise self._error(
                (*at, "name"), f"{RUN_CONTAINER} is octjob's own container", "Choose another name"
            )
        self._variables(one, at)
        self._resources(one, at)
        security = self._mapping(one.get("securityContext", {}), (*at, "securityContext"))
        if self._compute.privileged:
            return
        added = self._mapping(security.get("capabilities", {}), (*at, "securityContext", "capabilities"))
        weaker = {
            "privileged": security.get("privileged", False) is not False,
            "allowPrivilegeEscalation": security.get("allowPrivilegeEscalation", False) is not False,
            "runAsNonRoot": security.get("runAsNonRoot", True) is not True,
            "runAsUser": security.get("runAsUser", 1) == 0,
            "capabilities": bool(added.get("add")),
            "procMount": "procMount" in security,
        }
        for key, found in weaker.items():
            if found:
                raise self._error(
                    (*at, "securityContext", key), "pods run neither privileged nor as root", _PRIVILEGED[1]
                )

    def _variables(self, one: Mapping[str, Any], at: KeyPath) -> list[Mapping[str, Any]]:
        variables = self._list(one, "env", at, "name")
        for index, variable in enumerate(variables):
            name = variable["name"]
            if "value" in variable and not isinstance(variable["value"], str):
                raise self._not_text((*at, "env", index, "value"), variable["value"])
            if "value" in variable and _looks_secret(name):
                raise self._error(
                    (*at, "env", index, "name"),
                    f"{name} looks like a credential, and what stands here can be read by everyone who sees the sweep"
                    " or the cluster",
                    f"Write valueFrom: {{secretKeyRef: {{name: <secret>, key: {name}}}}}",
                )
        return variables

    def _resources(self, one: Mapping[str, Any], at: KeyPath, *more: str) -> None:
        resources = self._mapping(one.get("resources", {}), (*at, "resources"))
        for kind in ("requests", "limits"):
            here = (*at, "resources", kind)
            for name in self._mapping(resources.get(kind, {}), here):
                if name in _CHIPS:
                    raise self._error(
                        (*here, name),
                        "chips follow from the slice that the sweep names",
                        "Set compute.accelerator",
                    )
                if name in more:
                    raise self._error((*here, name), "the sweep has a key for it", f"Set compute.{name}")

    def _fields(
        self,
        value: Mapping[str, Any],
        at: KeyPath,
        allowed: tuple[str, ...],
        refused: Mapping[str, Reason],
    ) -> None:
        """`value` has none but `allowed` keys."""
        for key in value:
            if key in refused:
                raise self._error((*at, key), *refused[key])
            if key not in allowed:
                near = difflib.get_close_matches(str(key), [*allowed, *refused], n=1)
                hint = f"Did you mean {near[0]}?" if near else f"Fields here: {', '.join(allowed)}"
                raise self._error((*at, key), "unknown field", hint)

    def _plain(self, value: Any, at: KeyPath) -> None:
        """`value` adds only: nothing in it is empty or a directive of Kubernetes' patches, which remove."""
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            raise self._error(at, f"expected a value, got {describe(value)}", "Write {}, or remove the key")
        items = (
            value.items()
            if isinstance(value, Mapping)
            else enumerate(value)
            if isinstance(value, list)
            else ()
        )
        for key, item in items:
            if isinstance(key, str) and key.startswith("$"):
                raise self._error((*at, key), "what octjob writes cannot be removed or replaced", _REMOVE)
            self._plain(item, (*at, key))

    def _mapping(self, value: Any, at: KeyPath) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self._error(
                at, f"expected a mapping, got {describe(value)}", "Write it as `kubectl explain pod` shows"
            )
        return value

    def _texts(self, value: Any, at: KeyPath) -> Mapping[str, str]:
        for key, text in self._mapping(value, at).items():
            if not isinstance(text, str):
                raise self._not_text((*at, key), text)
        return value  # type: ignore[no-any-return]

    def _list(
        self, value: Mapping[str, Any], key: str, at: KeyPath, named_by: str | None
    ) -> list[Mapping[str, Any]]:
        """The list at `key`, of mappings that differ in `named_by`."""
        at = (*at, key)
        items = value.get(key, [])
        if not isinstance(items, list):
            raise self._error(at, f"expected a list, got {describe(items)}", "Put - before each entry")
        seen: set[str] = set()
        for index, item in enumerate(items):
            fields = self._mapping(item, (*at, index))
            name = fields.get(named_by) if named_by else None
            if named_by and (not isinstance(name, str) or not name):
                raise self._error((*at, index), f"{named_by} is required, as text", f"Add {named_by}")
            if name is not None and name in seen:
                raise self._error(
                    (*at, index, named_by or ""), f"{shown(name)} is there twice", "Keep one of the two"
                )
            seen.add(name or "")
        return items

    def _not_text(self, at: KeyPath, value: Any) -> SpecError:
        return self._error(at, f"expected text, got {describe(value)}", "Put it into quotes")

    def _error(self, at: KeyPath, message: str, hint: str) -> SpecError:
        mark = self._document.mark(at) if self._document else None
        where = f"{mark}: " if mark else ""
        return SpecError(
            f"{where}{dotted(at)}: {elided(message, 300)}", hint if hint.endswith("?") else f"{hint}."
        )
