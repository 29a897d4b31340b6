"""A run on every accelerator that octjob knows, from every capacity that a sweep can name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from doubles.cluster_runs import make_run, make_settings

from octjob.errors import SpecError
from octjob.spec.accelerator import SLICES
from octjob.spec.compute import Compute
from octjob.spec.gpu import GPUS
from octjob.targets.kubernetes.documents.derived import child_job, child_pod
from octjob.targets.kubernetes.documents.manifest import render_jobset

Document = dict[str, Any]
RESERVATION = "my-project/oct"


def accelerators() -> Iterator[dict[str, Any]]:
    """The keys of `compute` that name each slice, each number of each GPU, and two such nodes."""
    for row in SLICES:
        yield {"accelerator": row.name, "machine_type": row.machine_type}
    for gpu in GPUS:
        for count in gpu.counts:
            yield {"accelerator": f"{gpu.names[0]}:{count}"}
        yield {"accelerator": f"{gpu.names[0]}:{gpu.counts[-1]}x2"}


def capacities() -> list[dict[str, Any]]:
    """The keys of `compute` that name each capacity: those with a key of their own, and each word of `capacity`."""
    found: list[dict[str, Any]] = [{}, {"spot": True}, {"reservation": RESERVATION}]
    schema = Compute.model_json_schema()
    for kind in _words(schema["properties"].get("capacity", {}), schema.get("$defs", {})):
        found.append({"capacity": kind, **({"reservation": RESERVATION} if kind == "reservation" else {})})
    return found


def _words(schema: Any, definitions: dict[str, Any]) -> list[str]:
    """Every word that a schema has in an `enum`, once."""
    if isinstance(schema, list):
        return list(dict.fromkeys(word for one in schema for word in _words(one, definitions)))
    if not isinstance(schema, dict):
        return []
    words = [one for one in schema.get("enum", ()) if isinstance(one, str)]
    if reference := schema.get("$ref"):
        words += _words(definitions[reference.rpartition("/")[2]], definitions)
    return list(dict.fromkeys(words + _words(list(schema.values()), definitions)))


def jobsets(capacity: dict[str, Any], **compute: Any) -> tuple[list[Document], list[str]]:
    """The JobSet of a run on each accelerator from that capacity, and what octjob says of those that it refuses."""
    documents: list[Document] = []
    refused: list[str] = []
    kind = "-".join(map(str, capacity.values())).replace("/", "-").replace("_", "-").lower() or "plain"
    for number, where in enumerate(accelerators()):
        try:
            settings = make_settings(**where, **capacity, **compute)
        except SpecError as error:
            refused.append(error.message)
        else:
            documents.append(render_jobset(make_run(f"{kind}-{number}"), settings))
    return documents, refused


def with_children(jobset: Document, namespace: str) -> list[Document]:
    """A JobSet, the Job that JobSet makes of it, and the first pod of that."""
    owned = {**jobset, "metadata": {**jobset["metadata"], "namespace": namespace}}
    return [owned, child_job(jobset, namespace), child_pod(jobset, namespace)]
