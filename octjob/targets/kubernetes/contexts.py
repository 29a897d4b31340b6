"""The contexts of a kubeconfig, read without the cluster and without its client, which takes long to import."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Context:
    """One context. cluster: as the kubeconfig names it."""

    name: str
    cluster: str
    namespace: str


def contexts() -> list[Context]:
    """Those of the files in KUBECONFIG, else of ~/.kube/config; what is no kubeconfig has none."""
    found: dict[str, Context] = {}
    places = os.environ.get("KUBECONFIG") or "~/.kube/config"
    for place in filter(None, places.split(os.pathsep)):
        for one in _entries(Path(place).expanduser()):
            name, inner = one.get("name"), one.get("context")
            if isinstance(name, str) and isinstance(inner, dict):
                # As for kubectl, the first file that names it decides.
                context = Context(name, str(inner.get("cluster") or ""), str(inner.get("namespace") or ""))
                found.setdefault(name, context)
    return list(found.values())


def _entries(path: Path) -> list[dict[str, Any]]:
    import yaml

    try:
        document = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return []
    entries = document.get("contexts") if isinstance(document, dict) else None
    return [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
