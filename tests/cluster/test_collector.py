"""The chart's collector on a real control plane: its pods are admitted, and each end is told once over its deaths."""

from __future__ import annotations

import json
import os
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

    def __init__(self, cluster: ClusterAccess, namespace: str, gcs: GcsServer, url: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        # `octjob-run` is there already, and helm takes over nothing.
        accounts = {"run": {"name": "unused"}, "collector": {"name": "collector"}}
        values = {
            "image": f"octjob@sha256:{'0' * 64}",
            "serviceAccounts": accounts,
            "rbac": {"clusterRead": False},
            "kueue": {"cluster": {"create": False}, "localQueues": []},
            "collector": {
                "sweeps": [{"name": "demo", "uri": URI}],
                "notify": {"secret": "hook", "key": "url"},
                "clusterAccess": True,
            },
        }
        cluster.install_chart(namespace, values)
        # Pods of the tests have no token mounted: the account's own, where octjob looks first.
        kubeconfig = cluster.user_kubeconfig("collector", namespace)
        env = [
            {"name": name, "value": value} for name, value in {**gcs.env, "KUBECONFIG": str(kubeconfig)}.items()
        ]
        cluster.install_chart(namespace, {**values, "collector": {**values["collector"], "env": env}})  # type: ignore[dict-item]
        secret = secret_document("hook", {"url": url})
        secret["metadata"]["namespace"] = namespace
        cluster.apply(secret)

    def look(self, name: str) -> dict[str, object]:
        """One Job of the CronJob, to its end: the status of its pod's container."""
        self.cluster.kubectl(
            "create", "job", name, "--from=cronjob/octjob-collect-demo", "-n", self.namespace
        )

        def ended() -> dict[str, object] | None:
            for pod in self.cluster.list("pods", self.namespace, f"batch.kubernetes.io/job-name={name}"):
                for status in pod.get("status", {}).get("containerStatuses", ()):
                    found: dict[str, object] | None = status["state"].get("terminated")
                    return found
            return None

        found = self.cluster.wait_until(ended, f"{name} has ended", 180)
        assert found is not None
        return found


def test_each_end_is_told_once_over_the_death_of_a_collector(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path, gcs: GcsServer, hook: WebhookReceiver
) -> None:
    sweep = Scripted(control_plane, namespace, tmp_path, ("a", "b"), output=URI)
    finish(sweep.store, sweep.entries["a"], skilled(labels(), 3.0, seed=0))
    killed = sweep.start("b", KILLED, max_restarts=0)
    control_plane.kubectl(
        "wait", "--for=condition=Failed", f"jobset/{killed}", "-n", namespace, "--timeout=120s"
    )
    collector = Collector(control_plane, namespace, gcs, f"{hook.url}/SECRET")

    def strike(number: int) -> None:
        if number == 0:
            (lease,) = (one for one in sweep.store.list("notifications/") if one.key.endswith(".lease.json"))
            owner = json.loads(sweep.store.get(lease.key))["owner"]
            os.kill(int(owner.split("-")[-2]), signal.SIGKILL)

    hook.struck = strike
    assert collector.look("first")["exitCode"] == 137
    assert len(hook.ids) == 1
    # Exit code 5: collected, with a failed run in it.
    for name in ("second", "third"):
        assert collector.look(name)["exitCode"] == 5
    first, second = (f"run.{sweep.entries[name].run_id}" for name in "ab")
    assert hook.ids[:2] == [f"{first}.succeeded"] * 2
    assert hook.bodies[0] == hook.bodies[1]
    assert hook.ids[2].startswith(f"{second}.failed")
    assert hook.ids[3].startswith("sweep.")
    assert len(hook.ids) == 4
    # Its pods were killed before they could say anything; only the cluster knew.
    assert "137" in hook.bodies[2]["data"]["message"]
    assert sweep.store.exists("leaderboard/report.html")


def test_a_sweep_whose_jobsets_are_gone_is_collected_from_the_store(
    control_plane: ClusterAccess, namespace: str, tmp_path: Path, gcs: GcsServer, hook: WebhookReceiver
) -> None:
    sweep = Scripted(control_plane, namespace, tmp_path, ("a",), output=URI)
    finish(sweep.store, sweep.entries["a"], skilled(labels(), 3.0, seed=0))
    assert Collector(control_plane, namespace, gcs, hook.url).look("only")["exitCode"] == 0
    assert [one.partition(".")[0] for one in hook.ids] == ["run", "sweep"]
