"""The chart's collector on a real control plane: its pods are admitted, and each end is told once over its deaths."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles.gcs import GcsServer
from doubles.receiver import WebhookReceiver
from doubles.sweep_results import finish, labels, skilled

from octjob.storage.open import forget_stores
from tests.cluster.access import ClusterAccess
from tests.cluster.clouds import secret_document
from tests.cluster.scripted import Scripted

URI = "gs://bucket/sweeps/demo"
KILLED = "import os; os.kill(os.getpid(), 9)"


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    with GcsServer() as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        forget_stores()
        server.create_bucket("bucket")
        yield server
    forget_stores()


@pytest.fixture
def hook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as server:
        yield server


class Collector:
    """The CronJob of sweep `demo` in one namespace, started when a test says so."""

    def __init__(
        self, cluster: ClusterAccess, namespace: str, folder: Path, env: dict[str, str], url: str
    ) -> None:
        self.cluster, self.namespace = cluster, namespace
        # Pods of the tests have no token mounted: a kubeconfig with the account's, where octjob looks first.
        kubeconfig = folder / "collector.yaml"
        variables = {**env, "KUBECONFIG": str(kubeconfig)}
        values = {
            "image": f"octjob@sha256:{'0' * 64}",
            # `octjob-run` is there already, and helm takes over nothing.
            "serviceAccounts": {"run": {"name": "unused"}, "collector": {"name": "collector"}},
            "rbac": {"clusterRead": False},
            "kueue": {"cluster": {"create": False}, "localQueues": []},
            "collector": {
                "sweeps": [{"name": "demo", "uri": URI}],
                "notify": {"secret": "hook", "key": "url"},
                "clusterAccess": True,
                "env": [{"name": name, "value": value} for name, value in variables.items()],
            },
        }
        cluster.install_chart(namespace, values)
        shutil.copy(cluster.user_kubeconfig("collector", namespace), kubeconfig)
        secret = secret_document("hook", {"url": url})
        secret["metadata"]["namespace"] = namespace
        cluster.apply(secret)

    def look(self, name: str) -> tuple[int, str]:
        """One Job of the CronJob, to its end: the exit code of its pod, and what it said."""
        self.cluster.kubectl(
            "create", "job", name, "--from=cronjob/octjob-collect-demo", "-n", self.namespace
        )

        def ended() -> list[int]:
            pods = self.cluster.list("pods", self.namespace, f"batch.kubernetes.io/job-name={name}")
            states = [
                one["state"] for pod in pods for one in pod.get("status", {}).get("containerStatuses", ())
            ]
            return [one["terminated"]["exitCode"] for one in states if "terminated" in one]

        (code,) = self.cluster.wait_until(ended, f"{name} has ended", 240)
        # At once: the CronJob keeps one Job that has succeeded.
        return code, self.cluster.kubectl("logs", f"job/{name}", "-n", self.namespace)


@pytest.mark.timeout(1200)
def test_each_end_is_told_once_over_the_death_of_a_collector(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path, gcs: GcsServer, hook: WebhookReceiver
) -> None:
    sweep = Scripted(control_plane, namespace, tmp_path, ("a", "b"), output=URI)
    finish(sweep.store, sweep.entries["a"], skilled(labels(), 3.0, seed=0))
    killed = sweep.start("b", KILLED, max_restarts=0)
    control_plane.kubectl(
        "wait", "--for=condition=Failed", f"jobset/{killed}", "-n", namespace, "--timeout=120s"
    )
    collector = Collector(control_plane, namespace, tmp_path, gcs.env, f"{hook.url}/SECRET")

    def strike(number: int) -> None:
        if number == 0:
            (lease,) = (one for one in sweep.store.list("notifications/") if one.key.endswith(".lease.json"))
            owner = json.loads(sweep.store.get(lease.key))["owner"]
            os.kill(int(owner.split("-")[-2]), signal.SIGKILL)

    hook.struck = strike
    assert collector.look("first")[0] == 137
    assert len(hook.ids) == 1
    code, said = collector.look("second")
    assert (code, "SECRET" in said) == (0, False)
    first, second = (f"run.{sweep.entries[name].run_id}" for name in "ab")
    assert hook.ids[:2] == [f"{first}.succeeded"] * 2
    assert hook.bodies[0] == hook.bodies[1]
    assert hook.ids[2].startswith(f"{second}.failed")
    assert hook.ids[3].startswith("sweep.")
    assert len(hook.ids) == 4
    # Its pods were killed before they could say anything: only the cluster knew.
    assert "137" in hook.bodies[2]["data"]["message"]
    assert sweep.store.exists("leaderboard/report.html")

    # Once its JobSets are gone there is the store, and nothing new to tell.
    control_plane.kubectl("delete", "jobset", killed, "-n", namespace)
    code, said = collector.look("third")
    assert (code, "SECRET" in said) == (0, False)
    assert len(hook.ids) == 4
    assert "reading the store alone" in said
