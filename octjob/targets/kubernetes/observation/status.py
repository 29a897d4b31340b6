"""Where the runs of a sweep stand, by a cluster and its store together.

Three list calls a look, whatever the number of runs: JobSets, Workloads (of the whole namespace, since a place in a
queue depends on all), pods. A fourth, of events, only where a run has no Jobs or pods though time has passed; a
fifth, of nodes, only where one waits for them; a sixth, of admission checks, likewise.
"""

from __future__ import annotations

import copy
import shlex
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from octjob.records.status import RunStatus, sweep_status
from octjob.spec.accelerator import TOPOLOGY_LABEL
from octjob.storage import open_store
from octjob.storage.base import ObjectNotFoundError
from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes.control import uid_of
from octjob.targets.kubernetes.documents.names import job_name
from octjob.targets.kubernetes.observation.conditions import last_sign
from octjob.targets.kubernetes.observation.features import awaited, with_features
from octjob.targets.kubernetes.observation.pools import absent, broken_pools, of_run
from octjob.targets.kubernetes.observation.provisioning import asking_checks, waits_for_checks
from octjob.targets.kubernetes.observation.seen import Seen, wants_events, wants_nodes
from octjob.targets.kubernetes.observation.state import run_state
from octjob.targets.kubernetes.observation.waiting import Place, places, preemptor
from octjob.targets.kubernetes.phase import Handle
from octjob.targets.kubernetes.resources import ADMISSION_CHECKS, EVENTS, NODES, PODS
from octjob.targets.kubernetes.select import (
    NoSuchTarget,
    Selection,
    annotation,
    entry_of,
    is_encoding,
    parse_target,
    select,
)
from octjob.targets.kubernetes.submission.admission import readable
from octjob.targets.kubernetes.workloads import by_jobset, list_workloads

if TYPE_CHECKING:
    from octjob.storage.base import ObjectStore
    from octjob.targets.kubernetes.api import Cluster, Document

_EVENT_REASONS = (jobset_api.JOB_CREATION_FAILED, jobset_api.SERVICE_CREATION_FAILED, "FailedCreate")
_TO_THE_SECOND = len("2026-01-31T00:00:00")


@dataclass(frozen=True)
class Look:
    """One look at a sweep. runs: in the sweep's order; of a run that was named only that one."""

    selection: Selection
    runs: list[RunStatus]

    @property
    def final(self) -> bool:
        """Nothing more happens without a new submission."""
        return all(one.final for one in self.runs)


class SweepView:
    """Looks at what a user's TARGET means, again and again; see `select` for TARGET.

    output: only the sweep of that name which has its results there.
    """

    def __init__(
        self,
        cluster: Cluster,
        text: str,
        open_at: Callable[[str], ObjectStore] = open_store,
        *,
        output: str = "",
    ) -> None:
        self.cluster = cluster
        target = parse_target(text)
        self.target = replace(target, output=output) if output else target
        self._open_at = open_at
        self._store: ObjectStore | None = None
        self._selection: Selection | None = None
        self._before: list[RunStatus] = []

    def select(self) -> Selection:
        """What the target means, without a look at more than JobSets; raises as `select` does."""
        return select(self.cluster, self.target)

    def hurried(self) -> SweepView:
        """The same view for one who tries again himself: transient faults are raised at once."""
        other = copy.copy(self)
        other.cluster = self.cluster.hurried()
        return other

    def look(self, now: float | None = None) -> Look:
        """The runs' states now. `now`: seconds since the epoch, default the clock's.

        Raises:
            NoSuchTarget: nothing of that name, at the first look; later it means that all JobSets are gone.
            ClusterError, AccessError, DataError: as the cluster and the store raise them.
        """
        with ThreadPoolExecutor(3) as pool:
            workloads = pool.submit(list_workloads, self.cluster)
            pods = pool.submit(self.cluster.list, PODS, self.target.selector)
            selection = self._select()
            seen = self._join(selection, workloads.result(), pods.result())
        moment = time.time() if now is None else now
        seen = self._with_checks(self._with_nodes(self._with_events(seen, moment)))
        # After the cluster: a run writes its result before its pods end, so none is called failed for want of it.
        known = self._known(selection, moment)
        file = shlex.quote(str(selection.file)) if selection.file else ""
        runs = [
            run_state(
                one,
                seen.get(one.run_id, Seen()),
                moment,
                Handle(selection.sweep, one.run_id, self.cluster.flags, file),
            )
            for one in known
        ]
        runs = with_features(runs, awaited(selection.jobsets), selection.sweep, self.cluster.flags)
        self._selection, self._before = selection, runs
        return Look(selection, runs)

    def _select(self) -> Selection:
        try:
            return select(self.cluster, self.target)
        except NoSuchTarget:
            if self._selection is None:
                raise
            return replace(self._selection, jobsets=[])

    def _join(
        self, selection: Selection, workloads: Sequence[Document], pods: Iterable[Document]
    ) -> dict[str, Seen]:
        """What the cluster shows of each run, by run id; each list is gone through once."""
        of_jobset = by_jobset(workloads)
        place = places(workloads)
        names = {uid_of(one): _short_name(one) for one in selection.jobsets}
        signs = last_sign(selection.jobsets), last_sign(workloads)
        of_name = defaultdict(list)
        for pod in pods:
            of_name[pod["metadata"].get("labels", {}).get(jobset_api.NAME_KEY)].append(pod)
        return {
            annotation(jobset, "run"): replace(
                _seen(jobset, of_jobset, place, of_name[jobset["metadata"]["name"]]),
                jobset_sign=signs[0],
                kueue_sign=signs[1],
                preemptor=preemptor(of_jobset.get(uid_of(jobset)), workloads, names),
            )
            for jobset in selection.jobsets
        }

    def _with_events(self, seen: dict[str, Seen], now: float) -> dict[str, Seen]:
        wanting = {run: one for run, one in seen.items() if wants_events(one, now)}
        if not wanting:
            return seen
        of_object = defaultdict(list)
        for event in sorted(self.cluster.list(EVENTS, fields="type=Warning"), key=_event_time):
            if event.get("reason") in _EVENT_REASONS:
                involved = event["involvedObject"]
                of_object[involved["kind"], involved["name"]].append(event)
        return seen | {
            run: replace(
                one, events=_texts(of_object["JobSet", name], metadata) + of_job, has_job=bool(of_job)
            )
            for run, one in wanting.items()
            if one.jobset is not None and (metadata := one.jobset["metadata"]) and (name := metadata["name"])
            for of_job in [_job_texts(of_object, one.jobset)]
        }

    def _with_nodes(self, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Names the node pools of slices that lack nodes, where that may be read."""
        wanting = {
            run: jobset
            for run, one in seen.items()
            if wants_nodes(one) and (jobset := one.jobset) is not None and TOPOLOGY_LABEL in _selector(jobset)
        }
        nodes = readable(lambda: self.cluster.list(NODES, TOPOLOGY_LABEL)) if wanting else None
        if nodes is None:
            return seen
        return seen | {run: _with_pools(seen[run], jobset, nodes) for run, jobset in wanting.items()}

    def _with_checks(self, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Tells the admission checks that ask for nodes from others, where that may be read."""
        wanting = {run: one for run, one in seen.items() if waits_for_checks(one.workload)}
        checks = readable(lambda: self.cluster.list(ADMISSION_CHECKS)) if wanting else None
        if not checks:
            return seen
        return seen | {run: replace(one, asking=asking_checks(checks)) for run, one in wanting.items()}

    def _known(self, selection: Selection, now: float) -> list[RunStatus]:
        """What the store knows of the runs that are meant; those that the sweep no longer has come last."""
        if self._store is None:
            self._store = self._open_at(selection.output)
        on_cluster = {annotation(one, "run"): one for one in selection.jobsets}
        only = (set(on_cluster) or {one.run_id for one in self._before}) if self.target.run else None
        also = [entry_of(one) for one in on_cluster.values()]
        try:
            return sweep_status(self._store, now, self._before, only, also)
        except ObjectNotFoundError:
            if not on_cluster:
                raise
        # Applied by other means than `octjob submit`: the JobSets are all there is.
        return [
            RunStatus(one.run_id, one.checkpoint, one.config, "Pending", encoding=is_encoding(jobset))
            for one, jobset in zip(also, on_cluster.values(), strict=True)
        ]


def _short_name(jobset: Document) -> str:
    return f"{annotation(jobset, 'checkpoint')}.{annotation(jobset, 'config')}"


def _seen(
    jobset: Document, of_jobset: dict[str, Document], place: dict[str, Place], pods: Sequence[Document]
) -> Seen:
    uid = uid_of(jobset)
    workload = of_jobset.get(uid)
    # Pods of an earlier JobSet of this name may still be ending.
    own = [pod for pod in pods if pod["metadata"]["labels"].get(jobset_api.UID_KEY, uid) == uid]
    return Seen(jobset, workload, own, place.get(workload["metadata"]["uid"]) if workload else None)


def _with_pools(one: Seen, jobset: Document, nodes: Sequence[Document]) -> Seen:
    hosts, suspended = jobset_api.num_pods(jobset, of_one_job=True), bool(jobset["spec"].get("suspend"))
    broken = of_run(broken_pools(nodes, _selector(jobset), hosts), one.pods) if hosts > 1 else []
    return replace(one, broken=broken, absent=absent(nodes, _pod_spec(jobset), suspended=suspended))


def _pod_spec(jobset: Document) -> Document:
    spec: Document = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    return spec


def _selector(jobset: Document) -> dict[str, str]:
    return dict(_pod_spec(jobset).get("nodeSelector") or {})


def _texts(events: Sequence[Document], jobset: Document) -> list[str]:
    """What events say; those from before the JobSet are of an earlier one of its name. jobset: its metadata."""
    # Events may have fractions of a second, objects have none.
    created = jobset["creationTimestamp"][:_TO_THE_SECOND]
    return [one.get("message", "") for one in events if _event_time(one)[:_TO_THE_SECOND] >= created]


def _job_texts(of_object: Mapping[tuple[str, str], Sequence[Document]], jobset: Document) -> list[str]:
    """The same of the Jobs of a JobSet."""
    names = [job_name(jobset["metadata"]["name"], index) for index in jobset_api.job_indices(jobset)]
    return [text for name in names for text in _texts(of_object["Job", name], jobset["metadata"])]


def _event_time(event: Document) -> str:
    series = event.get("series") or {}
    moment = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    moment = moment or event["metadata"]["creationTimestamp"]
    return str(moment)
