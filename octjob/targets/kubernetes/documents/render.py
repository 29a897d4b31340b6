"""A sweep as files: plain YAML with a kustomization, or a Helm chart that gives the same documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from octjob import __version__
from octjob.errors import SpecError
from octjob.spec.expand import Plan
from octjob.targets.kubernetes import kueue
from octjob.targets.kubernetes.documents.manifest import (
    SPEC_HASH,
    base_hash,
    render_jobset,
)
from octjob.targets.kubernetes.documents.names import dns_label, jobset_name, label_value
from octjob.targets.kubernetes.documents.settings import Settings
from octjob.targets.kubernetes.documents.yamltext import to_yaml

Format = Literal["yaml", "helm"]
Files = dict[str, str]

# Says that a directory is ours to write again, and which files in it are.
MARKER = ".octjob-render.json"
_VALUES = ("image", "queue", "priority", "namespace")
_VALUES_OF_SLICES = tuple(f".Values.{name}" for name in _VALUES)


def render_files(plan: Plan, settings: Settings, format_: Format) -> Files:
    """The files of a rendered sweep, relative path to text; the same sweep gives the same bytes."""
    files = yaml_files(plan, settings) if format_ == "yaml" else chart_files(plan, settings)
    marker = {"format": format_, "sweep": plan.name, "files": sorted(files)}
    return {**files, MARKER: json.dumps(marker, indent=1) + "\n"}


def yaml_files(plan: Plan, settings: Settings) -> Files:
    """One file per run and encoding below `runs/`, and a kustomization of them."""
    files = {}
    settings = settings.for_plan(plan)
    for run in (*plan.encodings, *plan.runs):
        document = render_jobset(run, settings)
        files[f"runs/{document['metadata']['name']}.yaml"] = to_yaml(document)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "labels": [{"pairs": {"octjob.dev/sweep": label_value(plan.name)}}],
        "resources": list(files),
    }
    return {"kustomization.yaml": to_yaml(kustomization), **files}


def chart_files(plan: Plan, settings: Settings) -> Files:
    """A chart whose values are image, queue, priority and namespace; its defaults give the plain documents."""
    compute = settings.compute
    values = {
        "image": settings.image,
        "queue": compute.queue or "",
        "priority": compute.priority or "",
        "namespace": compute.namespace or "",
    }
    chart = {
        "apiVersion": "v2",
        "name": dns_label(plan.name, 40),
        "description": f"The runs of sweep {plan.name}, one JobSet each; rendered by octjob render.",
        "type": "application",
        "version": "0.1.0",
        "appVersion": __version__,
    }
    open_settings = settings.with_values(**{name: _placeholder(name) for name in _VALUES}).for_plan(plan)
    templates = {
        f"templates/{jobset_name(run.sweep, run.run_id)}.yaml": _chart_template(
            render_jobset(run, open_settings), open_settings.of(run)
        )
        for run in (*plan.encodings, *plan.runs)
    }
    return {
        "Chart.yaml": to_yaml(chart),
        "values.yaml": _VALUES_HEAD + to_yaml(values),
        "values.schema.json": json.dumps(_values_schema(), indent=1) + "\n",
        ".helmignore": f"{MARKER}\n",
        **templates,
    }


_VALUES_HEAD = """\
# A JobSet cannot be changed: to change a value of a release, uninstall it first. The runs continue where they were.
# queue: Kueue LocalQueue; empty starts all runs at once. priority: WorkloadPriorityClass, needs a queue.
# namespace: empty is the release's.
"""


def _values_schema() -> dict[str, Any]:
    name = {"type": "string", "pattern": "^([a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?)?$"}
    properties = {
        "image": {"type": "string", "minLength": 1, "pattern": "^\\S+$"},
        "queue": name,
        "priority": name,
        "namespace": name,
        "global": {"type": "object"},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "required": list(_VALUES),
        "properties": properties,
    }


def _placeholder(name: str) -> str:
    return f"octjob-chart-value-{name}"


def _chart_template(document: dict[str, Any], settings: Settings) -> str:
    """A JobSet rendered with placeholders, as a Helm template."""
    base = base_hash(document, settings)
    text = to_yaml(document).replace("{{", '{{ "{{" }}')
    hashed = _VALUES_OF_SLICES
    if settings.cores is not None:
        # Its queue is `compute.probe.queue`, as the sweep says.
        hashed = (".Values.image", json.dumps(settings.compute.queue or ""), '""', ".Values.namespace")
    lines: list[str] = []
    for line in text.removesuffix("\n").split("\n"):
        found = re.search(r"[^\s:]+(?=: )", line)
        indent, key = (line[: found.start()], found[0]) if found else ("", "")
        if settings.cores is not None and key in (kueue.QUEUE_LABEL, kueue.MAX_EXEC_LABEL):
            lines.append(line)
        else:
            lines += _template_lines(line, indent, key, base, hashed)
    return "\n".join(lines) + "\n"


def _template_lines(
    line: str, indent: str, key: str, base: str, hashed_values: Sequence[str]
) -> Iterable[str]:
    """What a line of the placeholder document is in the chart."""
    if line.endswith(_placeholder("image")):
        return [f"{indent}{key}: {{{{ .Values.image | quote }}}}"]
    if line.endswith(_placeholder("namespace")):
        return _optional("namespace", f"{indent}{key}")
    if key == kueue.QUEUE_LABEL:
        return [f"{indent}{{{{- if .Values.queue }}}}", f"{indent}{key}: {{{{ .Values.queue | quote }}}}"]
    if key == kueue.PRIORITY_LABEL:
        return _optional("priority", f"{indent}{key}")
    if key == kueue.MAX_EXEC_LABEL:
        return [line, f"{indent}{{{{- end }}}}"]
    if key == SPEC_HASH:
        values = " ".join(hashed_values)
        hashed = f'printf "%s\\n%s\\n%s\\n%s\\n%s" "{base}" {values} | sha256sum | trunc 16 | quote'
        return [f"{indent}{key}: {{{{ {hashed} }}}}"]
    return [line]


def _optional(name: str, key: str) -> list[str]:
    indent = key[: len(key) - len(key.lstrip())]
    return [
        f"{indent}{{{{- with .Values.{name} }}}}",
        f"{key}: {{{{ . | quote }}}}",
        f"{indent}{{{{- end }}}}",
    ]


def write_files(files: Mapping[str, str], directory: Path) -> None:
    """Write a rendering; an earlier one in the same place goes first, other files there stay.

    Raises:
        SpecError: the directory holds something that is no rendering.
    """
    marker = directory / MARKER
    if directory.exists() and (not directory.is_dir() or (any(directory.iterdir()) and not marker.is_file())):
        raise SpecError(
            f"{directory}: not empty, and not an earlier rendering; nothing was written",
            "Name a new or empty directory.",
        )
    if marker.is_file():
        for name in json.loads(marker.read_text(encoding="utf-8"))["files"]:
            (directory / name).unlink(missing_ok=True)
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
