"""What the shell is offered for an argument. No store is asked, and a cluster only for as long as a Tab may wait."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

    from octjob.targets.kubernetes.api import Cluster

# For how long a cluster is waited for, its client's import and its login included.
LIMIT_S = 2.0
# What may still become the name of a sweep, a run or SWEEP/RUN; all else is a path or a URI.
_NAME = re.compile(r"[a-z0-9_-]*(/?[a-z0-9_.-]*)")


def complete_target(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Files, among which are sweep files, and the sweeps and runs whose JobSets are on the cluster."""
    from click.shell_completion import CompletionItem

    files = CompletionItem(incomplete, type="file")
    folder, slash, _ = incomplete.partition("/")
    if not _NAME.fullmatch(incomplete) or (slash and Path(folder).is_dir()):
        return [files]
    return [files, *_items(_ask(context, _targets), incomplete)]


def complete_context(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Contexts of the kubeconfig; no cluster is asked."""
    from octjob.targets.kubernetes.contexts import contexts

    return _items((one.name for one in contexts()), incomplete)


def complete_namespace(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Those that the kubeconfig names, and those of the cluster where it answers in time and lets us list them."""
    from octjob.targets.kubernetes.contexts import contexts

    named = [one.namespace for one in contexts() if one.namespace]
    return _items([*named, *_ask(context, _namespaces)], incomplete)


def _items(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(name) for name in sorted(set(names)) if name.startswith(incomplete)]


def _ask(context: click.Context, read: Callable[[Cluster], list[str]]) -> list[str]:
    """What the cluster says, by the options typed so far; nothing where there is none or it takes too long."""
    from octjob.targets.kubernetes.contexts import contexts

    if not contexts():
        return []
    found: list[str] = []

    def ask() -> None:
        from octjob.errors import OctjobError
        from octjob.targets.kubernetes.api import Cluster
        from octjob.targets.kubernetes.kubeconfig import locate_cluster

        try:
            where = locate_cluster(context.params.get("context"), context.params.get("namespace"))
            found.extend(read(Cluster(*where).hurried()))
        except OctjobError:
            # The command itself says what is wrong; a Tab says nothing.
            return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    return list(found)


def _targets(cluster: Cluster) -> list[str]:
    from octjob.targets.kubernetes.resources import JOBSETS
    from octjob.targets.kubernetes.select import OURS, annotation

    names = []
    for one in cluster.list(JOBSETS, OURS, names_only=True):
        sweep, run = annotation(one, "sweep"), annotation(one, "run")
        if sweep and run:
            names += [sweep, run, f"{sweep}/{run}"]
    return names


def _namespaces(cluster: Cluster) -> list[str]:
    from octjob.targets.kubernetes.resources import NAMESPACES

    return [one["metadata"]["name"] for one in cluster.list(NAMESPACES, names_only=True)]
