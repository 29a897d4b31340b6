"""What Argo CD would make of objects: by its own comparison, `tools/argocd`, with an Application's settings."""

from __future__ import annotations

import copy
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.access import ClusterAccess
from tests.cluster.build import tool

Document = dict[str, Any]
# Who Argo CD is when it applies, and the annotation by which it knows what is its own: common/common.go.
MANAGER = "argocd-controller"
_TRACKING = "argocd.argoproj.io/tracking-id"


@dataclass(frozen=True)
class Compared:
    """out_of_sync: what Argo CD shows. predicted: how the object would be. sync: what it would apply."""

    out_of_sync: bool
    predicted: Document
    sync: Document


def application(path: Path) -> Document:
    """The Application of a file; it must apply server-side, since nothing else is modelled."""
    document: Document = yaml.safe_load(path.read_text())
    assert document["kind"] == "Application"
    assert "ServerSideApply=true" in document["spec"]["syncPolicy"]["syncOptions"]
    return document


def tracked(document: Document, app: str) -> Document:
    """The document with Argo CD's annotation."""
    found = copy.deepcopy(document)
    metadata = found["metadata"]
    group = document["apiVersion"].rpartition("/")[0]
    which = f"{app}:{group}/{document['kind']}:{metadata.get('namespace', '')}/{metadata['name']}"
    metadata.setdefault("annotations", {})[_TRACKING] = which
    return found


def compare(
    cluster: ClusterAccess, app: Document, targets: list[Document], there: list[Document]
) -> list[Compared]:
    """Targets with the live objects of the same places."""
    program = tool("argocd-compare")
    openapi = cluster.data / "openapi.json"
    openapi.write_text(cluster.kubectl("get", "--raw", "/openapi/v2"))
    pairs = [{"target": one, "live": live} for one, live in zip(targets, there, strict=True)]
    asked = json.dumps({"ignore": app["spec"].get("ignoreDifferences", []), "pairs": pairs})
    done = subprocess.run([program, openapi], input=asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [
        Compared(**{key: one[key] for key in ("out_of_sync", "predicted", "sync")})
        for one in json.loads(done.stdout)
    ]
