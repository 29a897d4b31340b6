"""The environment that a container's process gets: the pod's own, and what GKE adds to it for a TPU slice."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from math import prod
from typing import Any

Document = dict[str, Any]
# (kind: "secrets" or "configmaps", namespace, name) to its `data`, decoded; None where it is not there.
Lookup = Callable[[str, str, str], dict[str, str] | None]

LOOPBACK = "127.0.0.1"
INDEX = "batch.kubernetes.io/job-completion-index"
_KINDS = {"secrets": "Secret", "configmaps": "ConfigMap"}
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_REFERENCE = re.compile(r"\$(\$|\(([-._A-Za-z0-9]+)\))")


class ConfigError(Exception):
    """What a kubelet reports as CreateContainerConfigError."""


def decoded(kind: str, document: Document | None) -> dict[str, str] | None:
    """The values of a Secret or ConfigMap."""
    if document is None:
        return None
    data = document.get("data") or {}
    if kind == "secrets":
        return {key: base64.b64decode(value).decode() for key, value in data.items()}
    return dict(data)


def environment(pod: Document, container: Document, lookup: Lookup) -> dict[str, str]:
    """Variables of the container.

    Raises `ConfigError` for a Secret, ConfigMap or key that is not there.
    """
    env: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        kind, reference = _reference(source)
        for key, value in _values(kind, pod, reference, lookup).items():
            env[source.get("prefix", "") + key] = value
    for entry in container.get("env") or ():
        found = _value(pod, entry, lookup)
        if found is not None:
            env[entry["name"]] = expand(found, env) if "value" in entry else found
    return {**slice_variables(pod, container), **env}


def expand(text: str, env: dict[str, str]) -> str:
    """`$(NAME)` replaced where there is such a variable; `$$` is a dollar."""

    def replace(match: re.Match[str]) -> str:
        return "$" if match[1] == "$" else env.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


def slice_variables(pod: Document, container: Document) -> dict[str, str]:
    """What GKE's webhook and device plugin set in a container that asks for TPUs."""
    chips = (container.get("resources") or {}).get("limits", {}).get("google.com/tpu")
    topology = (pod["spec"].get("nodeSelector") or {}).get("cloud.google.com/gke-tpu-topology")
    if not chips or not topology:
        return {}
    num_hosts = prod(int(side) for side in topology.split("x")) // int(chips)
    index = (pod["metadata"].get("annotations") or {}).get(INDEX, "0")
    stem = pod["spec"].get("hostname", "").removesuffix(f"-{index}")
    subdomain = pod["spec"].get("subdomain", "")
    names = ",".join(f"{stem}-{host}.{subdomain}" for host in range(num_hosts))
    return {
        "TPU_WORKER_ID": index,
        "TPU_WORKER_HOSTNAMES": names if num_hosts > 1 else "localhost",
        "TPU_TOPOLOGY": topology,
        "TPU_SKIP_MDS_QUERY": "true",
    }


def _value(pod: Document, entry: Document, lookup: Lookup) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return str(entry.get("value", ""))
    if "fieldRef" in source:
        return _field(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        raise ConfigError(f"{entry['name']}: the stand-in knows no resourceFieldRef")
    kind, reference = _reference(source)
    values = _values(kind, pod, reference, lookup)
    if reference["key"] in values:
        return values[reference["key"]]
    if reference.get("optional"):
        return None
    where = f"{pod['metadata']['namespace']}/{reference['name']}"
    raise ConfigError(f"couldn't find key {reference['key']} in {_KINDS[kind]} {where}")


def _reference(source: Document) -> tuple[str, Document]:
    for key, kind in (("secret", "secrets"), ("configMap", "configmaps")):
        for suffix in ("KeyRef", "Ref"):
            if key + suffix in source:
                return kind, source[key + suffix]
    raise ConfigError(f"the stand-in knows no {', '.join(source)}")


def _values(kind: str, pod: Document, reference: Document, lookup: Lookup) -> dict[str, str]:
    found = lookup(kind, pod["metadata"]["namespace"], reference["name"])
    if found is None and not reference.get("optional"):
        raise ConfigError(f'{_KINDS[kind].lower()} "{reference["name"]}" not found')
    return found or {}


def _field(pod: Document, path: str) -> str:
    metadata, spec = pod["metadata"], pod["spec"]
    if match := _KEYED.fullmatch(path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    fields = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec["nodeName"],
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": LOOPBACK,
        "status.hostIP": LOOPBACK,
    }
    if path not in fields:
        raise ConfigError(f"the stand-in knows no field {path}")
    return str(fields[path])
