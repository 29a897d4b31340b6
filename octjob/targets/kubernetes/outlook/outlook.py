"""What a plan meets on its cluster: which of its runs are there, what quota is free, what the rest may cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from octjob.records.state import RunState
from octjob.spec.accelerator import accelerator_of
from octjob.spec.compute import Probe
from octjob.spec.expand import Plan
from octjob.storage.base import ObjectStore
from octjob.targets.kubernetes.gke import resource_of
from octjob.targets.kubernetes.outlook.chip_hours import ChipHours, chip_hours, read_durations
from octjob.targets.kubernetes.outlook.quota import Quota, read_quota
from octjob.targets.kubernetes.phase import phase
from octjob.targets.kubernetes.resources import JOBSETS
from octjob.targets.kubernetes.select import Target, annotation
from octjob.targets.kubernetes.submission.admission import readable
from octjob.targets.kubernetes.workloads import by_jobset, list_workloads

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster, Document
    from octjob.targets.prices import Prices


@dataclass(frozen=True)
class Outlook:
    """The cluster's side of a plan. states: of the runs that are on it, by run id. quota: None without a queue.

    prices: of the namespace, where somebody has read them.
    """

    context: str
    namespace: str
    states: dict[str, RunState]
    quota: Quota | None
    prices: Prices | None = None

    def state(self, run_id: str, finished: set[str]) -> RunState:
        """Where a run stands: the store knows what is finished, the cluster the rest."""
        return "Succeeded" if run_id in finished else self.states.get(run_id, "Pending")


def look(cluster: Cluster, plan: Plan) -> Outlook:
    """Ask the cluster: two list calls for the runs, two reads for the quota.

    Raises `ClusterError`.
    """
    target = Target(plan.name, plan.name)
    jobsets: list[Document] = [
        one
        for one in cluster.list(JOBSETS, target.selector)
        if annotation(one, "sweep") == plan.name and annotation(one, "output") == plan.output
    ]
    workloads = by_jobset(readable(lambda: list_workloads(cluster)) or []) if jobsets else {}
    states = {
        annotation(one, "run"): phase(one, workloads.get(one["metadata"]["uid"])).state for one in jobsets
    }
    quota = None
    if plan.compute.queue:
        quota = read_quota(cluster, plan.compute.queue, resource_of(accelerator_of(plan.compute)))
    return Outlook(cluster.context, cluster.namespace, states, quota)


def cost(plan: Plan, store: ObjectStore | None, finished: set[str]) -> ChipHours:
    """Chip-hours of what is not `finished` and takes chips; without a store there is no estimate.

    Raises `SpecError` for an accelerator that there is none of.
    """
    compute = plan.compute
    where = accelerator_of(plan.compute)
    durations = None
    if store is not None:
        durations = read_durations(store, [run for run in plan.on_chips if run.run_id in finished])
    wanted = {one.run_id for run, one in plan.features_of.items() if run not in finished}
    unfinished = [
        run
        for run in plan.on_chips
        if run.run_id not in finished and (not run.encodes or run.run_id in wanted)
    ]
    max_hours = compute.max_runtime_hours if compute.queue else None
    return chip_hours(unfinished, where.chips, max_hours, durations, where.unit)


def cost_otherwise(plan: Plan, finished: set[str]) -> ChipHours | None:
    """The same with `compute.probe` where the plan has none, and without where it has: the bound alone, since nothing
    has run so. None where it is the same.
    """
    probe = Probe() if plan.compute.probe is None else None
    other = replace(plan, compute=plan.compute.model_copy(update={"probe": probe}))
    if {run.run_id for run in other.on_chips} == {run.run_id for run in plan.on_chips}:
        return None
    return cost(other, None, finished)
