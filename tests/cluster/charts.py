"""Charts through the real helm, and their documents through the real kubeconform."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from octjob.targets.kubernetes.documents.yamltext import to_yaml
from tests.cluster.build import tool
from tests.cluster.schemas import schema_location

Document = dict[str, Any]
CHART = Path(__file__).parents[2] / "charts/octjob"


class HelmError(Exception):
    """What helm said."""


def helm(*arguments: str | Path) -> str:
    """Standard output of `helm ...`.

    Raises:
        HelmError: it failed.
    """
    done = subprocess.run([tool("helm"), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise HelmError(done.stderr + done.stdout)
    return done.stdout


def helm_template(chart: Path, *arguments: str | Path, namespace: str = "oct") -> list[Document]:
    """The documents of `helm template octjob CHART`, hooks included."""
    text = helm("template", "octjob", chart, "--namespace", namespace, *arguments)
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def kubeconform(documents: list[Document], *, skip: str = "") -> list[str]:
    """What is wrong with documents, one line each; every one of another kind than `skip` is looked at.

    Raises:
        AssertionError: it looked at fewer documents than there are.
    """
    text = "---\n".join(to_yaml(document) for document in documents)
    command = [tool("kubeconform"), "-strict", "-output", "json", "-summary"]
    command += ["-schema-location", schema_location(), *(["-skip", skip] if skip else [])]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    answer = json.loads(done.stdout)
    assert sum(answer["summary"].values()) == len(documents)
    assert answer["summary"]["skipped"] == sum(document["kind"] == skip for document in documents)
    found = [f"{one['kind']}/{one['name']}: {one['msg']}" for one in answer.get("resources") or ()]
    assert bool(found) == (done.returncode != 0), done.stderr
    return found


def rendered(*sets: str, values: str | None = None, api: str | None = None) -> list[Document]:
    """The documents of charts/octjob.

    sets: `key=value`, or `key=` with a JSON list or object. values: which of its `ci/` files. api: API versions that
    the cluster is to serve.
    """
    arguments = [
        word for text in sets for word in ("--set-json" if text.endswith(("]", "}")) else "--set", text)
    ]
    arguments += ["--values", str(CHART / f"ci/{values}-values.yaml")] if values else []
    return helm_template(CHART, *arguments, *(["--api-versions", api] if api else []))


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    """Those of a kind."""
    return [document for document in documents if document["kind"] == kind]


def named(documents: list[Document], kind: str, name: str) -> Document:
    """The one of a kind and name."""
    (found,) = [one for one in of_kind(documents, kind) if one["metadata"]["name"] == name]
    return found
