"""The options of every command that talks to a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from octjob.cli.complete import complete_context, complete_namespace

F = TypeVar("F", bound=Callable[..., Any])

_CONTEXT = click.option(
    "--context",
    metavar="NAME",
    shell_complete=complete_context,
    help="Kubeconfig context; default the current one.",
)
_NAMESPACE = click.option(
    "-n",
    "--namespace",
    metavar="NAME",
    shell_complete=complete_namespace,
    help="Default: the sweep's compute.namespace, else the context's.",
)


def cluster_options(command: F) -> F:
    """Add `--context` and `-n/--namespace`, which `octjob.targets` takes."""
    return _CONTEXT(_NAMESPACE(command))
