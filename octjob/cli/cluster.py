"""The options of every command that talks to a cluster, and the connection they mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster

F = TypeVar("F", bound=Callable[..., Any])

_CONTEXT = click.option("--context", metavar="NAME", help="Kubeconfig context; default the current one.")
_NAMESPACE = click.option(
    "-n", "--namespace", metavar="NAME", help="Default: the sweep's compute.namespace, else the context's."
)


def cluster_options(command: F) -> F:
    """Add `--context` and `-n/--namespace`, which `connect` takes."""
    return _CONTEXT(_NAMESPACE(command))


def connect(context: str | None, namespace: str | None, target: str | Path | None = None) -> Cluster:
    """The cluster that the options mean.

    target: what the user typed; a sweep file says its namespace where `--namespace` does not.

    Raises:
        SpecError: no kubeconfig, no such context, or an invalid sweep file.
        ClusterError: the cluster does not answer.
    """
    from octjob.targets.kubernetes.api import Cluster
    from octjob.targets.kubernetes.select import SWEEP_FILES

    if namespace is None and target is not None and str(target).endswith(SWEEP_FILES):
        from octjob.spec.expand import locate_sweep

        namespace = locate_sweep(Path(target))[0].compute.namespace
    return Cluster.connect(context, namespace)
