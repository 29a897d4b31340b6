"""JSON schemas of everything we render, for kubeconform, made of the pinned modules' own OpenAPI and CRD files.

kubeconform's default schemas come from the network. These are of the Kubernetes, JobSet and Kueue versions that
`tests/cluster/tools` pins, and strict: a field that the API does not know is an error.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.build import module_dir, tool

Schema = dict[str, Any]

# What kubeconform makes of apiVersion and kind: jobset-jobset-v1alpha2, role-rbac-v1, pod-v1.
LOCATION = "{{.ResourceKind}}{{.KindSuffix}}.json"
_REF = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_CRDS = {
    "sigs.k8s.io/jobset": "config/components/crd/bases",
    "sigs.k8s.io/kueue": "config/components/crd/bases",
}


def schema_location() -> str:
    """What `kubeconform -schema-location` gets; the files are made on first use and kept beside the tools."""
    folder = tool("kubeconform").parents[1] / f"schemas-{_digest()}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent))
        for name, schema in _schemas().items():
            (partial / name).write_text(json.dumps(schema))
        try:
            partial.rename(folder)
        except OSError:
            # Another process was faster; what it wrote is the same.
            shutil.rmtree(partial)
    return f"{folder}/{LOCATION}"


def _digest() -> str:
    """Changes with the versions and with how schemas are made."""
    parts = [str(module_dir(module)) for module in ("k8s.io/kubernetes", *_CRDS)]
    parts.append(Path(__file__).read_text())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _schemas() -> dict[str, Schema]:
    """File name to schema, of every kind of Kubernetes, JobSet and Kueue."""
    found: dict[str, Schema] = {}
    definitions: dict[str, Schema] = {}
    for path in sorted((module_dir("k8s.io/kubernetes") / "api/openapi-spec/v3").glob("*_openapi.json")):
        components = json.loads(path.read_text()).get("components", {}).get("schemas", {})
        definitions.update({name: _strict(schema) for name, schema in components.items()})
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            found[_file_name(kind["group"], kind["version"], kind["kind"])] = _standalone(name, definitions)
    for module, folder in _CRDS.items():
        for path in sorted((module_dir(module) / folder).glob("*.yaml")):
            found.update(_of_crd(yaml.load(path.read_text(), yaml.CSafeLoader), definitions))
    return found


def _of_crd(crd: Schema, definitions: dict[str, Schema]) -> Iterator[tuple[str, Schema]]:
    spec = crd["spec"]
    for version in spec["versions"]:
        schema = _strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"$ref": f"#/definitions/{_META}"}
        schema["definitions"] = _reachable(_META, definitions)
        yield _file_name(spec["group"], version["name"], spec["names"]["kind"]), schema


def _standalone(name: str, definitions: dict[str, Schema]) -> Schema:
    return {"$ref": f"#/definitions/{name}", "definitions": _reachable(name, definitions)}


def _reachable(name: str, definitions: dict[str, Schema]) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found[current] = definitions[current]
            waiting += _references(definitions[current])
    return found


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix("#/definitions/")
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)


def _strict(node: Any) -> Any:
    """An OpenAPI schema as JSON schema that knows no other fields than its own."""
    if isinstance(node, list):
        return [_strict(child) for child in node]
    if not isinstance(node, dict):
        return node
    schema = {key: _strict(value) for key, value in node.items()}
    if isinstance(schema.get("$ref"), str):
        schema["$ref"] = schema["$ref"].replace(_REF, "#/definitions/")
    if schema.get("x-kubernetes-preserve-unknown-fields") is True:
        return schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        schema.setdefault("additionalProperties", False)
    return schema


def _file_name(group: str, version: str, kind: str) -> str:
    prefix = f"-{group.split('.')[0]}" if group else ""
    return f"{kind.lower()}{prefix}-{version}.json".lower()
