"""Where a run and its logs are to be seen in Google Cloud's console, where its cluster is GKE's.

Addresses as xpk prints them (src/xpk/commands/workload.py) and as the console itself makes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from octjob.targets.kubernetes import jobset as jobset_api
from octjob.targets.kubernetes.documents.names import job_name, label_value

_CONSOLE = "https://console.cloud.google.com"
# As `gcloud container clusters get-credentials` names cluster and context. None of the parts has an underscore.
_NAME = re.compile(r"gke_(?P<project>[a-z0-9.:-]+)_(?P<location>[a-z0-9-]+)_(?P<cluster>[a-z0-9-]+)")


@dataclass(frozen=True)
class GkeCluster:
    """A cluster of GKE."""

    project: str
    location: str
    cluster: str

    def console(self, namespace: str, jobset: str) -> str:
        """The page of a run's Job. jobset: the name of its JobSet, of which the console has no page."""
        parts = (self.location, self.cluster, namespace, job_name(jobset))
        return f"{_CONSOLE}/kubernetes/job/{'/'.join(map(_quoted, parts))}/details?project={_quoted(self.project)}"

    def run_logs(self, namespace: str, jobset: str) -> str:
        """What a run's pods said, also those that are gone."""
        return self._logs(namespace, jobset_api.NAME_KEY, jobset)

    def sweep_logs(self, namespace: str, sweep: str) -> str:
        """The same of all runs of a sweep."""
        return self._logs(namespace, "octjob.dev/sweep", label_value(sweep))

    def _logs(self, namespace: str, label: str, value: str) -> str:
        # Cloud Logging has no dots in the names of labels.
        key = label.replace(".", "_")
        query = (
            'resource.type="k8s_container"',
            f"resource.labels.project_id={_literal(self.project)}",
            f"resource.labels.location={_literal(self.location)}",
            f"resource.labels.cluster_name={_literal(self.cluster)}",
            f"resource.labels.namespace_name={_literal(namespace)}",
            f'labels."k8s-pod/{key}"={_literal(value)}',
        )
        text = _quoted("\n".join(query))
        return f"{_CONSOLE}/logs/query;query={text};duration=P7D?project={_quoted(self.project)}"


def gke_cluster(*names: str) -> GkeCluster | None:
    """The first of these names that is one of gcloud's; None where none is."""
    for name in names:
        if match := _NAME.fullmatch(name):
            return GkeCluster(match["project"], match["location"], match["cluster"])
    return None


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
