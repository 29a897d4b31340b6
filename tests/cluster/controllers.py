"""JobSet and Kueue, run outside the cluster with the CRDs, rights and webhooks of their own Helm charts."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .build import module_dir, tool
from .certs import LOOPBACK

Document = dict[str, Any]

_WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
_RIGHTS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
_CRD = "CustomResourceDefinition"


@dataclass(frozen=True)
class Controller:
    """module: whose chart at charts/NAME it is; service_account: the chart's, which it runs as."""

    name: str
    module: str
    service_account: str

    @property
    def namespace(self) -> str:
        return f"{self.name}-system"

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.service_account}"


JOBSET = Controller("jobset", "sigs.k8s.io/jobset", "jobset-controller")
KUEUE = Controller("kueue", "sigs.k8s.io/kueue", "kueue-controller-manager")


@dataclass(frozen=True)
class Manifests:
    """Of one controller: what it needs before it starts, and the webhooks that only work after."""

    before: list[Document]
    webhooks: list[Document]


def render(controller: Controller, values: Document, webhook_port: int, ca: str, data: Path) -> Manifests:
    """The chart's documents, with every webhook (CRD conversion too) at a URL on loopback instead of a Service.

    ca: who signed the webhooks' certificate, base64 of PEM.
    """
    path = data / f"{controller.name}.values.yaml"
    path.write_text(yaml.safe_dump(values))
    chart = module_dir(controller.module) / "charts" / controller.name
    scope = ["--namespace", controller.namespace, "--include-crds", "--values", str(path)]
    argv = [str(tool("helm")), "template", controller.name, str(chart), *scope]
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    documents: list[Document] = [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]
    before: list[Document] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": controller.namespace}}
    ]
    before += [document for document in documents if document["kind"] in (_CRD, *_RIGHTS)]
    webhooks = [document for document in documents if document["kind"] in _WEBHOOKS]
    for client in _webhook_clients([*before, *webhooks]):
        client["url"] = f"https://{LOOPBACK}:{webhook_port}{client.pop('service')['path']}"
        client["caBundle"] = ca
    return Manifests(before, webhooks)


def _webhook_clients(documents: list[Document]) -> list[Document]:
    found = [hook["clientConfig"] for document in documents for hook in document.get("webhooks", [])]
    crds = [document["spec"] for document in documents if document["kind"] == _CRD]
    return found + [
        spec["conversion"]["webhook"]["clientConfig"]
        for spec in crds
        if spec.get("conversion", {}).get("strategy") == "Webhook"
    ]


def jobset_config(webhook_port: int, health_port: int, certs: Path) -> Document:
    return {
        "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        **_common(webhook_port, health_port, certs),
    }


def kueue_config(webhook_port: int, health_port: int, certs: Path) -> Document:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": KUEUE.namespace,
        "integrations": {"frameworks": ["batch/job", "jobset.x-k8s.io/jobset"]},
        "clientConnection": {"qps": 300, "burst": 500},
        **_common(webhook_port, health_port, certs),
    }


def _common(webhook_port: int, health_port: int, certs: Path) -> Document:
    return {
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "webhook": {"host": LOOPBACK, "port": webhook_port, "certDir": str(certs)},
        "metrics": {"bindAddress": "0"},
        "health": {"healthProbeBindAddress": f"{LOOPBACK}:{health_port}"},
    }
