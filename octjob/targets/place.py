"""From a person's words for a sweep or a run to the place where it can be looked at.

A URI, a directory and the file of a sweep that runs on this machine mean a store alone. A name, the file of a sweep
with target kubernetes, and whatever comes with a context or a namespace mean a cluster, with the store behind it. A
run is `multi_domain.logistic`, `phase3/multi_domain.logistic`, `sweeps/phase3.yaml/multi_domain.logistic` or its URI.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from octjob.errors import SpecError
from octjob.records.find import find_run, open_sweep
from octjob.records.layout import read_sweep
from octjob.records.status import RunStatus, sweep_status
from octjob.records.wait import Standings, look_in_store, standings
from octjob.spec.file import is_sweep_file, split_sweep_file
from octjob.targets.runlog import RunLog, Say, Wanted, no_log, read_stored

if TYPE_CHECKING:
    from octjob.storage.base import ObjectStore
    from octjob.targets.kubernetes.place import ClusterPlace


class Place(Protocol):
    """Where the runs are that a person means. What it cannot reach it raises as an `AccessError`."""

    @property
    def store(self) -> ObjectStore:
        """The store that holds the sweep's results."""

    @property
    def output(self) -> str:
        """The URI of the sweep's results."""

    def statuses(self) -> list[RunStatus]:
        """Where the runs stand now, in the sweep's order; of a run that was named only that one."""

    def standings(self) -> Standings:
        """The same for one who waits for results."""

    def standings_of(self, runs: Iterable[RunStatus]) -> Standings:
        """What `statuses` has given, for one who waits for results."""

    def require_sweep(self) -> None:
        """Raise `SpecError` where a run was named, not a sweep."""

    def logs(self, wanted: Wanted, say: Say) -> RunLog:
        """The log of the run that was named.

        Raises `SpecError` where that is not one run, `NoLogError` where there is none.
        """


@dataclass
class StorePlace:
    """A sweep in a store, or a run of it, by heartbeats and results alone. run: as named, empty: all of them."""

    store: ObjectStore
    run: str = ""
    _before: list[RunStatus] = field(default_factory=list, init=False)

    @property
    def output(self) -> str:
        return self.store.root

    def statuses(self) -> list[RunStatus]:
        only = [find_run(self.store, self.run)] if self.run else None
        self._before = sweep_status(self.store, before=self._before, only=only)
        return self._before

    def standings(self) -> Standings:
        return look_in_store(self.store)

    def standings_of(self, runs: Iterable[RunStatus]) -> Standings:
        return standings(runs)

    def require_sweep(self) -> None:
        if self.run:
            raise SpecError(f"{self.run}: a run, not a sweep", f"octjob collect {self.output}")

    def logs(self, wanted: Wanted, say: Say) -> RunLog:
        run_id = find_run(self.store, self.run)
        if wanted.follow:
            raise SpecError(
                f"run {run_id}: only pods can be followed; the store has an attempt's log up to a minute late",
                "Leave out --follow; `octjob status --watch` shows how far the run is.",
            )
        found = read_stored(self.store, run_id, wanted, say)
        if found is None:
            (one,) = sweep_status(self.store, only=[run_id])
            raise no_log(one)
        return found


def open_place(
    text: str, context: str | None = None, namespace: str | None = None, *, retry_s: float | None = None
) -> Place:
    """The place that `text` means: a sweep, or a run by its name on a cluster. A cluster is asked for its version, a
    store nothing yet.

    retry_s: for how long a cluster's transient faults are retried in each request, default its own patience.

    Raises:
        SpecError: a sweep file that is missing or invalid, not a URI, no kubeconfig or no such context.
        Unreachable: the cluster does not answer.
    """
    if not is_on_cluster(text, context, namespace):
        return StorePlace(open_sweep(text))
    return open_cluster_place(text, context, namespace, retry_s=retry_s, from_store=True)


def open_run(text: str, context: str | None = None, namespace: str | None = None) -> Place:
    """The same for the words of a run: its name on a cluster, `SWEEP.yaml/RUN`, or its URI.

    Not every text with `/runs/` in it is a run's, so this is for what cannot be a sweep.
    """
    sweep, run = split_run(text)
    if not is_on_cluster(sweep or run, context, namespace):
        return _stored_run(sweep, run)
    if not is_sweep_file(sweep):
        return open_cluster_place(text, context, namespace)
    from octjob.spec.expand import locate_sweep
    from octjob.targets.kubernetes.place import ClusterPlace, connect

    located, output = locate_sweep(Path(sweep))
    cluster = connect(context, namespace, sweep)
    return ClusterPlace(
        cluster, f"{located.name}/{run}", stored=lambda: _stored_run(sweep, run), output=output
    )


def open_cluster_place(
    text: str,
    context: str | None = None,
    namespace: str | None = None,
    *,
    retry_s: float | None = None,
    from_store: bool = False,
) -> ClusterPlace:
    """The same for what only a cluster can do. from_store: a URI or directory means the sweep that it holds."""
    from octjob.targets.kubernetes.place import ClusterPlace, connect
    from octjob.targets.kubernetes.select import is_store

    cluster = connect(context, namespace, text, retry_s=retry_s)
    if not (from_store and is_store(text)):
        return ClusterPlace(cluster, text)
    store = open_sweep(text)
    return ClusterPlace(cluster, read_sweep(store).name, output=store.root)


def _stored_run(sweep: str, run: str) -> StorePlace:
    if not sweep:
        raise SpecError(
            f"{run}: not a run", "e.g. SWEEP.yaml/RUN, or a run's URI, which ends in /runs/<run id>."
        )
    return StorePlace(open_sweep(sweep), run)


def store_words(text: str) -> str:
    """What names the store alone of a sweep that `text` means on a cluster."""
    from octjob.targets.kubernetes.select import is_store, parse_target

    return text if is_store(text) else parse_target(text).output or "<output>/<sweep>"


def is_on_cluster(text: str, context: str | None = None, namespace: str | None = None) -> bool:
    """Whether `text` means runs on a cluster: a name, the file of a sweep with target kubernetes, or said so by
    the options. URIs and directories mean the store.

    Raises `SpecError` for a sweep file that is missing or invalid.
    """
    from octjob.targets.kubernetes.select import is_store

    if context is not None or namespace is not None:
        return True
    if is_sweep_file(text):
        from octjob.spec.expand import locate_sweep

        return locate_sweep(Path(text))[0].compute.target == "kubernetes"
    return not is_store(text) and not Path(text).is_dir()


def split_run(text: str) -> tuple[str, str]:
    """A run as (sweep, run): of `SWEEP.yaml/RUN` or a run's URI; the sweep is empty for all else."""
    head, run = split_sweep_file(text)
    if run:
        return head, run
    head, found, run = text.rstrip("/").rpartition("/runs/")
    return (head, run) if found and head else ("", text)
