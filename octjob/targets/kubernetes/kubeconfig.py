"""Which cluster a user means, and the official client for it: kubeconfig, context and namespace, or the own pod's."""

from __future__ import annotations

import os
from typing import Any

from octjob.errors import SpecError
from octjob.targets.kubernetes.credentials import plugin_of

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
                _load(configuration, self.file, self.context)
        except (config.ConfigException, OSError) as error:
            raise SpecError(
                f"context {self.context or '(in-cluster)'} cannot be used: {error}",
                f"`kubectl{f' --context {self.context}' if self.context else ''} version` must answer.",
            ) from None
        configuration.connection_pool_maxsize = POOL_SIZE
        return client.ApiClient(configuration)


def _load(configuration: Any, file: str, context: str) -> None:
    """What the official client does with a kubeconfig, but for credential plugins.

    Raises `NoCredentials` where the context's plugin fails, at once and whenever it is called again.
    """
    kube_config = _config_module().kube_config
    merged = kube_config.KubeConfigMerger(file)
    loader: Any = kube_config.KubeConfigLoader(
        config_dict=merged.config,
        config_base_path=None,
        active_context=context,
        config_persister=merged.save_changes,
    )
    loader._load_from_exec_plugin = lambda: _use_plugin(loader, kube_config, context)
    loader.load_and_set(configuration)


def _use_plugin(loader: Any, kube_config: Any, context: str) -> bool:
    """Give the loader what the context's credential plugin prints; False where it has none."""
    if "exec" not in loader._user:
        return False
    folder = loader._get_base_path(loader._cluster.path)
    status = plugin_of(context, loader._user.value, loader._cluster.value, folder or None).credentials()
    if "token" in status:
        loader.token = f"Bearer {status['token']}"
    if "clientCertificateData" in status:
        for kind, attribute in (("clientCertificateData", "cert_file"), ("clientKeyData", "key_file")):
            data = kube_config.FileOrData(
                status, None, data_key_name=kind, file_base_path=folder, base64_file_content=False
            )
            setattr(loader, attribute, data.as_file())
    if "expirationTimestamp" in status:
        loader.expiry = kube_config.parse_rfc3339(status["expirationTimestamp"])
    return True


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
