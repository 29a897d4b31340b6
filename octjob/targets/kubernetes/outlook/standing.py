"""Where a sweep's runs stand for one who waits for results: the store has the results, the cluster the failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octjob.records.layout import finished_runs, read_sweep
from octjob.records.wait import Standing, Standings
from octjob.storage.base import ObjectStore
from octjob.targets.kubernetes.phase import Phase, phase
from octjob.targets.kubernetes.resources import JOBSETS
from octjob.targets.kubernetes.select import Target, annotation

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster

_OF_PHASE: dict[Phase, Standing] = {
    "queued": "open",
    "running": "open",
    "ending": "gone",
    "failed": "failed",
    # Its pods said done, and there is no result.
    "finished": "failed",
}


def look_at(cluster: Cluster, store: ObjectStore, sweep: str) -> Standings:
    """One list call, then one listing of the store: a run that ends in between has its result there."""
    record = read_sweep(store)
    phases = {
        annotation(one, "run"): phase(one) for one in cluster.list(JOBSETS, Target(sweep, sweep).selector)
    }
    results = finished_runs(store)
    standings: dict[str, Standing] = {}
    for entry in record.runs:
        found = phases.get(entry.run_id)
        standings[entry.run_id] = "gone" if found is None else _OF_PHASE[found]
        if entry.run_id in results:
            standings[entry.run_id] = "result"
    return Standings(standings)
