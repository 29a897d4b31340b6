"""Runs whose pods do what a test says, in place of training: JobSets as octjob renders them, with other commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from doubles.cluster_runs import make_run, make_settings
from doubles.sweep_results import entry, submit

from octjob.storage.open import open_store
from octjob.targets.kubernetes.documents.manifest import render_jobset
from tests.cluster.access import ClusterAccess
from tests.cluster.tenancy import RUN_ACCOUNT

Document = dict[str, Any]

SLEEP = """\
import signal, sys
signal.signal(15, lambda *_: sys.exit(75))
print("up", flush=True)
signal.pause()
"""


class Scripted:
    """The sweep `demo` in one namespace, its store in a folder, or at `output`.

    Every pod runs the Python `code` of its run, with JOB_COMPLETION_INDEX and OCTJOB_ATTEMPT in its environment.
    """

    def __init__(
        self, cluster: ClusterAccess, namespace: str, folder: Path, names: tuple[str, ...], output: str = ""
    ) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.output = output or (folder / "out" / "demo").as_uri()
        self.store = open_store(self.output)
        self.entries = {name: entry(name) for name in names}
        submit(self.store, self.entries.values())

    def jobset(self, name: str, code: str = SLEEP, **compute: Any) -> Document:
        """The JobSet of a run; `secrets=[]` since none are there."""
        settings = make_settings(
            **{"secrets": None, "service_account": RUN_ACCOUNT, "namespace": self.namespace, **compute}
        )
        one = self.entries[name]
        run = make_run(
            one.config, sweep="demo", run_id=one.run_id, checkpoint_name=one.checkpoint, output=self.output
        )
        document = render_jobset(run, settings)
        container(document)["command"] = ["python", "-u", "-c", code]
        return document

    def start(self, name: str, code: str = SLEEP, **compute: Any) -> str:
        """Create the JobSet of a run; returns its name."""
        document = self.jobset(name, code, **compute)
        self.cluster.apply(document)
        made: str = document["metadata"]["name"]
        return made


def container(jobset: Document) -> Document:
    """The one container of its pods."""
    found: Document = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"][
        "containers"
    ][0]
    return found
