"""From what a user types for a sweep to the store that holds it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from octjob.storage.base import ObjectStore

_SWEEP_FILES = (".yaml", ".yml")


def open_sweep(text: str) -> ObjectStore:
    """The store at a submitted sweep: `text` is its URI or directory, or the sweep file it was made from.

    Raises:
        SpecError: a sweep file that is missing or invalid, or not a URI.
    """
    from octjob.storage import open_store

    if text.endswith(_SWEEP_FILES):
        from octjob.spec.expand import plan_sweep

        return open_store(plan_sweep(Path(text)).output)
    return open_store(text)


def on_cluster(text: str, context: str | None = None, namespace: str | None = None) -> bool:
    """Whether `text` means runs on a cluster: a name, the file of a sweep with target kubernetes, or said so by
    the options. URIs and directories mean the store.

    Raises `SpecError` for a sweep file that is missing or invalid.
    """
    from octjob.targets.kubernetes.select import is_store

    if context is not None or namespace is not None:
        return True
    if text.endswith(_SWEEP_FILES):
        from octjob.spec.expand import locate_sweep

        return locate_sweep(Path(text))[0].compute.target == "kubernetes"
    return not is_store(text) and not Path(text).is_dir()


def split_run(text: str) -> tuple[str, str]:
    """A run as (sweep, run): of `SWEEP.yaml/RUN` or a run's URI; the sweep is empty for names on a cluster."""
    for suffix in _SWEEP_FILES:
        head, found, run = text.partition(f"{suffix}/")
        if found and run:
            return head + suffix, run
    head, found, run = text.rstrip("/").rpartition("/runs/")
    return (head, run) if found and head else ("", text)
