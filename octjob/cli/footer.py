"""What follows the table of `octjob status` on a cluster: what the runs have used so far, and links into GKE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from octjob.records.status import RunStatus
    from octjob.targets.kubernetes.observation.used import Used
    from octjob.targets.kubernetes.place import ClusterPlace
    from octjob.targets.place import Place
    from octjob.targets.prices import Prices


@dataclass(frozen=True)
class RunLinks:
    """Pages of Google Cloud's console. console: of the run's Job. logs: what its pods said."""

    console: str
    logs: str


@dataclass(frozen=True)
class SweepLinks:
    """The same of a sweep. logs: of all its runs. runs: by run id, those with a JobSet."""

    logs: str
    runs: dict[str, RunLinks]


@dataclass(frozen=True)
class Footer:
    """used: None without a price table. table: it, in words. links: None where the cluster is not GKE's."""

    used: Sequence[Used] | None = None
    table: str = ""
    links: SweepLinks | None = None

    def lines(self) -> list[str]:
        """For people, with a blank line before; of a sweep's links those of the sweep, of one run its own."""
        lines = []
        if self.used is not None:
            parts = "; ".join(map(str, self.used)) or "nothing"
            lines.append(f"used so far: {parts} ({self.table})")
        if self.links is not None:
            runs = list(self.links.runs.values())
            if len(runs) == 1:
                lines += [f"console: {runs[0].console}", f"logs: {runs[0].logs}"]
            else:
                lines.append(f"logs: {self.links.logs}")
        return ["", *lines] if lines else []

    def as_json(self) -> dict[str, Any]:
        """Keys of the document."""
        found: dict[str, Any] = {}
        if self.used is not None:
            found["used"] = [asdict(one) for one in self.used]
        if self.links is not None:
            found["links"] = asdict(self.links)
        return found


def read_footer(place: Place, runs: Sequence[RunStatus], table: Prices | None) -> Footer:
    """What a place that has been looked at can add; nothing where it is a store alone.

    table: the user's own prices, which go before the cluster's.
    """
    from octjob.targets.place import StorePlace

    if isinstance(place, StorePlace):
        return Footer()
    from octjob.cli.prices import cluster_table
    from octjob.targets.kubernetes.observation.used import used
    from octjob.targets.kubernetes.place import ClusterPlace

    assert isinstance(place, ClusterPlace)
    prices = table or cluster_table(place.cluster)
    links = _links(place, runs)
    if prices is None:
        return Footer(links=links)
    return Footer(used(place.selection.jobsets, runs, prices), str(prices), links)


def _links(place: ClusterPlace, runs: Sequence[RunStatus]) -> SweepLinks | None:
    from octjob.targets.kubernetes.contexts import contexts
    from octjob.targets.kubernetes.links import gke_cluster

    named = [one.cluster for one in contexts() if one.name == place.cluster.context]
    gke = gke_cluster(place.cluster.context, *named)
    if gke is None:
        return None
    namespace = place.cluster.namespace
    of_runs = {
        one.run_id: RunLinks(gke.console(namespace, one.jobset), gke.run_logs(namespace, one.jobset))
        for one in runs
        if one.jobset
    }
    return SweepLinks(gke.sweep_logs(namespace, place.selection.sweep), of_runs)
