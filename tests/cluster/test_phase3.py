"""The whole story: chart, `sweeps/phase3.yaml`, every pair through Kueue into two slices, the table from GCS.

`make phase3` prints how long each step took.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from octjob.spec.expand import plan_sweep
from octjob.storage.open import open_store
from tests.cluster.access import ClusterAccess, condition_status
from tests.cluster.clouds import phase3_clouds, phase3_sweep, secret_document
from tests.cluster.submission import octjob

CANARY = "canary-5b1e77d0c4"
NAMESPACE = "phase3"
# The control plane of the tests has priority classes of its own, and helm takes over nothing that is not its own.
VALUES = {
    "serviceAccounts": {"submitter": {"create": True}},
    "kueue": {
        "keep": False,
        "cluster": {
            "queues": [{"name": "phase3", "accelerators": [{"accelerator": "v4-32", "slices": 2}]}],
            "priorityClasses": [{"name": "phase3-normal", "value": 1000}],
        },
        "localQueues": [{"name": "tpu", "clusterQueue": "phase3"}],
    },
}
# Everything that octjob or its runs could have written into; Secrets themselves hold the values, rightly.
KINDS = "jobsets,jobs,pods,events,workloads,configmaps,services,serviceaccounts,roles,localqueues,controllerrevisions"


@pytest.mark.timeout(1500)
def test_phase3_from_chart_to_table(
    control_plane: ClusterAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timings: dict[str, float] = {}
    with phase3_clouds(tmp_path, monkeypatch) as clouds:
        with _timed(timings, "helm install"):
            _install(control_plane)
        user = control_plane.user_kubeconfig("octjob-submitter", NAMESPACE)
        for name, keys in clouds.secrets(CANARY).items():
            document = secret_document(name, keys)
            document["metadata"]["namespace"] = NAMESPACE
            control_plane.apply(document)
        sweep = phase3_sweep(tmp_path, clouds)
        runs = plan_sweep(sweep).runs
        assert len(runs) == 21

        def run(*arguments: str) -> str:
            ended = octjob(control_plane, *arguments, kubeconfig=user)
            assert ended.code == 0, f"octjob {' '.join(arguments)}: {ended.err}"
            return ended.out

        with _watched(control_plane) as seen:
            with _timed(timings, "octjob submit"):
                run("submit", "--matrix", str(sweep))
            with _timed(timings, "octjob collect --wait"):
                table = run("collect", str(sweep), "--wait", "-o", "json")
        with _timed(timings, "octjob status"):
            status = run("status", str(sweep), "-o", "json")
        logs = "".join(run("logs", f"phase3/{run_.run_id}") for run_ in runs[:3])
        rows = json.loads(table)["rows"]
        print("\n" + run("collect", str(sweep), "--no-publish"))  # noqa: T201
        _print(timings)

        assert {row["run_id"] for row in rows} == {run_.run_id for run_ in runs}
        assert {row["state"] for row in rows} == {"Succeeded"}
        assert {one["state"] for one in json.loads(status)["runs"]} == {"Succeeded"}
        assert seen == {0, 1, 2}, "Kueue lets two slices' worth of runs run at once, and never more"
        assert "again" not in run("submit", "--matrix", str(sweep)), "a finished run is not started again"
        _find_no_secret(control_plane, logs + table + status, str(plan_sweep(sweep).output))
    control_plane.helm("uninstall", "octjob", "--namespace", NAMESPACE)
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def _install(cluster: ClusterAccess) -> None:
    """As docs/platform.md says: the namespace with its Pod Security level first, then the chart."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    )
    cluster.install_chart(NAMESPACE, VALUES)
    cluster.kubectl("wait", "--for=condition=Active", "clusterqueue/phase3", "--timeout=60s")


@contextmanager
def _watched(cluster: ClusterAccess) -> Iterator[set[int]]:
    """How many runs held quota at once, at every look."""
    seen: set[int] = set()
    done = threading.Event()

    def look() -> None:
        while not done.wait(1.0):
            workloads = cluster.list("workloads", NAMESPACE)
            states = [(condition_status(w, "Admitted"), condition_status(w, "Finished")) for w in workloads]
            seen.add(states.count(("True", "Unknown")))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()
    seen.add(0)


def _find_no_secret(cluster: ClusterAccess, said: str, output: str) -> None:
    store = open_store(output)
    stored = b"".join(store.get(info.key) for info in store.list())
    objects = cluster.kubectl("get", KINDS, "--namespace", NAMESPACE, "-o", "json", "--show-managed-fields")
    assert "octjob-wandb" in objects, "the objects refer to the Secret"
    for place, text in (("objects", objects), ("output", said), ("store", stored.decode(errors="replace"))):
        assert CANARY not in text, f"a secret value is in the {place}"


@contextmanager
def _timed(timings: dict[str, float], step: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    timings[step] = time.monotonic() - start


def _print(timings: dict[str, float]) -> None:
    for step, seconds in timings.items():
        print(f"{step:24} {seconds:7.1f} s")  # noqa: T201
