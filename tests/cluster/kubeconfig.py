"""Kubeconfig files, with everything they refer to inside them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import yaml

from .certs import Identity

CONTEXT = "octjob-test"


def write_kubeconfig(
    path: Path, server: str, ca: bytes, user: dict[str, str], namespace: str = "default"
) -> Path:
    """A kubeconfig with one context, readable by its owner only.

    ca: the server's certificate authority, PEM.
    user: as in a kubeconfig, see `by_certificate` and `by_token`.
    """
    cluster = {"server": server, "certificate-authority-data": _base64(ca)}
    context = {"cluster": CONTEXT, "user": CONTEXT, "namespace": namespace}
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": CONTEXT, "user": user}],
        "contexts": [{"name": CONTEXT, "context": context}],
        "current-context": CONTEXT,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def by_certificate(identity: Identity) -> dict[str, str]:
    return {
        "client-certificate-data": _base64(identity.cert.read_bytes()),
        "client-key-data": _base64(identity.key.read_bytes()),
    }


def by_token(token: str) -> dict[str, str]:
    return {"token": token}


def server_and_ca(path: Path) -> tuple[str, bytes]:
    """The address and the certificate authority (PEM) of the cluster that a kubeconfig points to."""
    document = yaml.safe_load(path.read_text())
    contexts = {entry["name"]: entry["context"] for entry in document["contexts"]}
    clusters = {entry["name"]: entry["cluster"] for entry in document["clusters"]}
    cluster = clusters[contexts[document["current-context"]]["cluster"]]
    return cluster["server"], base64.b64decode(cluster["certificate-authority-data"])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
