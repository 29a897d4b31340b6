"""Runs on a cluster, by the JobSets that a person's words mean, and the store that they write to."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from octjob.errors import AccessError, SpecError
from octjob.records.layout import finished_runs, read_progress
from octjob.records.status import RunStatus
from octjob.spec.file import is_sweep_file
from octjob.storage.open import open_store
from octjob.targets.kubernetes import control, retry
from octjob.targets.kubernetes.api import Cluster
from octjob.targets.kubernetes.observation.logs import PodLogs
from octjob.targets.kubernetes.observation.status import Look, SweepView
from octjob.targets.kubernetes.outlook.standing import on_cluster
from octjob.targets.kubernetes.phase import phase
from octjob.targets.kubernetes.select import NoSuchTarget, Selection, annotation
from octjob.targets.runlog import RunLog, Say, Wanted, in_words, no_log, read_stored

if TYPE_CHECKING:
    from octjob.records.textlog import Line
    from octjob.records.wait import Standings
    from octjob.storage.base import ObjectStore
    from octjob.targets.kubernetes.api import Document
    from octjob.targets.kubernetes.control import Outcome
    from octjob.targets.place import Place

_NUM_SHOWN = 5


def connect(
    context: str | None,
    namespace: str | None,
    target: str | Path | None = None,
    *,
    retry_s: float | None = None,
) -> Cluster:
    """The cluster that a user's options mean.

    target: what was typed; a sweep file says its namespace where the option does not. retry_s: see `Cluster.connect`.

    Raises:
        SpecError: no kubeconfig, no such context, or an invalid sweep file.
        ClusterError: the cluster does not answer.
    """
    if namespace is None and target is not None and is_sweep_file(str(target)):
        from octjob.spec.expand import locate_sweep

        namespace = locate_sweep(Path(target))[0].compute.namespace
    return Cluster.connect(context, namespace, retry_s=retry_s)


class ClusterPlace:
    """A sweep or a run on a cluster, an `octjob.targets.place.Place`.

    text: see `octjob.targets.kubernetes.select`. stored: gives the same run in its store alone, where that is known
    without the cluster. output: only of the sweep with results there, since others may have its name.
    """

    def __init__(
        self, cluster: Cluster, text: str, stored: Callable[[], Place] | None = None, output: str = ""
    ) -> None:
        self.cluster = cluster
        self.text = text
        self._view = SweepView(cluster, text, output=output)
        self._stored = stored
        self._selection: Selection | None = None

    @property
    def selection(self) -> Selection:
        """The sweep and those of its JobSets that are meant, as first seen.

        Raises `NoSuchTarget`: nothing of that name; `SpecError`: ambiguous.
        """
        if self._selection is None:
            self._selection = self._view.select()
        return self._selection

    @property
    def store(self) -> ObjectStore:
        return open_store(self.output)

    @property
    def output(self) -> str:
        return self.selection.output

    def statuses(self) -> list[RunStatus]:
        return self._look().runs

    def standings(self) -> Standings:
        return on_cluster(self._look().runs)

    def standings_of(self, runs: Iterable[RunStatus]) -> Standings:
        return on_cluster(runs)

    def require_sweep(self) -> None:
        if not self.selection.entire:
            raise SpecError(f"{self.text}: a run, not a sweep", f"octjob collect {self.selection.sweep}")

    def logs(self, wanted: Wanted, say: Say) -> RunLog:
        try:
            look = self._look()
        except NoSuchTarget as error:
            if self._stored is None:
                raise
            say(f"{error.message}; reading the store")
            return self._stored().logs(replace(wanted, follow=False), say)
        one = self._only_run(look)
        jobset = look.selection.jobsets[0]["metadata"]["name"]
        numbered = wanted.worker is None
        if wanted.follow and not one.final:
            return RunLog(self._followed(jobset, wanted, say), numbered)
        progress = read_progress(self.store, one.run_id) if wanted.attempt is not None else None
        if wanted.attempt is None or (progress is not None and progress.attempt == wanted.attempt):
            reader = _pod_logs(self.cluster, jobset, wanted, say)
            pods = reader.pods()
            if pods:
                return RunLog(reader.lines(pods), numbered)
        found = read_stored(self.store, one.run_id, wanted, say)
        if found is None:
            raise no_log(one)
        return found

    def num_to_cancel(self) -> int:
        """How many of the runs a cancel would stop."""
        phases = [phase(one) for one in self.selection.jobsets]
        return sum(one.allows("cancel") and one.state != "Ending" for one in phases)

    def cancel(self, *, wait: bool, listener: control.OnRemaining) -> list[Outcome]:
        """Delete the JobSets that have not ended, see `control.cancel`."""
        jobsets = self.selection.jobsets
        return control.cancel(self.cluster, jobsets, finished=self._finished(), wait=wait, listener=listener)

    def set_active(self, active: bool) -> list[Outcome]:
        """Pause runs or let them go on, see `control.set_active`."""
        return control.set_active(self.cluster, self.selection, active, finished=self._finished())

    def retry(self, warn: Say, listener: control.OnRemaining) -> list[Outcome]:
        """Run again what has ended without a result, as the sweep file says now where one was given.

        warn: hears what its rendering meets. See `octjob.targets.kubernetes.retry.retry`.
        """
        file = self.selection.file
        remake = _as_file_says(self.cluster, file, warn) if file else None
        return retry.retry(self.cluster, self.selection, self.store, remake, listener)

    def _look(self) -> Look:
        look = self._view.look()
        self._selection = self._selection or look.selection
        return look

    def _followed(self, jobset: str, wanted: Wanted, say: Say) -> Iterator[Line]:
        # A failure is said at once; the loop itself tries again.
        hurried = self._view.hurried()
        reader = _pod_logs(hurried.cluster, jobset, wanted, say)
        yield from reader.follow(lambda: in_words(hurried.look().runs[0]))
        say(f"-- {in_words(self._look().runs[0])}")

    def _only_run(self, look: Look) -> RunStatus:
        """The one run that is meant; a sweep of one run will do."""
        if len(look.runs) != 1:
            named = [f"{look.selection.sweep}/{one.checkpoint}.{one.config}" for one in look.runs]
            more = ", ..." if len(named) > _NUM_SHOWN else ""
            raise SpecError(
                f"{self.text}: a sweep of {len(named)} runs",
                f"Say which: {', '.join(named[:_NUM_SHOWN])}{more}.",
            )
        return look.runs[0]

    def _finished(self) -> Callable[[], Collection[str] | None]:
        """Gives the ids of the runs with a result; the store is asked once, and only where that matters.

        None where it does not answer: that must not keep a slice from being freed.
        """

        @cache
        def ask() -> set[str] | None:
            try:
                return finished_runs(self.store)
            except AccessError:
                return None

        return ask


def _pod_logs(cluster: Cluster, jobset: str, wanted: Wanted, say: Say) -> PodLogs:
    return PodLogs(cluster, jobset, only=wanted.worker, tail=wanted.tail, say=lambda text: say(f"-- {text}"))


def _as_file_says(cluster: Cluster, file: Path, warn: Say) -> retry.Remake:
    """Gives the JobSet of a run as its sweep file says it now."""
    from octjob.spec.expand import plan_sweep
    from octjob.spec.yaml import load
    from octjob.targets.kubernetes.documents.settings import resolve_settings
    from octjob.targets.kubernetes.submission.submit import render_plan

    planned = plan_sweep(file)
    jobsets, notes = render_plan(planned, cluster, resolve_settings(planned.compute, load(file)))
    for note in notes:
        warn(note)

    def of(jobset: Document) -> Document:
        run = annotation(jobset, "run")
        if run not in jobsets:
            raise SpecError(
                f"run {run} has failed, but {file} has no such run any more",
                f"`octjob retry {planned.name}/{run}{cluster.flags}` runs it as it was; `octjob submit -f"
                f" {shlex.quote(str(file))}{cluster.flags} --update` runs the changed one.",
            )
        return jobsets[run]

    return of
