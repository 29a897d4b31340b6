"""Rendered documents against what a cluster knows and has: unknown fields, and fields that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from octjob.targets.kubernetes.documents.manifest import Manifest
from octjob.targets.kubernetes.jobset import MESSAGE_PATTERNS_FIELD

Schema = dict[str, Any]


def check_fields(document: Manifest, schema: Schema) -> list[str]:
    """Fields of `document` that the schema does not know, e.g. `spec.failurePolicy.rules[0].onJobFailure...`.

    schema: a CRD's `spec.versions[].schema.openAPIV3Schema`. Nothing is removed: a field that a server dropped would
    be a promise not kept.
    """
    checked = {key: value for key, value in document.items() if key not in ("apiVersion", "kind", "metadata")}
    return list(_unknown(checked, schema, ""))


def check_pod_fields(pod: Mapping[str, Any], schema: Schema) -> list[str]:
    """The same of a sweep's `compute.pod`, where it is written: `compute.pod.spec.volumes[0].emptyDri`."""
    job = {"template": {"spec": {"template": {"spec": pod.get("spec", {})}}}}
    found = check_fields({"spec": {"replicatedJobs": [job]}}, schema)
    return [path.replace("spec.replicatedJobs[0].template.spec.template", "compute.pod", 1) for path in found]


def _unknown(value: Any, schema: Schema, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        known = schema.get("properties", {})
        others = schema.get("additionalProperties")
        for key, item in value.items():
            here = f"{path}.{key}" if path else key
            if key in known:
                yield from _unknown(item, known[key], here)
            elif isinstance(others, dict):
                yield from _unknown(item, others, here)
            elif not others:
                yield here


def knows_message_patterns(schema: Schema) -> bool:
    """Whether a JobSet CRD has `onJobFailureMessagePatterns` (from 0.10 on)."""
    node = schema
    for key in ("spec", "failurePolicy", "rules"):
        node = node.get("properties", {}).get(key, {})
    return MESSAGE_PATTERNS_FIELD in node.get("items", {}).get("properties", {})


def differing_fields(live: Any, wanted: Any, path: str = "") -> list[str]:
    """Fields of `wanted` that `live` lacks or has otherwise, `path: have -> want`.

    What only `live` has is the server's: defaults, status, and what webhooks and Kueue added.
    """
    if isinstance(wanted, dict) and isinstance(live, dict):
        return [
            difference
            for key, value in wanted.items()
            for difference in differing_fields(live.get(key), value, f"{path}.{key}" if path else key)
        ]
    if isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        return [
            difference
            for index, (have, want) in enumerate(zip(live, wanted, strict=True))
            for difference in differing_fields(have, want, f"{path}[{index}]")
        ]
    return [] if live == wanted else [f"{path}: {_short(live)} -> {_short(wanted)}"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
