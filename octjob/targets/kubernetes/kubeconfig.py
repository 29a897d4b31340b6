"""Which cluster a user means, and the official client for it: kubeconfig, context and namespace, or the own pod's."""

from __future__ import annotations

import os
from typing import Any

from octjob.errors import SpecError

# Connections kept open; `Cluster` is used from as many threads.
POOL_SIZE = 16


class ClientLoader:
    """Makes the official client from a kubeconfig context, anew each time it is called."""

    def __init__(self, context: str | None, file: str = "") -> None:
        self.context = context
        self.file = file

    def __call__(self) -> Any:
        from kubernetes import client

        config = _config_module()
        configuration = client.Configuration()
        try:
            if self.context is None:
                config.load_incluster_config(client_configuration=configuration)
            else:
                config.load_kube_config(self.file, context=self.context, client_configuration=configuration)
        except (config.ConfigException, OSError) as error:
            raise SpecError(
                f"context {self.context or '(in-cluster)'} cannot be used: {error}",
                f"`kubectl{f' --context {self.context}' if self.context else ''} version` must answer.",
            ) from None
        configuration.connection_pool_maxsize = POOL_SIZE
        return client.ApiClient(configuration)


def locate_cluster(context: str | None, namespace: str | None) -> tuple[str, str, ClientLoader]:
    """Context (empty in-cluster), namespace and client of what the user's kubeconfig and flags say."""
    import yaml

    config = _config_module()
    # The client looks at KUBECONFIG once, when it is imported.
    place = os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        contexts, active = config.list_kube_config_contexts(place)
    except config.ConfigException as error:
        if context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            return "", namespace or _own_namespace(), ClientLoader(None)
        raise SpecError(
            f"no cluster: {place}: {error}",
            "Set KUBECONFIG; on GKE `gcloud container clusters get-credentials <cluster> --location <location>`"
            " writes it.",
        ) from None
    except (yaml.YAMLError, OSError, AttributeError, TypeError) as error:
        # What is no kubeconfig at all the client does not check.
        raise SpecError(
            f"{place} is no kubeconfig: {error}", "`kubectl config view` shows what it holds."
        ) from None
    known = {one["name"]: one for one in contexts}
    if context is None and active is None:
        raise SpecError("the kubeconfig has no current context", "Pass --context NAME.")
    name = context or active["name"]
    if name not in known:
        raise SpecError(
            f"no context {name!r} in the kubeconfig; there are {', '.join(sorted(known)) or 'none'}",
            "`kubectl config get-contexts` lists them.",
        )
    return name, namespace or known[name]["context"].get("namespace") or "default", ClientLoader(name, place)


def _config_module() -> Any:
    """The client's kubeconfig reader, which has no types."""
    from kubernetes import config

    return config


def _own_namespace() -> str:
    with open("/var/run/secrets/kubernetes.io/serviceaccount/namespace", encoding="utf-8") as file:
        return file.read().strip()
